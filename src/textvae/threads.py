"""How torch's threads wait for each other, decided before torch is imported."""

from __future__ import annotations

import os
import sys


def wait_politely() -> None:
    """Let threads that wait for each other sleep instead of spin, unless `OMP_WAIT_POLICY` says otherwise.

    Spinning gains nothing in a quiet machine's training step, and beside one other busy process it makes the step
    several times slower: the spinning thread keeps the core that the other needs. OpenMP reads the setting once,
    when torch is imported: afterwards this does nothing.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
