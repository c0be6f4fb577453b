"""For every test: one thread, the same random numbers, and properties that are searched alike each time."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the processes that tests start
settings.register_profile("textvae", deadline=None, derandomize=True)
settings.load_profile("textvae")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start torch's random numbers anew, where a test file uses torch at all."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
