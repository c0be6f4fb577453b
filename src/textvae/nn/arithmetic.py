"""fp32 as it is written: on a GPU torch's recurrent and convolutional layers otherwise multiply with 10 bits (TF32)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, final

import torch


@contextmanager
def all_bits(device: torch.device) -> Iterator[None]:
    """Inside the block layers of fp32 numbers on this device keep all their bits (measured: log p(x) then is the processor's to 1e-5).

    The switch is the process's: other threads' layers keep theirs too meanwhile. Products stay as the user has set them
    (`torch.set_float32_matmul_precision`; all bits by default).
    """
    if device.type != "cuda":
        yield
        return
    _SWITCH.hold()
    try:
        yield
    finally:
        _SWITCH.release()


@final
class _Switch:
    """cuDNN's TF32, off while somebody holds it."""

    def __init__(self) -> None:
        self._lock, self._holders, self._before = Lock(), 0, True

    def hold(self) -> None:
        """Off from now on."""
        cudnn: Any = torch.backends.cudnn
        with self._lock:
            if not self._holders:
                self._before, cudnn.allow_tf32 = cudnn.allow_tf32, False
            self._holders += 1

    def release(self) -> None:
        """As it was before, once nobody holds it any more."""
        cudnn: Any = torch.backends.cudnn
        with self._lock:
            self._holders -= 1
            if not self._holders:
                cudnn.allow_tf32 = self._before


_SWITCH = _Switch()
