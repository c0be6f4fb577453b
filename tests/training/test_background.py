"""What is written while training goes on: of the moment it was taken, whole before it is told, and its failure is training's."""

from __future__ import annotations

import errno
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
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
        assert gate.wait(60)

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
    with pytest.raises(OSError, match="no disk"):
        background.wait()
    assert done == [1] and not background.wait()
    background.start([fail])
    with pytest.raises(OSError, match="no disk"):
        background.settle()
    background.start([lambda: done.append(3)])
    assert background.wait() and done == [1, 3]


HEARD = threading.Event()
"""Set once the main thread has been interrupted."""


def press() -> None:
    """Ctrl-C, from another thread."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard as a command hears it, wherever the tests were started."""

    def interrupt(*_: object) -> None:
        HEARD.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("presses", [1, 3])
def test_nothing_is_written_after_the_user_has_stopped_everything(presses: int) -> None:
    """Ctrl-C while it is waited for, once or more: what is at hand is finished, what follows is left, and then it is interrupted."""
    background, done, ready = Background(), list[str](), threading.Event()

    def first() -> None:
        assert ready.wait(60)
        for _ in range(presses):
            time.sleep(0.2)  # by then it is waited for
            HEARD.clear()
            press()
            assert HEARD.wait(60)
        time.sleep(0.2)
        done.append("first")

    background.start([first, lambda: done.append("second")])
    with pytest.raises(KeyboardInterrupt):
        ready.set()
        background.settle()
    assert done == ["first"]
    time.sleep(0.05)
    assert done == ["first"] and not background.wait()


@pytest.mark.parametrize("running", [False, True])
def test_what_is_interrupted_as_it_starts_is_waited_for_or_never_done(running: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    background, done, start = Background(), list[str](), threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if running:
            start(thread)
        raise KeyboardInterrupt

    def slowly() -> None:
        time.sleep(0.1)
        done.append("done")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(threading.Thread, "start", interrupted)
        background.start([slowly])
    if running:
        background.settle()
        assert done == ["done"]
    else:
        with pytest.raises(KeyboardInterrupt):
            background.settle()
        assert done == []


def test_a_system_without_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    background = Background()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="new thread"):
        patch.setattr(threading.Thread, "start", refuse)
        background.start([])
    background.settle()
    assert not background.wait()


@pytest.mark.parametrize("piece", [1, 50, 1 << 20])
def test_copies_are_what_stood_there(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PIECE", piece)
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


def wait_for_the_writer() -> None:
    """Until the last checkpoint is whole on the disk, however slow that is."""
    for thread in threading.enumerate():
        if thread.name == "textvae-background":
            thread.join()


@final
class FullAt(Hook):
    """From the end of a step on the disk has no room, and the checkpoint before it is whole; what is begun is over by the next step."""

    def __init__(self, step: int, patch: pytest.MonkeyPatch) -> None:
        self.step, self.patch = step, patch

    def on_step(self, record: StepRecord) -> None:
        wait_for_the_writer()
        if record.step == self.step:
            self.patch.setattr(storage, "_to_disk", self.refuse)

    def refuse(self, file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_training_at_a_next_step(settings: Any, recorder: Any, compare: Compare, tmp_path: Path) -> None:
    """What stood there before is whole, and the run goes on where there is room again."""
    chosen = settings("lm", training={"steps": 32, "evaluate_every": 8})
    session.start(chosen, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RunError, match="the disk is full"):
        session.start(chosen, tmp_path / "run", [FullAt(16, patch), recorder])
    assert max(recorder.all("step")) == 17 and recorder.all("stop") == [None]
    assert not list((tmp_path / "run").glob(".*"))  # nothing half-written is left
    assert session.resume(tmp_path / "run")
    assert compare(tmp_path / "whole", tmp_path / "run") == []


@final
class FailAt(Hook):
    """A mistake of a hook's, after the weights of a step were measured; then the disk has no room either, where that is asked for."""

    def __init__(self, step: int, patch: pytest.MonkeyPatch | None) -> None:
        self.step, self.full = step, FullAt(step, patch) if patch else None
        self.warnings = list[str]()

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        if metrics["step"] == self.step:
            wait_for_the_writer()
            if self.full:
                self.full.patch.setattr(storage, "_to_disk", self.full.refuse)
            raise ValueError("a mistake")

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.mark.parametrize("full", [False, True])
def test_what_was_measured_last_is_written_when_a_hook_fails(
    full: bool, settings: Any, metrics: Any, compare: Compare, tmp_path: Path
) -> None:
    chosen = settings("lm", training={"steps": 12, "evaluate_every": 4})
    session.start(chosen, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="a mistake"):
        hook = FailAt(8, patch if full else None)
        session.start(chosen, tmp_path / "run", [hook])
    assert [line["step"] for line in metrics(tmp_path / "run")] == ([4] if full else [4, 8])
    told = [message for message in hook.warnings if "not written" in message]
    assert len(told) == full and all("the disk is full" in message for message in told)
    assert session.resume(tmp_path / "run")
    assert compare(tmp_path / "whole", tmp_path / "run") == []


@pytest.mark.usefixtures("heard")
def test_two_interrupts_leave_no_writer_behind(settings: Any, compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is gone on with at once in the same process is not written over by what the interrupted one was still writing."""
    chosen = settings("lm", training={"steps": 12, "evaluate_every": 4})
    session.start(chosen, tmp_path / "whole")
    written = checkpoint.write_atomically

    def write_slowly(path: Path, content: bytes) -> None:
        time.sleep(0.1)
        if path.name == "training.safetensors" and presses:
            presses.pop()()
        time.sleep(0.1)
        written(path, content)

    presses = [press, press]
    monkeypatch.setattr(checkpoint, "write_atomically", write_slowly)
    with pytest.raises(KeyboardInterrupt):
        session.start(chosen, tmp_path / "run")
    monkeypatch.undo()
    assert session.resume(tmp_path / "run")
    time.sleep(0.3)
    assert compare(tmp_path / "whole", tmp_path / "run") == []
