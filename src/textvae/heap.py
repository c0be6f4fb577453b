"""The C library's heap: what a step frees stays with the process, because the next step asks for as much again.

Otherwise glibc hands large blocks back to the system at once, and the next step waits while each page of them is mapped and cleared
anew: some 10 MB, a tenth of a training step's time.
"""

from __future__ import annotations

import sys
from ctypes import CDLL
from functools import cache

KEPT = 1 << 30
"""Free bytes at the heap's end from which on some are given back."""

LARGE = 1 << 26
"""Bytes from which on a block is mapped on its own, and unmapped when it is freed."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


@cache
def keep_freed_memory() -> None:
    """From now on blocks that are freed are kept for the next ones, in this process; nothing where the C library is not glibc."""
    if sys.platform != "linux":
        return
    library = CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_TRIM_THRESHOLD, KEPT)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
