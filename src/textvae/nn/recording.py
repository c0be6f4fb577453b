"""Work on a GPU recorded once a shape and replayed: one that waits for the launch of each of many small kernels idles most of the time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Recorder(ABC):
    """Records work on a device without doing it."""

    @abstractmethod
    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What does the work again on the same memory, and the tensor that its result is written to."""


@final
class CudaRecorder(Recorder):
    """CUDA graphs (`torch.cuda.CUDAGraph`) that share their memory: one runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Capture the work; noise goes on from replay to replay, for the device's generator belongs to every graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = work()
        return graph.replay, result


@final
@dataclass(frozen=True)
class _Recording:
    """Work of one shape: where what it is given goes, what runs it, and where its result then stands."""

    given: tuple[Tensor, ...]
    replay: Callable[[], None]
    result: Tensor


@final
class Recordings:
    """Runs work as it comes the first times, so that libraries choose their ways and memory is there; then records it, and replays it.

    Args:
        recorder: how work is recorded.
        eager_first: times that work of a key runs as it comes.
        most: keys that are recorded; what comes later runs as it comes.
    """

    def __init__(self, recorder: Recorder, eager_first: int, most: int) -> None:
        self._recorder, self._eager_first, self._most = recorder, eager_first, most
        self._runs: Counter[Hashable] = Counter()
        self._known: dict[Hashable, _Recording] = {}

    def run(self, key: Hashable, work: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """`work(*given)`; the result holds until the next run.

        The key says all that decides what the work is, the shapes of what is given too: only their numbers may change under it, and
        those of memory that the work reads or writes in place.
        """
        if key not in self._known:
            self._runs[key] += 1
            if self._runs[key] <= self._eager_first or len(self._known) == self._most:
                return work(*given)
            own = tuple(each.clone() for each in given)
            self._known[key] = _Recording(own, *self._recorder.record(lambda: work(*own)))
        recording = self._known[key]
        for own_part, part in zip(recording.given, given, strict=True):
            own_part.copy_(part)
        recording.replay()
        return recording.result
