"""fp32 as it is written: on a GPU torch's recurrent and convolutional layers otherwise multiply with 10 bits (TF32)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def all_bits(device: torch.device) -> Iterator[None]:
    """Inside the block products of fp32 numbers on this device keep all their bits (measured: log p(x) then is the processor's to 1e-5)."""
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    kinds: tuple[Any, ...] = (cudnn.rnn, cudnn.conv, torch.backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision
