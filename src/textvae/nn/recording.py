"""Work on a GPU recorded once a shape and replayed: one that waits for the launch of each of many small kernels idles most of the time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, final

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


_ONE_CAPTURE = Lock()
"""A capture begins by waiting for the device, which would end another thread's."""


@final
class CudaRecorder(Recorder):
    """CUDA graphs (`torch.cuda.CUDAGraph`) of one device that share their memory: one runs at a time.

    They are captured on a stream of their own. torch's own one is of the device that captured first, and what its libraries keep for a
    stream would be shared with the graphs of others, and gone with them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Capture the work; noise goes on from replay to replay, for the device's generator belongs to every graph.

        Raises:
            RecordingError: it cannot be captured; what it has changed of its own is in no known state.
        """
        current = torch.cuda.stream(torch.cuda.current_stream(self._device))  # again after a capture that fails, which leaves its own
        try:
            with _ONE_CAPTURE, torch.cuda.device(self._device), current:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                    result = work()
        except torch.OutOfMemoryError:
            self._leave_capture()
            raise
        except RuntimeError as error:
            self._leave_capture()
            raise RecordingError(next(iter(str(error).splitlines()), repr(error))) from error

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return replay, result

    def _leave_capture(self) -> None:
        """After a capture that failed: torch's generator believes that it goes on, and refuses to draw, until one has ended well."""
        current = torch.cuda.stream(torch.cuda.current_stream(self._device))
        with suppress(RuntimeError), _ONE_CAPTURE, torch.cuda.device(self._device), current:
            capture = torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self._stream, capture_error_mode="thread_local")
            with capture:
                torch.zeros((), device=self._device)


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
        most: recordings that are kept; beyond, the one that was not run for the longest makes room, once the new one is there: with none
            left, their memory would be gone.
    """

    def __init__(self, recorder: Recorder, eager_first: int, most: int) -> None:
        self._recorder, self._eager_first, self._most = recorder, eager_first, most
        self._recorded: dict[Hashable, _Recording] = {}
        """The latest that was run last, as in the counts."""

        self._counts: dict[Hashable, int] = {}
        """How often work of a key has run without a recording."""

    def run(self, key: Hashable, work: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """`work(*given)`; the result holds until the next run.

        The key says all that decides what the work is, the shapes of what is given too: only their numbers may change under it, and
        those of memory that the work reads or writes in place.
        """
        known = self._recorded.pop(key, None)
        if known is None:
            count = self._counts.pop(key, 0)
            if count < self._eager_first:
                _remember(self._counts, key, count + 1, COUNTED)
                return work(*given)
            own = tuple(each.clone() for each in given)
            known = _Recording(own, *self._recorder.record(lambda: work(*own)))
        _remember(self._recorded, key, known, self._most)
        for own_part, part in zip(known.given, given, strict=True):
            own_part.copy_(part)
        known.replay()
        return known.result


COUNTED = 1000
"""Keys whose runs are counted at a time."""


def _remember(there: dict[Hashable, Any], key: Hashable, value: Any, most: int) -> None:
    """Put it last, and let go of the first where there are more than so many."""
    there[key] = value
    if len(there) > most:
        del there[next(iter(there))]
