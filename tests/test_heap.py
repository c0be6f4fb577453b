"""The heap: blocks that are freed are used again, and no page of them is mapped anew."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from textvae.heap import keep_freed_memory

keep_freed_memory()
blocks = lambda: [torch.ones(1 << 20) for _ in range(5)]  # of 4 MB
for _ in range(5):  # until the heap is large enough
    blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    blocks()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is told so")
def test_freed_blocks_are_used_again() -> None:
    faults = int(subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout)
    assert faults < 1000, "50 blocks of 1,024 pages"
