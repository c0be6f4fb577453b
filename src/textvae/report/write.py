"""A report from the folders of runs to the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import textvae
from textvae.config import Device, Split, require
from textvae.evaluation.bounds import Progress
from textvae.plots.canvas import pyplot
from textvae.report.content import tell
from textvae.report.page import check_page, page
from textvae.storage import write_atomically


def write_report(
    runs: Sequence[str | Path],
    out: str | Path,
    corpus: str | Path | None = None,
    *,
    split: Split = "test",
    importance_samples: int = 100,
    column: str | None = None,
    seed: int = 0,
    device: Device = "cpu",
    progress: Progress | None = None,
) -> Path:
    """Measure runs and write one page about them; returns its path.

    Args:
        runs: their folders, or user/model on the hub.
        out: the .html file; an earlier report there is written over, no other file is.
        corpus: what to measure them on; by default each on its own.
        split: of it.
        importance_samples: samples of z a line.
        column: of the corpus, where it is a table.
        seed: of what is drawn.
        device: where to compute.
        progress: told what is measured and how far it is.

    Raises:
        UserError: no run, a damaged one, a corpus that is not there, a file that is not ours, a package that is not installed.
    """
    path = Path(out)
    require(bool(runs), "no run is named: give the folder of at least one")
    require(len({os.path.realpath(run) for run in runs}) == len(runs), "a run is named twice: give each once")
    check_page(path)
    pyplot()  # what is missing is told before anything is measured
    models = {name: textvae.load(run, device) for name, run in zip(names(runs), runs, strict=True)}
    told = [
        tell(
            name,
            vae,
            corpus,
            split=split,
            importance_samples=importance_samples,
            column=column,
            seed=seed,
            progress=partial(_named, progress, name) if progress else None,
        )
        for name, vae in models.items()
    ]
    write_atomically(path, page(told).encode())
    return path


def names(runs: Sequence[str | Path]) -> list[str]:
    """What runs are called on a page: as little of their paths, from the end, as tells them apart."""
    parts = [Path(run).resolve().parts if Path(run).exists() else Path(run).parts for run in runs]
    for length in range(1, max(map(len, parts))):
        found = ["/".join(one[-length:]) for one in parts]
        if len(set(found)) == len(found):
            return found
    return [str(run) for run in runs]


def _named(progress: Progress, run: str, what: str, done: int, total: int) -> None:
    progress(f"{run}: {what}", done, total)
