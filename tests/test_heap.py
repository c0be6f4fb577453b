"""The heap: blocks that are freed are used again, and their pages are not mapped anew."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from textvae.heap import TUNED

FORWARD = (200, 300, 500, 700, 900, 1100, 1500, 12_000)
"""Blocks that a step keeps until its backward pass, in units of 1,024 numbers: 0.8 to 6 MB each, and one of more than the 32 MB from
which on glibc by itself maps a block on its own."""

BACKWARD = (1700, 130, 90)
STEPS = 10

PROGRAM = f"""
import resource
import sys
from ctypes import CDLL
from textvae.heap import keep_freed_memory
import torch

# A heap that gives everything back at once. Left alone, glibc gives back much or nothing, as the blocks happen to lie.
for threshold in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    assert CDLL(None).mallopt(threshold, 1 << 17)
if sys.argv[1] == "keep":
    keep_freed_memory()

def step():
    forward = [torch.ones(size << 10) for size in {FORWARD}]
    backward = [x + 1 for x in forward], [torch.ones(size << 10) for size in {BACKWARD}]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(6):  # until the heap is large enough
    step()
before = faults()
for _ in range({STEPS}):
    step()
print(faults() - before)
"""


def faults(way: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name not in TUNED}
    done = subprocess.run([sys.executable, "-c", PROGRAM, way], check=True, capture_output=True, text=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is told so")
def test_freed_blocks_are_used_again() -> None:
    assert faults("keep") < faults("give back") / 5
