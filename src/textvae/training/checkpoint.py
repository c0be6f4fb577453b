"""Exact resume: weights, optimizer, averages, random states and position in one file, without pickle."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from textvae.errors import RunError
from textvae.storage import write_atomically, write_json
from textvae.training.averages import WeightAverage


@final
@dataclass
class Position:
    """Where training stands: plain numbers."""

    step: int = 0
    """Optimisation steps done."""

    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""

    halvings: int = 0
    """How often a plateau halved the learning rate."""

    stale: int = 0
    """Evaluations since valid was last better."""

    best_loss: float = math.inf
    """Best objective on valid (largest beta, free bits included), nats a sequence."""

    best_step: int = 0
    seconds: float = 0.0
    """Wall-clock seconds of training, over all sittings."""

    finished: bool = False


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically."""
    from safetensors.torch import save

    write_atomically(path, save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata; raises `RunError` for a missing, cut short or damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run holds no such state; train it first, or check the folder's name") from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged or cut short ({error}): restore it from a copy, or train the run again") from error


def save_training(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None, position: Position
) -> None:
    """Write the state of training: `training.safetensors` is the whole truth, `training.json` its position for people to read."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.values.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    numbers = asdict(position)
    write_tensors(folder / "training.safetensors", tensors, {"position": json.dumps(numbers)})
    write_json(folder / "training.json", numbers)


def load_training(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None) -> Position:
    """Put the state of training back and return the position; raises `RunError` where the file does not fit the run."""
    path = folder / "training.safetensors"
    tensors, metadata = read_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, rest = name.split(".", 1)
        groups.setdefault(kind, {})[rest] = value
    try:
        position = Position(**json.loads(metadata["position"]))
        model.load_state_dict(groups["model"])
        if average is not None:
            average.load(groups["average"])
        slots: dict[int, dict[str, Any]] = {}
        for name, value in groups.get("optimizer", {}).items():
            index, slot = name.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(groups["random"]["cpu"])
        if "cuda" in groups["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(groups["random"]["cuda"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(f"{path} does not fit this run's config.json ({error}): restore the run, or train it anew in another folder") from error
    return position
