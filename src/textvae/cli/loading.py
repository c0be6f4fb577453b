"""What a command can tell of a mistake before torch is imported, which takes seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import textvae
from textvae.errors import RunError

if TYPE_CHECKING:
    from textvae.api import TextVAE
    from textvae.config import Device


def loaded(run: str, device: Device) -> TextVAE:
    """A run's model; raises `RunError` at once where there is no such run."""
    folder = checked(run)  # before `textvae.load`, whose very name imports torch
    return textvae.load(folder, device)


def column_of(run: str) -> str | None:
    """The column that a run's texts were read from."""
    from textvae.training.run_folder import RunFolder

    return RunFolder(checked(run)).load()[0].settings.corpus.column


def checked(run: str) -> Path:
    """The folder of a run, on the hub or here; raises `RunError` where there is no such run."""
    from textvae.hub import located
    from textvae.training.run_folder import RunFolder

    folder = located(run)
    RunFolder(folder).load()
    return folder


def check_training(corpus: str | None, preset: str | None, config: Path | None, out: Path, resume: bool, settings: dict[str, Any]) -> None:
    """Raise what `textvae.train` will of a wrong setting, a corpus that is not there, or a folder that is taken or holds no run."""
    from textvae.data.corpora import require_corpus
    from textvae.training.run_folder import RunFolder
    from textvae.training.starting import run_settings

    if "LOCAL_RANK" in os.environ:  # of several processes the first one may have begun to write the folder
        return
    if resume:
        if not RunFolder(out).exists:
            raise RunError(f"{out} holds no run to go on with: leave out --resume to begin one there, or check --out")
        return
    chosen = run_settings(preset, config, settings)
    RunFolder(out).claim()
    require_corpus(chosen.corpus.path if corpus is None else corpus)
