"""Work that is recorded and replayed is the work, whatever its numbers."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textvae.nn.recording import Recorder, RecordingError, Recordings


class Again(Recorder):
    """Does what a graph does, slowly: reads and writes the same memory at every replay."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        self.recorded += 1
        result = torch.zeros_like(work())

        def replay() -> None:
            result.copy_(work())

        return replay, result


def test_a_replay_reads_the_numbers_that_are_given_and_the_memory_it_was_recorded_with() -> None:
    recorder, weight = Again(), torch.tensor(2.0)
    recordings = Recordings(recorder, eager_first=1, most=4)
    for x in (1.0, 2.0, 3.0):
        assert recordings.run("twice", lambda x: weight * x, torch.tensor([x])).tolist() == [2 * x]
    weight.fill_(5.0)
    assert recordings.run("twice", lambda x: weight * x, torch.tensor([4.0])).tolist() == [20.0]
    assert recorder.recorded == 1


def test_the_key_that_was_not_run_for_the_longest_is_forgotten() -> None:
    recorder = Again()
    recordings = Recordings(recorder, eager_first=0, most=2)

    def run(key: int) -> None:
        assert recordings.run(key, lambda x: x + key, torch.zeros(1)).tolist() == [key]

    for key in (1, 2, 1, 3, 1):
        run(key)
    assert recorder.recorded == 3  # 1, 2, 3: 2 made room
    run(2)
    assert recorder.recorded == 4


def test_work_that_is_not_recorded_pushes_no_recording_out() -> None:
    recorder = Again()
    recordings = Recordings(recorder, eager_first=1, most=2)
    for key in (1, 1, *range(2, 20), 1):
        assert recordings.run(key, lambda x, key=key: x + key, torch.zeros(1)).tolist() == [key]
    assert recorder.recorded == 1
    for key in range(2, 20):  # each for the second time
        assert recordings.run(key, lambda x, key=key: x + key, torch.zeros(1)).tolist() == [key]
    assert recorder.recorded == 19


def test_a_recording_makes_room_once_the_new_one_is_there() -> None:
    """With none left in it, a graph's memory would be gone before the next one is captured there."""
    replays: list[weakref.ref[Callable[[], None]]] = []
    left: list[int] = []

    class Counting(Recorder):
        def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            left.append(sum(replay() is not None for replay in replays))
            replay, result = Again().record(work)
            replays.append(weakref.ref(replay))
            return replay, result

    recordings = Recordings(Counting(), eager_first=0, most=1)
    for key in range(3):
        recordings.run(key, torch.neg, torch.ones(1))
    assert left == [0, 1, 1]
    assert [replay() is not None for replay in replays] == [False, False, True]


def test_work_that_cannot_be_recorded_raises_and_leaves_nothing_behind() -> None:
    class Unable(Recorder):
        def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            raise RecordingError("it waits")

    recordings = Recordings(Unable(), eager_first=1, most=2)
    assert recordings.run("a", torch.neg, torch.ones(1)).tolist() == [-1.0]
    with pytest.raises(RecordingError, match="it waits"):
        recordings.run("a", torch.neg, torch.ones(1))
    assert recordings.run("a", torch.neg, torch.ones(1)).tolist() == [-1.0]
