"""Trackers: what a run tells of itself, sent on to TensorBoard or Weights & Biases. `metrics.jsonl` is written all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, final

from textvae.config import TrackerName
from textvae.errors import RunError, extra
from textvae.settings import to_dict
from textvae.storage import write_atomically
from textvae.training.hooks import Hook, RunEnd
from textvae.training.run_folder import RunFolder


def scalars_of(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a line of metrics.jsonl by name, as `valid/elbo`; of a list by rung, the bottom one first: `valid/rate_rung1`."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found |= scalars_of(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            found |= {f"{prefix}{name.removesuffix('_per_rung')}_rung{rung}": float(one) for rung, one in enumerate(value, 1)}
        elif value is not None:
            found[prefix + name] = float(value)
    return found


@final
class TensorBoardTracker(Hook):
    """Writes every evaluation into `tensorboard/` of the run's folder; a resumed run goes on where its last checkpoint stands.

    Raises:
        PackageError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        with extra("tensorboard", "--tracker tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._open: Callable[..., Any] = SummaryWriter
        self._folder = Path(folder)
        self._writer: Any = None
        self._step = 0

    def on_start(self, steps: int, done: int) -> None:
        """Open the file, and take back what was written of steps behind the checkpoint."""
        self._step = done
        self._writer = self._open(str(self._folder / "tensorboard"), purge_step=done + 1)
        if not done:
            self._writer.add_text("config", f"```\n{json.dumps(config_of(self._folder), indent=2)}\n```", 0)

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """Write its numbers."""
        self._step = metrics["step"]
        for name, value in scalars_of(metrics).items():
            if name != "step":
                self._writer.add_scalar(name, value, self._step)
        self._writer.flush()

    def on_collapse(self, message: str) -> None:
        """Write it down at the step it was seen."""
        self._writer.add_text("collapse", message, self._step)

    def on_stop(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


@final
class WandbTracker(Hook):
    """Logs every evaluation to Weights & Biases, project `textvae` (or $WANDB_PROJECT), under the run's name and config.

    The run's identity there is kept in the folder's file `wandb-id`, so that a resumed run goes on in the same place.

    Raises:
        PackageError: wandb is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        with extra("wandb", "--tracker wandb"):
            import wandb
        self._wandb: Any = wandb
        self._folder = Path(folder)
        self._run: Any = None

    def on_start(self, steps: int, done: int) -> None:
        """Begin the run there, or go on with it."""
        kept = self._folder / "wandb-id"
        if not (done and kept.exists()):
            write_atomically(kept, token_hex(4).encode())
        project, config = os.environ.get("WANDB_PROJECT", "textvae"), config_of(self._folder)
        where = {"project": project, "name": self._folder.name, "id": kept.read_text().strip(), "dir": str(self._folder)}
        try:
            self._run = self._wandb.init(**where, resume="allow", config=config)
        except Exception as error:  # whatever its package raises without a login, or without a network
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"wandb refuses to begin ({reason}): `wandb login`, or WANDB_MODE=offline; then go on with --resume") from error

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """Log its numbers."""
        self._run.log(scalars_of(metrics), step=metrics["step"])

    def on_end(self, end: RunEnd) -> None:
        """Keep what the run ends with."""
        self._run.summary.update({"kept_step": end.kept_step, **scalars_of({"kept": end.valid})})

    def on_stop(self) -> None:
        """Send what is left."""
        if self._run is not None:
            self._run.finish()


TRACKERS: Mapping[TrackerName, Callable[[Path], Hook]] = {"tensorboard": TensorBoardTracker, "wandb": WandbTracker}
"""By the names that `textvae train --tracker` takes; each is made for the folder of a run."""


def config_of(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder; raises `RunError` where there is none."""
    return to_dict(RunFolder(folder).load()[0].settings)
