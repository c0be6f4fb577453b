"""The distortion of sequences from logits by the compiled kernel: nothing of the size of the logits is written, but their gradient."""

from __future__ import annotations

from ctypes import addressof, c_int64
from typing import Any, final

import torch
from torch import Tensor

from textvae.nn.kernel.gradients import first_order
from textvae.nn.kernel.layout import call_kernel, threads_for


def distortion(logits: Tensor, symbols: Tensor, end: int) -> Tensor:
    """-log p of symbols (B, T), int64, to each sequence's first `end`, under logits (B, T, V), fp32 or bf16: nats, fp32, (B,).

    Raises:
        IndexError: a symbol has no logit.
    """
    return _Distortion.apply(logits.contiguous(), symbols.contiguous(), end)


@final
class _Distortion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, symbols: Tensor, end: int) -> Tensor:
        (batch, steps, vocabulary), outside = logits.shape, c_int64()
        nats, log_sums = (logits.new_empty(shape, dtype=torch.float32) for shape in ((batch,), (batch, steps)))
        ctx.walk = logits.itemsize, batch, steps, vocabulary
        ctx.end, ctx.threads = end, threads_for(logits.numel())
        call_kernel("textvae_distortion", *ctx.walk, logits, symbols, end, nats, log_sums, addressof(outside), ctx.threads)
        if outside.value:
            raise IndexError(f"{outside.value} of {symbols.numel()} symbols have no logit: there are {vocabulary} a step")
        ctx.save_for_backward(logits, symbols, log_sums)
        return nats

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        logits, symbols, log_sums = ctx.saved_tensors
        dlogits = torch.empty_like(logits)
        given = logits, symbols, ctx.end, log_sums, gradient.contiguous(), dlogits
        call_kernel("textvae_distortion_backward", *ctx.walk, *given, ctx.threads)
        return dlogits, None, None
