"""Layers without recurrence by the compiled kernel, a call each way: convolutions over channels-last maps (B, S, C), their transposes and
linear layers, with their bias and what stands after it, an ELU and dropout.

A convolution is a product after windows have been cut, a transposed one a product before they are added up where they stand; a linear
layer is a convolution of one position. Parameters are those of `nn.Conv1d`, `nn.ConvTranspose1d` and `nn.Linear`.

What is multiplied is of the maps' dtype, fp32 or bf16; parameters, their gradients and all sums are fp32.
"""

from __future__ import annotations

from ctypes import Structure, addressof, c_float, c_int32, c_int64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import torch
from torch import Tensor

from textvae.nn.kernel.dropping import Drawn, drawn
from textvae.nn.kernel.gradients import first_order
from textvae.nn.kernel.layout import call_kernel, threads_for, whole_lines


@final
@dataclass(frozen=True)
class Cut:
    """How windows are cut: window i begins at position i * stride - crop; what lies outside is zero."""

    kernel: int
    stride: int
    crop: int
    positions: int
    windows: int


ONE_POSITION = Cut(kernel=1, stride=1, crop=0, positions=1, windows=1)


@final
@dataclass(frozen=True)
class After:
    """What stands after a layer's bias: an ELU (Clevert et al. 2016) where it is curved, then dropout with probability p."""

    curved: bool = False
    p: float = 0.0


NOTHING = After()


def dense(x: Tensor, weight: Tensor, bias: Tensor, after: After = NOTHING) -> Tensor:
    """x (..., C), fp32 or bf16 on the CPU, by weights (C', C) and a bias (C'): (..., C')."""
    y = _Convolution.apply(x.reshape(-1, 1, x.shape[-1]), weight, bias, ONE_POSITION, after.curved, drawn(after.p))
    return y.view(*x.shape[:-1], len(weight))


def convolve(x: Tensor, weight: Tensor, bias: Tensor, cut: Cut, after: After = NOTHING) -> Tensor:
    """x (B, S, C), fp32 or bf16 on the CPU, by weights (C', C, kernel) and a bias (C'): (B, windows, C')."""
    return _Convolution.apply(x, weight, bias, cut, after.curved, drawn(after.p))


def convolve_transposed(x: Tensor, weight: Tensor, bias: Tensor, cut: Cut, after: After = NOTHING) -> Tensor:
    """x (B, windows, C), fp32 or bf16 on the CPU, by weights (C, C', kernel) and a bias (C'): (B, S, C')."""
    return _TransposedConvolution.apply(x, weight, bias, cut, after.curved, drawn(after.p))


@final
class _Layer(Structure):
    """`Layer` of layers.h."""

    room: int
    """Bytes of memory that its calls want."""

    _fields_ = [
        *((name, c_int64) for name in ("bytes", "B", "S", "C", "W", "O", "kernel", "stride", "crop", "threads", "seed", "least")),
        ("scale", c_float),
        ("curved", c_int32),
    ]


@final
class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, cut: Cut, curved: bool, drops: Drawn) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.layer = _layer(x, len(weight), x.shape[2], cut, curved, drops)
        return _output("textvae_convolve", ctx, x, weight, bias, (cut.windows, len(weight)))

    @staticmethod
    @first_order
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dx = (ctx.layer.B, ctx.layer.S, ctx.layer.C) if ctx.needs_input_grad[0] else None
        return _gradients("textvae_convolve_backward", ctx, dy, dx, ctx.layer.O)


@final
class _TransposedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, cut: Cut, curved: bool, drops: Drawn) -> Tensor:
        x, weight = _whole(x), weight.contiguous()
        ctx.layer = _layer(x, len(weight), weight.shape[1], cut, curved, drops)
        return _output("textvae_convolve_transposed", ctx, x, weight, bias, (cut.positions, weight.shape[1]))

    @staticmethod
    @first_order
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dx = (ctx.layer.B, ctx.layer.W, ctx.layer.O) if ctx.needs_input_grad[0] else None
        return _gradients("textvae_convolve_transposed_backward", ctx, dy, dx, ctx.layer.C)


def _output(name: str, ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shape: tuple[int, int]) -> Tensor:
    """What forward returns, (B, *shape); of it is kept what backward reads, nothing where the layer is linear."""
    layer, y = ctx.layer, x.new_empty(x.shape[0], *shape)
    call_kernel(name, addressof(layer), x, weight, bias.contiguous(), y, _memory(layer))
    ctx.save_for_backward(x, weight, *((y,) if layer.curved or layer.least else ()))
    return y


def _gradients(name: str, ctx: Any, dy: Tensor, shape: tuple[int, ...] | None, biases: int) -> tuple[Tensor | None, ...]:
    """What backward returns: gradients of x, of its shape or of none where it is not asked for, of weights and of so many biases."""
    x, weight, *kept = ctx.saved_tensors
    dy, dx = dy.contiguous(), None if shape is None else dy.new_empty(shape)
    of_weights = any(ctx.needs_input_grad[1:3])
    dweight, dbias = (torch.empty_like(weight), weight.new_empty(biases)) if of_weights else (None, None)
    given = x, weight, kept[0] if kept else dy, dy
    call_kernel(name, addressof(ctx.layer), *given, dx, dweight, dbias, _memory(ctx.layer))
    return dx, dweight, dbias, None, None, None


def _layer(x: Tensor, outputs: int, channels: int, cut: Cut, curved: bool, drops: Drawn) -> _Layer:
    """A layer from windows of so many channels to so many outputs, or back."""
    batch = x.shape[0]
    threads = threads_for(batch * cut.windows * max(cut.kernel * channels, outputs))
    shape = x.itemsize, batch, cut.positions, channels, cut.windows, outputs, cut.kernel, cut.stride, cut.crop, threads
    layer = _Layer(*shape, *drops, curved)
    layer.room = _room(*shape)
    return layer


def _memory(layer: _Layer) -> Tensor:
    """Room for what a call forgets."""
    return torch.empty(layer.room, dtype=torch.uint8, device="cpu")


@lru_cache(1024)
def _room(*shape: int) -> int:
    """Bytes of it, by all of a layer that they depend on."""
    layer, size = _Layer(*shape), c_int64()
    call_kernel("textvae_layer_room", addressof(layer), addressof(size))
    return size.value


def _whole(x: Tensor) -> Tensor:
    """x (B, W, C) with zeros after its channels, so that they are as many as the kernel multiplies at once."""
    missing = whole_lines(x.shape[2], x.dtype) - x.shape[2] if x.dtype == torch.bfloat16 else 0
    return torch.nn.functional.pad(x, (0, missing)) if missing else x.contiguous()
