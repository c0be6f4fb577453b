"""fp32 as it is written: on a GPU torch's recurrent and convolutional layers otherwise multiply with 10 bits (TF32)."""

from __future__ import annotations

import warnings
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


def product_precision() -> str:
    """How products of fp32 numbers are multiplied on a GPU, as the user has set it."""
    matmul = torch.backends.cuda.matmul
    return str(matmul.fp32_precision if hasattr(matmul, "fp32_precision") else torch.get_float32_matmul_precision())


@final
class _Switch:
    """TF32 of cuDNN's layers, off while somebody holds it."""

    def __init__(self) -> None:
        self._lock, self._holders = Lock(), 0
        self._before: Any = None

    def hold(self) -> None:
        """Off from now on."""
        with self._lock:
            if not self._holders:
                self._before = _layers_precision()
                _set_layers_precision(("ieee", "ieee") if isinstance(self._before, tuple) else False)
            self._holders += 1

    def release(self) -> None:
        """As it was before, once nobody holds it any more."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                _set_layers_precision(self._before)


_SWITCH = _Switch()


def _layers_precision() -> Any:
    """Of convolutional and recurrent layers; where torch has no such switches yet, whether both may use TF32."""
    cudnn: Any = torch.backends.cudnn
    return (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) if hasattr(cudnn, "conv") else cudnn.allow_tf32


def _set_layers_precision(precision: Any) -> None:
    """Both ways of setting it, which torch wants to agree: who asks by the older one is refused otherwise."""
    cudnn: Any = torch.backends.cudnn
    with warnings.catch_warnings():  # some versions of torch warn of the older one
        warnings.simplefilter("ignore", UserWarning)
        cudnn.allow_tf32 = precision == ("tf32", "tf32") if isinstance(precision, tuple) else precision
    if isinstance(precision, tuple):
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = precision
