"""Convolutions over channels-last maps (B, S, C): windows by the compiled kernel, their product with the weights by torch.

Taking windows and adding them up where they overlap are each other's transpose, so one is the other's gradient: a convolution is a
product after the first, a transposed one a product before the second. Parameters are those of `nn.Conv1d` and `nn.ConvTranspose1d`.

What is multiplied is of the maps' dtype, fp32 or bf16; parameters and sums of windows are fp32. In bf16 the gradients of weights and
biases are products and sums in bf16, as under torch's autocast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from textvae.nn.kernel.gradients import first_order
from textvae.nn.kernel.layout import call_kernel, threads_for


@final
@dataclass(frozen=True)
class Cut:
    """How windows are cut: window i begins at position i * stride - crop; what lies outside is zero."""

    kernel: int
    stride: int
    crop: int
    positions: int
    windows: int

    def taken(self, x: Tensor) -> Tensor:
        """The windows of x (B, S, C): (B * windows, kernel * C)."""
        batch, _, channels = x.shape
        windows = x.new_empty(batch * self.windows, self.kernel * channels)
        call_kernel("textvae_im2col", x.itemsize, *self._shape(batch, channels), x.contiguous(), windows, threads_for(windows.numel()))
        return windows

    def added(self, windows: Tensor, bias: Tensor | None = None) -> Tensor:
        """Windows (B * windows, kernel * C) added up where they stand, to a bias (C) where there is one: (B, S, C)."""
        batch, channels = len(windows) // self.windows, windows.shape[1] // self.kernel
        x = windows.new_empty(batch, self.positions, channels)
        call_kernel("textvae_col2im", x.itemsize, *self._shape(batch, channels), windows, bias, x, threads_for(windows.numel()))
        return x

    def _shape(self, batch: int, channels: int) -> tuple[int, ...]:
        return batch, self.positions, channels, self.windows, self.kernel, self.stride, self.crop


def convolve(x: Tensor, weight: Tensor, bias: Tensor, cut: Cut) -> Tensor:
    """x (B, S, C), fp32 or bf16 on the CPU, by weights (C', C, kernel) and a bias (C'): (B, windows, C')."""
    return _Convolution.apply(x, weight, bias, cut)


def convolve_transposed(x: Tensor, weight: Tensor, bias: Tensor, cut: Cut) -> Tensor:
    """x (B, windows, C), fp32 or bf16 on the CPU, by weights (C, C', kernel) and a bias (C'): (B, S, C')."""
    return _TransposedConvolution.apply(x, weight, bias, cut)


@final
class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, cut: Cut) -> Tensor:
        windows, matrix = cut.taken(x), weight.to(x.dtype).transpose(1, 2).flatten(1)  # (B * W, kernel * C), (C', kernel * C)
        ctx.save_for_backward(windows, matrix)
        ctx.cut = cut
        return torch.addmm(bias.to(x.dtype), windows, matrix.t()).view(len(x), cut.windows, len(matrix))  # (B, W, C')

    @staticmethod
    @first_order
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        windows, matrix = ctx.saved_tensors
        (to_x, to_weight, to_bias, _), dy = ctx.needs_input_grad, dy.reshape(-1, len(matrix))  # (B * W, C')
        dx = ctx.cut.added(dy @ matrix) if to_x else None
        dweight = (dy.t() @ windows).float().unflatten(1, (ctx.cut.kernel, -1)).transpose(1, 2) if to_weight else None  # (C', C, kernel)
        return dx, dweight, dy.sum(0).float() if to_bias else None, None


@final
class _TransposedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, cut: Cut) -> Tensor:
        flat, matrix = x.reshape(-1, len(weight)), weight.to(x.dtype).permute(2, 1, 0).flatten(0, 1)  # (B * W, C), (kernel * C', C)
        ctx.save_for_backward(flat, matrix)
        ctx.cut = cut
        return cut.added(flat @ matrix.t(), bias.contiguous())  # (B, S, C')

    @staticmethod
    @first_order
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        flat, matrix = ctx.saved_tensors
        (to_x, to_weight, to_bias, _), dwindows = ctx.needs_input_grad, ctx.cut.taken(dy)  # (B * W, kernel * C')
        dx = (dwindows @ matrix).view(len(dy), ctx.cut.windows, matrix.shape[1]) if to_x else None
        dweight = (
            (dwindows.t() @ flat).float().unflatten(0, (ctx.cut.kernel, -1)).permute(2, 1, 0) if to_weight else None
        )  # (C, C', kernel)
        return dx, dweight, dy.sum((0, 1)).float() if to_bias else None, None
