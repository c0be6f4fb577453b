"""Work on a GPU recorded once a shape and replayed: one that waits for the launch of each of many small kernels idles most of the time."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
class RecordingError(RuntimeError):
    """Work that waits for the device, or for which it has no recording."""


@final
class CudaRecorder(Recorder):
    """CUDA graphs (`torch.cuda.CUDAGraph`) of one device that share their memory: one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Capture the work; noise goes on from replay to replay, for the device's generator belongs to every graph.

        Raises:
            RecordingError: it cannot be captured; what it has changed of its own is in no known state.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RecordingError(str(error).splitlines()[0]) from error

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return replay, result


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
        most: keys that are remembered, recorded or not; beyond, the one that was not run for the longest is forgotten.
    """

    def __init__(self, recorder: Recorder, eager_first: int, most: int) -> None:
        self._recorder, self._eager_first, self._most = recorder, eager_first, most
        self._known: dict[Hashable, _Recording | int] = {}
        """A recording, or how often work of a key has run without one; the latest last."""

    def run(self, key: Hashable, work: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """`work(*given)`; the result holds until the next run.

        The key says all that decides what the work is, the shapes of what is given too: only their numbers may change under it, and
        those of memory that the work reads or writes in place.
        """
        known = self._known.pop(key, 0)
        if isinstance(known, int) and known < self._eager_first:
            self._remember(key, known + 1)
            return work(*given)
        if isinstance(known, int):
            own = tuple(each.clone() for each in given)
            known = _Recording(own, *self._recorder.record(lambda: work(*own)))
        self._remember(key, known)
        for own_part, part in zip(known.given, given, strict=True):
            own_part.copy_(part)
        known.replay()
        return known.result

    def _remember(self, key: Hashable, known: _Recording | int) -> None:
        self._known[key] = known
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
