"""One training done: a JSON file under `results/`, kept so that no row is ever trained twice for the same settings.

{"schema": 1, "table", "budget", "row", "variant", "seed", "preset", "changes",     the job
 "identity": hash of the settings, "objective": {...}, "command": what trains it again, "commit": of textvae's source,
 "machine": {"processor", "cores", "threads", "torch"}, "parameters", "steps", "training_seconds",
 "history": [{"step", "beta", "distortion", "rate", "rate_per_rung"}],               on valid
 "valid": {...}, "test": {...}}                                                      as `textvae evaluate --json` prints
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import textvae
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
            same = record["identity"] == job.identity and record["schema"] == SCHEMA
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}): remove it, and its row is trained again") from error
        return record if same else None

    def has_model(self, job: Job) -> bool:
        """Whether a job is done and its model is still here: records travel with a repository, runs do not."""
        return self.find(job) is not None and (self.run(job) / "weights.safetensors").exists()

    def keep(self, job: Job, record: dict[str, Any]) -> None:
        """Write a job's record."""
        write_json(self.path(job), record)


def source_revision() -> str:
    """The revision of textvae's own source, with `+` where files were changed since; its version where it is no repository."""
    head, changed = _git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", ".")
    if head is None:
        return f"textvae {version('textvae')}"
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str | None:
    """What git says of the folder that textvae's source lies in; None where there is no git, or no repository."""
    command = ["git", "-C", str(Path(textvae.__file__).parent), *arguments]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if told.returncode else told.stdout.strip()


def machine() -> dict[str, Any]:
    """What a training's seconds were measured on."""
    import torch

    return {"processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}


def _processor() -> str:
    """The processor's name, as well as the system tells it."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
