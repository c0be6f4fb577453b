"""`textvae report`: a page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from textvae.cli.loading import checked
from textvae.cli.output import note, progress
from textvae.cli.parameters import Column, Device, ImportanceSamples, Seed, Split
from textvae.config import require


def report(
    *runs: Annotated[str, Parameter(help="The runs' folders, or user/model on the hub.")],
    out: Path,
    corpus: Annotated[str | None, Parameter(help="As for `textvae train`; by default each run's own.")] = None,
    split: Split = "test",
    importance_samples: ImportanceSamples = 100,
    column: Column = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Measure runs and write one page about them: which is best and how surely, how they learned, what they write.

    The page is one .html file that needs no other.

    Parameters
    ----------
    out
        The .html file; an earlier report there is written over, no other file is.
    """
    require(bool(runs), "no run is named: give the folder of at least one")
    for run in runs:
        checked(run)  # all of them, before torch is imported
    from textvae.report.write import write_report

    with progress() as shown:
        path = write_report(
            runs,
            out,
            corpus,
            split=split,
            importance_samples=importance_samples,
            column=column,
            seed=seed,
            device=device,
            progress=shown,
        )
    note(f"{path} holds the report")
