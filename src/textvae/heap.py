"""The memory of a process: what a step frees stays with it, because the next step asks for as much again.

Otherwise the C library (glibc) hands large blocks back to the system at once, and the next step waits while each page of them is mapped
and cleared anew (`benchmarks/recurrence.py` has torch with and without). And Python's own objects are looked through for cycles less often.
"""

from __future__ import annotations

import gc
import os
import sys
from ctypes import CDLL
from functools import cache

FREE_AT_THE_END = 1 << 30
"""Free bytes at the heap's end from which on some are given back."""

MAPPED_ALONE = 0
"""How many blocks may be mapped on their own, to be unmapped when they are freed: none, of whatever size."""

TUNED = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"}
"""Variables by which a user sets the same."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@cache
def keep_freed_memory() -> None:
    """From now on blocks that are freed are kept for the next ones, in this process.

    Nothing where the C library is not glibc, or where the user has tuned it.
    """
    if sys.platform != "linux" or not TUNED.isdisjoint(os.environ):
        return
    library = CDLL(None)
    # The one without the other would be worse than nothing: either ends glibc's own adjusting of both.
    if hasattr(library, "mallopt") and library.mallopt(M_MMAP_MAX, MAPPED_ALONE):
        library.mallopt(M_TRIM_THRESHOLD, FREE_AT_THE_END)


COLLECTED_AFTER = 100_000
"""New objects after which Python looks for cycles among them; its own 700 are for programs that do not import torch."""


def collect_seldom() -> None:
    """From now on Python looks less often for cycles of objects, in this process: for commands, whose process is ours.

    Importing torch makes some hundred thousand objects that all live as long as the process, and Python would look through them again
    and again, for some hundredths of the time from a command to its first step. A training step leaves none.
    """
    gc.set_threshold(COLLECTED_AFTER, *gc.get_threshold()[1:])
