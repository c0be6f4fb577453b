"""Dropout by the compiled kernel: one pass, no mask kept, the draws from one number of torch's generator a call."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from textvae.nn.kernel.compiling import kernel
from textvae.nn.kernel.layout import call_kernel, threads_for

LEVELS = 1 << 32
"""Values of the 32 bits that decide over a number."""


def drops(x: Tensor) -> bool:
    """Whether the kernel is there and drops of this: fp32 on the CPU."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and not torch.compiler.is_compiling() and kernel().library is not None


def drop(x: Tensor, p: float) -> Tensor:
    """x, of any shape, with each number 0 with probability p in (0, 1), else over 1 - p (Srivastava et al. 2014)."""
    seed = int(torch.empty((), dtype=torch.int64, device="cpu").random_(-(2**63), None))
    return _Drop.apply(x, seed, min(round(p * LEVELS), LEVELS - 1), 1.0 / (1.0 - p))


@final
class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: int, least: int, scale: float) -> Tensor:
        ctx.given = seed, least, scale
        return _dropped(x, *ctx.given)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Drop.apply(gradient, *ctx.given), None, None, None


def _dropped(x: Tensor, seed: int, least: int, scale: float) -> Tensor:
    x = x.contiguous()  # places are counted in the order of the shape, forward and backward alike
    y = torch.empty_like(x)
    call_kernel("textvae_drop", x.numel(), x, y, seed, least, scale, threads_for(x.numel()))
    return y
