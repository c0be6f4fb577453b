"""Layers without recurrence by the compiled kernel, as many as stand one after another in one call each way: convolutions over
channels-last maps (B, S, C), their transposes and linear layers, with their bias and what stands after it, an ELU and dropout.

A convolution is a product after windows have been cut, a transposed one a product before they are added up where they stand; a linear
layer is a convolution whose kernel is 1. Parameters are those of `nn.Conv1d`, `nn.ConvTranspose1d` and `nn.Linear`.

What is multiplied is of the maps' dtype, fp32 or bf16; parameters, their gradients and all sums are fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Array, Structure, addressof, c_float, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from textvae.nn.kernel.dropping import Drawn, drawn
from textvae.nn.kernel.gradients import first_order
from textvae.nn.kernel.layout import call_kernel, threads_for, whole_lines


@final
class Plan(NamedTuple):
    """A layer between maps of two sides, (B, S, C) and (B, W, O): window i of W begins at position i * stride - crop of the first, and
    what lies outside of it is zero."""

    positions: int
    """S."""

    channels: int
    """C."""

    windows: int
    """W."""

    outputs: int
    """O."""

    kernel: int = 1
    stride: int = 1
    crop: int = 0
    back: bool = False
    """Whether it leads from the second side to the first: a transposed convolution."""

    curved: bool = False
    """Whether an ELU (Clevert et al. 2016) stands after it."""

    @property
    def inlet(self) -> tuple[int, int]:
        """Positions and channels of what it reads."""
        return (self.windows, self.outputs) if self.back else (self.positions, self.channels)

    @property
    def outlet(self) -> tuple[int, int]:
        """Positions and channels of what it gives."""
        return (self.positions, self.channels) if self.back else (self.windows, self.outputs)


def through(x: Tensor, plans: tuple[Plan, ...], parameters: Sequence[Tensor], dropped: Sequence[float]) -> Tensor:
    """x (B, S, C), fp32 or bf16 on the CPU, through layers one after another: (B, S', C').

    Args:
        x: of the first plan's inlet.
        plans: each inlet has as many numbers as the outlet before it.
        parameters: of each layer weights, (O, C, kernel) or (O, C), and a bias, (O) or of a transposed layer (C); fp32.
        dropped: for each layer the probability in [0, 1) of dropout after it.
    """
    graded = torch.is_grad_enabled() and (x.requires_grad or any(parameter.requires_grad for parameter in parameters))
    laid, draws = _laid(plans, len(x), x.dtype, torch.get_num_threads(), graded), drawn(*dropped)
    return _Layers.apply(x, laid, draws, *parameters) if graded else _forward(laid, laid.drawn(draws), x, parameters)[0]


@final
class _Layer(Structure):
    """`Layer` of layers.h."""

    _fields_ = [
        *((name, c_int64) for name in ("bytes", "B", "S", "C", "W", "O", "kernel", "stride", "crop", "back", "curved")),
        *((name, c_int64) for name in ("threads", "seed", "least")),
        ("scale", c_float),
        *((name, c_void_p) for name in ("weight", "bias", "dweight", "dbias", "y")),
    ]


@final
@dataclass(frozen=True)
class _Laid:
    """Layers as they are laid out for so many sequences: what calls of the same shapes share."""

    blank: Array[_Layer]
    """Without what is drawn, and without places in memory."""

    curved: bool
    """Whether the last of them is: backward then reads what it gave."""

    outlet: tuple[int, int]
    """Positions and channels of what the last one gives."""

    biases: tuple[int, ...]
    """How many each of them has."""

    room: int
    """Bytes for what a call forgets."""

    places: tuple[int, ...]
    """Bytes before each layer's output in the memory between layers; that of the last stands elsewhere."""

    between: int
    """Numbers of that memory."""

    widest: int
    """Numbers of the largest output that stands there."""

    def drawn(self, draws: Sequence[Drawn]) -> Array[_Layer]:
        """The layers of a call, still without places in memory."""
        layers = type(self.blank).from_buffer_copy(self.blank)
        for layer, drops in zip(layers, draws, strict=True):
            if drops.least:
                layer.seed, layer.least, layer.scale = drops
        return layers

    def place(self, layers: Array[_Layer], weights: Sequence[Tensor], between: Tensor | None, y: Tensor | None) -> None:
        """Say where weights and outputs stand: those of layers but the last side by side, and that of the last where it is wanted."""
        start = 0 if between is None else between.data_ptr()
        for layer, weight, place in zip(layers, weights, self.places, strict=True):
            layer.weight, layer.y = weight.data_ptr(), start + place
        if y is not None:
            layer.y = y.data_ptr()


@lru_cache(1024)
def _laid(plans: tuple[Plan, ...], batch: int, dtype: torch.dtype, threads: int, keep: bool) -> _Laid:
    """Layers laid out; what is not kept for backward is written over by the layer after next."""
    layers, rooms = (_Layer * len(plans))(), list[int]()
    for layer, plan in zip(layers, plans, strict=True):
        *sides, back, curved = plan
        layer.bytes, layer.B, layer.threads = dtype.itemsize, batch, min(threads, threads_for(batch * _work(plan)))
        for name, size in zip(("S", "C", "W", "O", "kernel", "stride", "crop"), sides, strict=True):
            setattr(layer, name, size)
        layer.back, layer.curved, layer.scale = back, curved, 1.0
        room = c_int64()
        call_kernel("textvae_layer_room", addressof(layer), addressof(room))
        rooms.append(room.value)
    sizes = [whole_lines(batch * positions * channels, dtype) for positions, channels in (plan.outlet for plan in plans[:-1])]
    widest, last = max(sizes, default=0), plans[-1]
    begin = list(accumulate(sizes, initial=0)) if keep else [i % 2 * widest for i in range(len(plans))]
    places, between = tuple(dtype.itemsize * number for number in begin), begin[-1] if keep else 2 * widest
    biases = tuple(plan.outlet[1] for plan in plans)
    return _Laid(layers, last.curved, last.outlet, biases, max(rooms), places, between, widest)


def _work(plan: Plan) -> int:
    """Numbers of the larger side of a sequence's product."""
    return plan.windows * max(plan.kernel * plan.channels, plan.outputs)


@final
class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, laid: _Laid, draws: Sequence[Drawn], *parameters: Tensor) -> Tensor:
        layers = laid.drawn(draws)
        y, kept = _forward(laid, layers, x, parameters)
        ctx.laid, ctx.layers = laid, layers
        ctx.save_for_backward(y if laid.curved else None, *kept)
        return y

    @staticmethod
    @first_order
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        laid, asked, dy = ctx.laid, ctx.needs_input_grad, dy.contiguous()
        layers = type(ctx.layers).from_buffer_copy(ctx.layers)
        y, x, between, *weights = ctx.saved_tensors
        laid.place(layers, weights, between, y)
        gradients: list[Tensor | None] = []
        for i, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
            if not (asked[3 + 2 * i] or asked[4 + 2 * i]):
                gradients += None, None
                continue
            of_weight, of_bias = torch.empty_like(weight), weight.new_empty(laid.biases[i])
            layer.dweight, layer.dbias = of_weight.data_ptr(), of_bias.data_ptr()
            gradients += of_weight, of_bias
        dx = x.new_empty(x.shape) if asked[0] else None
        first = 0 if asked[0] else next(i for i, layer in enumerate(layers) if layer.dweight)
        apart = laid.widest * x.itemsize
        memory = torch.empty(laid.room + 2 * apart, dtype=torch.uint8, device="cpu")
        carried = memory.data_ptr() + laid.room
        call_kernel("textvae_layers_backward", addressof(layers), len(layers), first, x, dy, dx, memory, carried, apart)
        return dx, None, None, *gradients


def _forward(laid: _Laid, layers: Array[_Layer], x: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """What the last layer gives; and what backward reads: x, what stands between layers, weights."""
    x, parameters = x.contiguous(), [parameter.contiguous() for parameter in parameters]
    weights, biases, y = parameters[::2], parameters[1::2], x.new_empty(len(x), *laid.outlet)
    between = x.new_empty(laid.between) if laid.between else None
    laid.place(layers, weights, between, y)
    for layer, bias in zip(layers, biases, strict=True):
        layer.bias = bias.data_ptr()
    memory = torch.empty(laid.room, dtype=torch.uint8, device="cpu")
    call_kernel("textvae_layers_forward", addressof(layers), len(layers), x, memory)
    return y, (x, between, *weights)
