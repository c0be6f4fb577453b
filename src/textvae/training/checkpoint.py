"""Exact resume: weights, optimizer, averages, random states and position in one file, without pickle."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final
from zlib import crc32

import torch
from torch import Tensor, nn

from textvae.errors import RunError
from textvae.storage import write_atomically, write_json
from textvae.training.adam import Adam
from textvae.training.averages import WeightAverage
from textvae.training.window import Window


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
    kernel: bool | None = None
    """Whether the compiled kernel took the last steps; None on a GPU, and in checkpoints that are older than this field."""


@final
@dataclass(frozen=True)
class State:
    """What moves while a model trains, besides position and random numbers."""

    model: nn.Module
    optimizer: Adam
    average: WeightAverage | None
    window: Window


def random_state() -> dict[str, Tensor]:
    """The states of torch's random numbers in this process."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Put the random numbers of this process back where they stood."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


PIECE = 1 << 24
"""Bytes that are copied at a time: each copy waits for a GPU, and takes as much room there."""


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU of tensors on any device, small ones of a dtype together."""
    pieces: dict[tuple[torch.dtype, torch.device, int], list[str]] = {}
    sizes: Counter[tuple[torch.dtype, torch.device]] = Counter()
    for name, value in tensors.items():
        kind = value.dtype, value.device
        sizes[kind] += value.nbytes
        pieces.setdefault((*kind, sizes[kind] // PIECE), []).append(name)
    copies = dict(tensors)  # in their order
    for names in pieces.values():
        found = [tensors[name].detach() for name in names]
        together = torch.cat([value.reshape(-1) for value in found]).cpu()  # (all their numbers,)
        parts = together.split([value.numel() for value in found])
        copies |= {name: part.view(value.shape) for name, part, value in zip(names, parts, found, strict=True)}
    return copies


CHECKSUM = "crc32"
"""Beside a file's metadata, the checksum of its tensors and of them: a bit that a disk or a copy has changed is no weight."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors with a checksum, atomically."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = metadata or {}
    write_atomically(path, save(tensors, metadata | {CHECKSUM: _checksum(tensors, metadata)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata; raises `RunError` for a missing, cut short or damaged file. One without a checksum is believed."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        written = metadata.pop(CHECKSUM, None)
        if written is not None and written != (found := _checksum(tensors, metadata)):
            raise OSError(f"the checksum of what it holds is {found}, of what was written {written}")
    except FileNotFoundError:
        raise RunError(f"{path} is missing: go on with the run by --resume, restore it from a copy, or check the folder's name") from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged or cut short ({error}): restore it from a copy, or train the run again") from error
    return tensors, metadata


def _checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Of names, types, shapes and numbers, in an order of its own: safetensors has another."""
    found = crc32(json.dumps(metadata, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        found = crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), found)
        found = crc32(value.reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


@final
@dataclass(frozen=True)
class Checkpoint:
    """The state of training at a moment, on the CPU: training may go on while it is written."""

    tensors: dict[str, Tensor]
    position: Position

    @classmethod
    def of(cls, state: State, position: Position, random: dict[str, Tensor]) -> Checkpoint:
        """A copy. `random` holds the `random_state` of every process, one a row: (processes, bytes) each."""
        tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
        if state.average is not None:
            tensors |= {f"average.{name}": value for name, value in state.average.values.items()}
        tensors |= {f"optimizer.{name}": value for name, value in state.optimizer.state().items()}
        tensors |= {f"window.{name}": value for name, value in state.window.state().items()}
        tensors |= {f"random.{name}": value for name, value in random.items()}
        return cls(copied(tensors), replace(position))

    def write(self, folder: Path) -> None:
        """`training.safetensors` is the whole truth, `training.json` its position for people to read."""
        numbers = asdict(self.position)
        write_tensors(folder / "training.safetensors", self.tensors, {"position": json.dumps(numbers)})
        write_json(folder / "training.json", numbers)


def has_training(folder: Path) -> bool:
    """Whether a state of training stands in a run's folder."""
    return (folder / "training.safetensors").exists()


def load_training(folder: Path, state: State, rank: int = 0, world: int = 1) -> Position:
    """Put the state of training back and return the position, in the process `rank` of `world`.

    Raises:
        RunError: the file is missing, damaged, or does not fit the run.
    """
    path = folder / "training.safetensors"
    tensors, metadata = read_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, rest = name.split(".", 1)
        groups.setdefault(kind, {})[rest] = value
    try:
        position = Position(**json.loads(metadata["position"]))
        state.model.load_state_dict(groups["model"])
        if state.average is not None:
            state.average.load(groups["average"])
        state.window.load(groups["window"])
        state.optimizer.load(groups.get("optimizer", {}))
        saved = len(groups["random"]["cpu"])
        if saved != world:
            raise ValueError(f"it was written by {saved} processes, now there are {world}")
        set_random_state({name: value[rank].clone() for name, value in groups["random"].items()})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{path} does not fit this run's config.json ({error}): restore the run, or train it anew in another folder"
        ) from error
    return position
