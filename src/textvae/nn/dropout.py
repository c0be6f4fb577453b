"""Dropout, alone and after an ELU: torch's, and on a CPU that of the compiled kernel."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from textvae.nn.kernel.dropping import drop, drop_elu
from textvae.nn.kernel.layout import computes


@final
class Dropout(nn.Module):
    """Zero elements with probability p in training, and scale the others so that the mean stays (Srivastava et al. 2014).

    The kernel's draws are other ones than torch's, with the same distribution: a seed gives the same again on the same path.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    @property
    def drops(self) -> float:
        """With which probability it drops now: p in training, else 0."""
        return self.p if self.training else 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of x, of any shape."""
        if 0 < self.drops < 1 and computes(x):
            return drop(x, self.p)
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


@final
class EluDropout(nn.Module):
    """ELU (Clevert et al. 2016), then `Dropout`: what stands after every layer of a stack. In training one pass over memory."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropout = Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        """Bend x, of any shape, and drop elements of it."""
        if self.training and self.dropout.p < 1 and computes(x):
            return drop_elu(x, self.dropout.p)
        return self.dropout(F.elu(x))
