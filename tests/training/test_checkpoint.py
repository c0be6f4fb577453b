"""Checkpoints: everything comes back, and what is damaged, missing or of another run is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from textvae.config import TrainingSettings
from textvae.errors import RunError
from textvae.training.adam import optimizer_for
from textvae.training.averages import WeightAverage
from textvae.training.checkpoint import Checkpoint, Position, State, load_training, random_state, read_tensors, write_tensors
from textvae.training.window import Window

CPU = torch.device("cpu")


def state_of(seed: int) -> State:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = optimizer_for(module, TrainingSettings())
    average, window = WeightAverage(module, 0.9), Window(2, CPU)
    for step in range(3):
        module(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        average.update(step)
        window.add(torch.randn(2))
    return State(module, optimizer, average, window)


def rows(processes: int = 1) -> dict[str, torch.Tensor]:
    return {name: value.expand(processes, -1) for name, value in random_state().items()}


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    state, other = state_of(1), state_of(2)
    position = Position(step=7, epoch=2, batch=3, halvings=1, stale=4, best_loss=0.1 + 0.2, best_step=5, seconds=1.5)
    Checkpoint.of(state, position, rows()).write(tmp_path)
    expected = torch.rand(4)
    assert load_training(tmp_path, other) == position
    assert torch.equal(torch.rand(4), expected)
    assert other.window.read() == state.window.read()
    for a, b in ((state.model.state_dict(), other.model.state_dict()), (state.average.values, other.average.values)):
        assert all(torch.equal(a[name], b[name]) for name in a)
    slots, loaded = state.optimizer.state(), other.optimizer.state()
    assert slots.keys() == loaded.keys() and all(torch.equal(slots[name], loaded[name]) for name in slots)


def test_every_process_has_its_own_random_numbers(tmp_path: Path) -> None:
    state = state_of(1)
    torch.manual_seed(5)
    first = random_state()["cpu"]
    torch.manual_seed(6)
    second = random_state()["cpu"]
    expected = torch.rand(3)
    Checkpoint.of(state, Position(), {"cpu": torch.stack([first, second])}).write(tmp_path)
    load_training(tmp_path, state, rank=1, world=2)
    assert torch.equal(torch.rand(3), expected)
    with pytest.raises(RunError, match="written by 2 processes, now there are 1"):
        load_training(tmp_path, state)


def test_a_checkpoint_that_does_not_fit_is_told(tmp_path: Path) -> None:
    state = state_of(1)
    Checkpoint.of(state, Position(), rows()).write(tmp_path)
    wider = nn.Linear(4, 4)
    other = State(wider, optimizer_for(wider, TrainingSettings()), None, Window(2, CPU))
    with pytest.raises(RunError, match=r"training\.safetensors does not fit this run's config\.json"):
        load_training(tmp_path, other)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_damaged(share: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": torch.arange(1000.0)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RunError, match=r"weights\.safetensors is damaged or cut short .*: restore it from a copy"):
        read_tensors(path)


def test_a_changed_bit_is_damage(tmp_path: Path) -> None:
    """Wherever it is: in a number, in a name, in the metadata."""
    path = tmp_path / "weights.safetensors"
    tensors = {"a": torch.arange(4.0), "b": torch.tensor(3, dtype=torch.bfloat16), "c": torch.zeros(0), "d": torch.tensor([True])}
    write_tensors(path, tensors, {"note": "kept"})
    whole = path.read_bytes()
    found, metadata = read_tensors(path)
    assert metadata == {"note": "kept"} and all(torch.equal(found[name], value) for name, value in tensors.items())
    for place in range(8, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if whole[place : place + 1] == b" " or b"crc32" in whole[max(0, place - 4) : place + 5]:
            continue  # padding of the header; the checksum's own name, without which the file is as an older one
        with pytest.raises(RunError, match="is damaged or cut short"):
            read_tensors(path)


def test_a_file_without_a_checksum_is_believed(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "older.safetensors")
    assert torch.equal(read_tensors(tmp_path / "older.safetensors")[0]["a"], torch.ones(2))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is missing"):
        read_tensors(tmp_path / "weights.safetensors")
