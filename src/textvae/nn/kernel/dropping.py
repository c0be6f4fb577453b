"""Dropout by the compiled kernel, alone or after an ELU: one pass, no mask kept, the draws from one number of torch's generator a call."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from textvae.nn.kernel.gradients import first_order
from textvae.nn.kernel.layout import call_kernel, threads_for

LEVELS = 1 << 32
"""Values of the 32 bits that decide over a number."""


@final
class Drawn(NamedTuple):
    """What a call of dropout drops."""

    seed: int
    """64 bits with a sign."""

    least: int
    """The level from which on numbers are kept, of `LEVELS`; 0 keeps all."""

    scale: float
    """What is kept is multiplied by it."""


def drawn(*dropped: float) -> list[Drawn]:
    """Draws for probabilities in [0, 1): seeds are taken from torch's generator where something is dropped."""
    if not any(dropped):
        return [Drawn(seed=0, least=0, scale=1.0)] * len(dropped)
    seeds = torch.empty(len(dropped), dtype=torch.int64, device="cpu").random_(-(2**63), None).tolist()
    return [Drawn(seed, min(round(p * LEVELS), LEVELS - 1), 1.0 / (1.0 - p)) for seed, p in zip(seeds, dropped, strict=True)]


def drop(x: Tensor, p: float) -> Tensor:
    """x, of any shape, fp32 or bf16, with each number 0 with probability p in [0, 1), else over 1 - p (Srivastava et al. 2014)."""
    return _Drop.apply(x, *drawn(p))


def drop_elu(x: Tensor, p: float) -> Tensor:
    """`drop` of ELU(x) = x where x > 0, else exp(x) - 1 (Clevert et al. 2016)."""
    return _DropElu.apply(x, *drawn(p))


@final
class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, drops: Drawn) -> Tensor:
        ctx.drops = drops
        return _dropped(x, False, drops)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Drop.apply(gradient, ctx.drops), None


@final
class _DropElu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, drops: Drawn) -> Tensor:
        y = _dropped(x, True, drops)
        ctx.drops = drops
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (y,), gradient = ctx.saved_tensors, gradient.contiguous()
        dx, threads = torch.empty_like(y), threads_for(y.numel())
        call_kernel("textvae_drop_backward", y.itemsize, y.numel(), y, gradient, dx, *ctx.drops, threads)
        return dx, None


def _dropped(x: Tensor, curved: bool, drops: Drawn) -> Tensor:
    """What is left of x, after an ELU where it is curved; places are counted in the order of the shape, in backward too."""
    if not x.is_contiguous() and (x.dim() != 3 or x.stride(2) != 1):
        x = x.contiguous()
    batch, steps, channels, row, step = (1, 1, x.numel(), 0, 0) if x.is_contiguous() else (*x.shape, *x.stride()[:2])
    y = x.new_empty(x.shape)
    call_kernel("textvae_drop", x.itemsize, batch, steps, channels, x, row, step, y, curved, *drops, threads_for(x.numel()))
    return y
