"""What is written while training goes on: of the moment it was taken, whole before it is told, and its failure is training's."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import pytest
import torch

from textvae import storage
from textvae.errors import RunError
from textvae.training import checkpoint, session
from textvae.training.background import Background
from textvae.training.checkpoint import copied
from textvae.training.hooks import Hook, StepRecord

Compare = Callable[[Path, Path], list[str]]


def test_work_is_done_in_order_beside_what_goes_on() -> None:
    background, gate, done = Background(), threading.Event(), list[int]()

    def wait() -> None:
        assert gate.wait(10)

    assert not background.wait() and not background.is_over
    background.start([lambda: done.append(1), wait, lambda: done.append(2)])
    assert not background.is_over and 2 not in done
    gate.set()
    assert background.wait() and done == [1, 2]
    assert not background.wait()


def test_what_goes_wrong_is_raised_once_and_ends_the_work() -> None:
    background, done = Background(), list[int]()

    def fail() -> None:
        raise OSError("no disk")

    background.start([lambda: done.append(1), fail, lambda: done.append(2)])
    background.settle()
    assert background.is_over
    with pytest.raises(OSError, match="no disk"):
        background.wait()
    assert done == [1] and not background.wait()
    background.start([lambda: done.append(3)])
    assert background.wait() and done == [1, 3]


def test_copies_are_what_stood_there() -> None:
    tensors = {
        "weights": torch.randn(3, 4),
        "turned": torch.randn(3, 4).t(),
        "count": torch.tensor(7),
        "step": torch.tensor(1.5),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "half": torch.randn(2).bfloat16(),
        "none": torch.zeros(0, 3),
    }
    before = {name: value.clone() for name, value in tensors.items()}
    found = copied(tensors)
    for value in tensors.values():
        value.zero_()
    assert list(found) == list(before)
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in before.items())


@final
class Seen(Hook):
    """Keeps a copy of the run's folder as it stands when a checkpoint is told, and the step at which that was."""

    def __init__(self, out: Path, kept: Path) -> None:
        self.out, self.kept, self.step, self.told = out, kept, 0, list[int]()

    def on_step(self, record: StepRecord) -> None:
        self.step = record.step

    def on_checkpoint(self, path: Path) -> None:
        self.told.append(self.step)
        shutil.copytree(self.out, self.kept / str(len(self.told)))


def test_a_checkpoint_is_of_the_moment_it_was_taken(
    settings: Any, compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings("hybrid", training={"steps": 12, "evaluate_every": 4, "average": 0.9})
    session.start(chosen, tmp_path / "whole")
    written = checkpoint.write_atomically

    def write_slowly(path: Path, content: bytes) -> None:
        time.sleep(0.2)  # steps take less
        written(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", write_slowly)
    seen = Seen(tmp_path / "run", tmp_path / "kept")
    session.start(chosen, tmp_path / "run", [seen])
    assert len(seen.told) == 4 and seen.told[0] > 4  # after the steps 4, 8 and 12, and at the end; the first while others were taken
    monkeypatch.undo()
    for kept in ("1", "2"):
        assert session.resume(tmp_path / "kept" / kept)
        assert compare(tmp_path / "whole", tmp_path / "kept" / kept) == []


@final
class FullAt(Hook):
    """From a step on the disk has no room; steps take longer than it takes to find out."""

    def __init__(self, step: int, patch: pytest.MonkeyPatch) -> None:
        self.step, self.patch = step, patch

    def on_step(self, record: StepRecord) -> None:
        if record.step == self.step:
            self.patch.setattr(storage, "_to_disk", self.refuse)
        time.sleep(0.02)

    def refuse(self, file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_training_at_a_next_step(settings: Any, recorder: Any, compare: Compare, tmp_path: Path) -> None:
    """What stood there before is whole, and the run goes on where there is room again."""
    chosen = settings("lm", training={"steps": 24, "evaluate_every": 8})
    session.start(chosen, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RunError, match=r"safetensors: the disk is full"):
        session.start(chosen, tmp_path / "run", [FullAt(16, patch), recorder])
    assert 16 <= max(recorder.all("step")) < 24 and recorder.all("stop") == [None]
    assert not list((tmp_path / "run").glob(".*"))  # nothing half-written is left
    assert session.resume(tmp_path / "run")
    assert compare(tmp_path / "whole", tmp_path / "run") == []
