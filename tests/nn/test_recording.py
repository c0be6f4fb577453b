"""Work that is recorded and replayed is the work, whatever its numbers; and fp32 keeps its bits as long as somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textvae.nn.arithmetic import all_bits
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


def test_work_that_cannot_be_recorded_raises_and_leaves_nothing_behind() -> None:
    class Unable(Recorder):
        def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            raise RecordingError("it waits")

    recordings = Recordings(Unable(), eager_first=1, most=2)
    assert recordings.run("a", torch.neg, torch.ones(1)).tolist() == [-1.0]
    with pytest.raises(RecordingError, match="it waits"):
        recordings.run("a", torch.neg, torch.ones(1))
    assert recordings.run("a", torch.neg, torch.ones(1)).tolist() == [-1.0]


def test_tf32_is_off_while_anybody_asks_for_all_bits_and_then_as_it_was() -> None:
    gpu, before = torch.device("cuda"), torch.backends.cudnn.allow_tf32
    try:
        for own in (True, False):
            torch.backends.cudnn.allow_tf32 = own
            with pytest.raises(ValueError, match="inside"), all_bits(gpu):
                with all_bits(gpu), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                    pass
                assert not torch.backends.cudnn.allow_tf32
                raise ValueError("inside")
            assert torch.backends.cudnn.allow_tf32 == own
            with all_bits(torch.device("cpu")):
                assert torch.backends.cudnn.allow_tf32 == own
    finally:
        torch.backends.cudnn.allow_tf32 = before
