"""Dropout with cheap noise: on a CPU torch draws a mask one number an element, here one draw of 64 bits serves four."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 1 << 16
"""Values of the 16 bits that decide over an element."""


@final
class Dropout(nn.Module):
    """Zero elements with probability p in training, and scale the others so that the mean stays (Srivastava et al. 2014).

    In fp32 on the CPU p is rounded to a 65,536th, and the scale is of the rounded one; elsewhere it is torch's dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of x, of any shape."""
        dropped = round(self.p * LEVELS)
        if not self.training or dropped in (0, LEVELS) or x.dtype != torch.float32 or x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        return x * (kept * (LEVELS / (LEVELS - dropped)))

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
