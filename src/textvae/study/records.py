"""One training done: a JSON file under `results/`, kept so that no row is ever trained twice for the same settings.

{"schema": 1, "table", "budget", "row", "variant", "seed", "preset", "changes",     the job
 "identity": hash of the settings, "objective": {...}, "command": what trains it again, "commits": of textvae's source, at each start,
 "machine": {"processor", "cores", "threads", "torch", "precision", "kernel"}, "parameters", "steps", "training_seconds",
 "history": [{"step", "beta", "distortion", "rate", "rate_per_rung"}],               on valid
 "valid": {...}, "test": {...},                                                      as `textvae evaluate --json` prints
 "mixture": {...} or null}                                                           as `mixture_report` says of a mixture prior
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import textvae
from textvae.config import TrainingSettings
from textvae.errors import RunError
from textvae.storage import write_json
from textvae.study.jobs import Job

SCHEMA = 1


@final
class Records:
    """The finished trainings of a study's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, job: Job) -> Path:
        """Where a job's record is kept."""
        return self.folder / "results" / job.table / job.budget / f"{job.name}.json"

    def run(self, job: Job) -> Path:
        """Where a job's run is trained; settings that changed get a folder of their own."""
        return self.folder / "runs" / job.table / job.budget / f"{job.name}-{job.identity}"

    def find(self, job: Job) -> dict[str, Any] | None:
        """The record of a job, None where it is not done or was done with other settings. Raises `RunError` for a damaged file."""
        path = self.path(job)
        if not path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            same, newer = record["identity"] == job.identity, record["schema"] > SCHEMA
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}): remove it, and its row is trained again") from error
        if newer:
            raise RunError(f"{path} has schema {record['schema']}, this textvae reads up to {SCHEMA}: install a newer textvae")
        return record if same else None

    def refuse_others(self, jobs: Iterable[Job]) -> None:
        """Raise `RunError` where a job's record is of another corpus or other settings: what took hours to train is not replaced."""
        for job in jobs:
            path = self.path(job)
            if not path.exists() or self.find(job) is not None:
                continue
            record = json.loads(path.read_text(encoding="utf-8"))
            there, here = record["test"]["corpus"], Path(job.settings.corpus.path).name
            if there != here:
                raise RunError(f"{path} holds a training on {there}, and this is {here}: give --corpus {there}, or another --out")
            raise RunError(
                f"{path} holds a training of settings that have changed since commit {record['commits'][-1]}: "
                "give another --out, or remove the file to train its row again"
            )

    def has_model(self, job: Job) -> bool:
        """Whether a job is done and its whole model is still here: records travel with a repository, runs do not."""
        return self.find(job) is not None and is_finished(self.run(job))

    def keep(self, job: Job, record: dict[str, Any]) -> None:
        """Write a job's record."""
        write_json(self.path(job), record)


def source_revision() -> str:
    """The revision of textvae's own source, with `+` where files were changed since; its version where it is no repository."""
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return f"textvae {version('textvae')}"  # installed, perhaps inside somebody else's repository
    head, changed = _git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", ".")
    return f"{head}+" if changed else str(head)


def _git(*arguments: str) -> str | None:
    """What git says of the folder that textvae's source lies in; None where there is no git, or no repository."""
    command = ["git", "-C", str(Path(textvae.__file__).parent), *arguments]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if told.returncode else told.stdout.strip()


def machine(settings: TrainingSettings) -> dict[str, Any]:
    """What a training runs on, which decides its seconds and its last digits."""
    import torch

    from textvae.nn.kernel.compiling import kernel
    from textvae.nn.kernel.processor import processor
    from textvae.training.engine import chosen_device, chosen_precision

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": chosen_precision(settings, chosen_device(settings)),
        "kernel": kernel().library is not None,
    }


def is_finished(run: Path) -> bool:
    """Whether a run was trained to its end: weights are written from the first look at valid on."""
    state = run / "training.json"
    try:
        return state.exists() and bool(json.loads(state.read_text(encoding="utf-8"))["finished"])
    except (ValueError, TypeError, KeyError):
        raise RunError(f"{state} is damaged: restore it from a copy, or remove the run's folder to train it again") from None
