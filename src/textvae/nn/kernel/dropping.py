"""Dropout by the compiled kernel, alone or after an ELU: one pass, no mask kept, the draws from one number of torch's generator a call."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from textvae.nn.kernel.gradients import first_order
from textvae.nn.kernel.layout import call_kernel, threads_for

LEVELS = 1 << 32
"""Values of the 32 bits that decide over a number."""


def drop(x: Tensor, p: float) -> Tensor:
    """x, of any shape, fp32 or bf16, with each number 0 with probability p in [0, 1), else over 1 - p (Srivastava et al. 2014)."""
    return _Drop.apply(x, *_drawn(p))


def drop_elu(x: Tensor, p: float) -> Tensor:
    """`drop` of ELU(x) = x where x > 0, else exp(x) - 1 (Clevert et al. 2016); in backward ELU is computed again from x."""
    return _DropElu.apply(x, *_drawn(p))


def _drawn(p: float) -> tuple[int, int, float]:
    """A seed of 64 bits with a sign (drawn where something is dropped), the level from which on numbers are kept, and their scale."""
    seed = int(torch.empty((), dtype=torch.int64, device="cpu").random_(-(2**63), None)) if p else 0
    return seed, min(round(p * LEVELS), LEVELS - 1), 1.0 / (1.0 - p)


@final
class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: int, least: int, scale: float) -> Tensor:
        ctx.given = seed, least, scale
        return _called("textvae_drop", x, *ctx.given)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Drop.apply(gradient, *ctx.given), None, None, None


@final
class _DropElu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: int, least: int, scale: float) -> Tensor:
        ctx.given = seed, least, scale
        ctx.save_for_backward(x)
        return _called("textvae_drop_elu", x, *ctx.given)

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return _called("textvae_drop_elu_backward", x, gradient, *ctx.given), None, None, None


def _called(name: str, *given: Tensor | float) -> Tensor:
    """What a function of the kernel makes of tensors of one shape, and of how to drop."""
    # Places are counted in the order of the shape, forward and backward alike.
    tensors = [tensor.contiguous() for tensor in given if isinstance(tensor, Tensor)]
    y, rest = torch.empty_like(tensors[0]), [part for part in given if not isinstance(part, Tensor)]
    call_kernel(name, y.itemsize, y.numel(), *tensors, y, *rest, threads_for(y.numel()))
    return y
