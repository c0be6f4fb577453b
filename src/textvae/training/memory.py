"""Memory that runs out, told in one line instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from textvae.errors import TrainingError


@contextmanager
def memory_told(remedy: str) -> Iterator[None]:
    """Inside the block an error for lack of memory, of the processor's or of a GPU, is a `TrainingError` that says what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"memory ran out {remedy}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, torch's of a GPU, or the RuntimeError of its CPU allocator."""
    told = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in told or "out of memory" in told
