"""LSTM and GRU layers through the compiled kernel: what recurs by the kernel, the products over all steps at once by torch.

Equations and parameters are those of `nn.LSTM` and `nn.GRU` (Hochreiter and Schmidhuber 1997; Cho et al. 2014), the layout of
the gates too. Everything inside is time-major. What backward needs belongs to the call that made it, so that several forwards
may stand before a backward.
"""

from __future__ import annotations

from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from textvae.nn.kernel.compiling import LINE, kernel

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of one layer with G gates and C inputs: weight_ih (G * H, C), weight_hh (G * H, H), bias_ih (G * H), bias_hh (G * H)."""

LARGE = 1 << 21
"""Numbers from which on memory is asked for in huge pages."""

STEP_ROWS = 256
"""Sequences from which on packing the weights pays for a single step."""

FEW = 1 << 15
"""Units over all steps and sequences for which another thread is not worth waking."""


def applies(core: nn.LSTM | nn.GRU, x: Tensor, state: tuple[Tensor, ...]) -> bool:
    """Whether the kernel is there and computes this: fp32 on the CPU, no autocast, plain layers, at least one step."""
    plain = core.bias and not core.bidirectional and not core.proj_size
    tensors = (x, *state, core.weight_hh_l0)
    return (
        plain
        and all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        and x.numel() > 0
        and not (_is_step(x) and isinstance(core, nn.GRU))  # torch's own single step is faster
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and kernel().library is not None
    )


def run(core: nn.LSTM | nn.GRU, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What `core` computes of x (B, T, C) from a state, each part (layers, B, H): outputs (B, T, H) and the state after.

    Layer by layer; dropout between layers is of the same distribution as `core`'s, not of the same draws.
    """
    after = []
    for layer, weights in enumerate(core.all_weights):
        if layer:
            x = F.dropout(x, core.dropout, core.training)
        w_ih, w_hh, b_ih, b_hh = weights
        if isinstance(core, nn.LSTM):
            x, *last = lstm(x, state[0][layer], state[1][layer], (w_ih, w_hh, b_ih, b_hh))
        else:
            x, *last = gru(x, state[0][layer], (w_ih, w_hh, b_ih, b_hh))
        after.append(last)
    return x, tuple(torch.stack(parts) for parts in zip(*after, strict=True))


def lstm(x: Tensor, h: Tensor, c: Tensor, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
    """Read x (B, T, C) from h and c, each (B, H): the outputs (B, T, H) and the last h and c. fp32, on the CPU."""
    units = h.shape[1]
    inputs = (x, aligned(h, 1), aligned(c, 1), *aligned_weights(weights, 4))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        output, last_h, last_c = _Lstm.apply(*inputs)
    else:
        output, last_h, last_c, _ = _lstm_forward(*inputs, keep=False)
    return output[..., :units], last_h[:, :units], last_c[:, :units]


def gru(x: Tensor, h: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """Read x (B, T, C) from h (B, H): the outputs (B, T, H) and the last h. fp32, on the CPU."""
    units = h.shape[1]
    inputs = (x, aligned(h, 1), *aligned_weights(weights, 3))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        output, last = _Gru.apply(*inputs)
    else:
        output, last, _ = _gru_forward(*inputs, keep=False)
    return output[..., :units], last[:, :units]


@final
class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        output, last_h, last_c, kept = _lstm_forward(x, h, c, w_ih, w_hh, b_ih, b_hh, keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(w_ih, w_hh, b_ih, b_hh, *kept)
        ctx.walked = False
        return output, last_h, last_c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, doutput: Tensor | None, dh: Tensor | None, dc: Tensor | None) -> tuple[Tensor | None, ...]:
        w_ih, w_hh, b_ih, b_hh, rows, gates, cs = ctx.saved_tensors
        (inputs, units), batch = (w_ih.shape[1], w_hh.shape[1]), rows.shape[1]
        if ctx.walked:  # a second backward: the first has put the gradients in the gates' place
            *_, (rows, gates, cs) = _lstm_forward(_inputs(rows, units, inputs), rows[0, :, :units], cs[0], w_ih, w_hh, b_ih, b_hh, True)
        ctx.walked = True
        dh, dc = _gradient(dh, gates, batch, units), _gradient(dc, gates, batch, units)
        _walk_back("lstm", w_hh, inputs, rows, gates, (cs,), doutput, (dh, dc))
        dgates = gates[:, : 4 * units]  # (T * B, 4H)
        dw = dgates.t() @ _seen(rows, units + 1 + inputs)  # of h, one, x
        dx = _batch_first(dgates @ w_ih, batch) if ctx.needs_input_grad[0] else None
        dh_first = dgates[:batch] @ w_hh if ctx.needs_input_grad[1] else None
        db = dw[:, units]
        return dx, dh_first, dc, dw[:, units + 1 :], dw[:, :units], db, db


@final
class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, Tensor]:
        output, last, kept = _gru_forward(x, h, w_ih, w_hh, b_ih, b_hh, keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(w_ih, w_hh, b_ih, b_hh, *kept)
        ctx.walked = False
        return output, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, doutput: Tensor | None, dh: Tensor | None) -> tuple[Tensor | None, ...]:
        w_ih, w_hh, b_ih, b_hh, rows, gates = ctx.saved_tensors
        (inputs, units), batch = (w_ih.shape[1], w_hh.shape[1]), rows.shape[1]
        if ctx.walked:  # a second backward: the first has put the gradients in the gates' place
            *_, (rows, gates) = _gru_forward(_inputs(rows, units, inputs), rows[0, :, :units], w_ih, w_hh, b_ih, b_hh, True)
        ctx.walked = True
        dh = _gradient(dh, gates, batch, units)
        _walk_back("gru", w_hh, inputs, rows, gates, (), doutput, (dh,))
        dn, drz, drzq = gates[:, :units], gates[:, units : 3 * units], gates[:, units : 4 * units]  # as the kernel leaves them
        seen = _seen(rows, units + 1 + inputs)
        dw_hh = drzq.t() @ seen[:, : units + 1]  # of h, one
        dw_ih = w_ih.new_empty(3 * units, 1 + inputs)  # of one, x
        torch.mm(drz.t(), seen[:, units:], out=dw_ih[: 2 * units])
        torch.mm(dn.t(), seen[:, units:], out=dw_ih[2 * units :])
        dx = None
        if ctx.needs_input_grad[0]:
            dx = _batch_first((drz @ w_ih[: 2 * units]).addmm_(dn, w_ih[2 * units :]), batch)
        dh_first = dh.addmm_(drzq[:batch], w_hh) if ctx.needs_input_grad[1] else None
        return dx, dh_first, dw_ih[:, 1:], dw_hh[:, :units], dw_ih[:, 0], dw_hh[:, units]


def _lstm_forward(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Outputs (B, T, H), last h and c (B, H), and what backward needs where it is to be kept."""
    (batch, positions, inputs), units = x.shape, h.shape[1]
    rows, gates, output = _rows(x, h), _gates(x, units, keep), _room(x, batch, positions, units)
    packed = None
    if _is_step(x):
        torch.addmm(b_ih + b_hh, x[:, 0], w_ih.t(), out=gates[:, : 4 * units]).addmm_(h, w_hh.t())
    else:
        packed = packed_forward(4, w_hh, (b_ih + b_hh)[:, None], w_ih)
    cs = _room(c, positions + 1 if keep else 1, batch, units)
    cs[0] = c
    sizes = positions, batch, units, inputs
    call_kernel("textvae_lstm_forward", *sizes, packed, rows, rows.stride(1), gates, cs, output, keep, threads_for(output.numel()))
    return output, rows[-1, :, :units].clone(), cs[-1].clone(), (rows, gates, cs)


def _gru_forward(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, keep: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Outputs (B, T, H), the last h (B, H), and what backward needs where it is to be kept."""
    (batch, positions, inputs), units = x.shape, h.shape[1]
    rows, gates, output = _rows(x, h), _gates(x, units, keep), _room(x, batch, positions, units)
    packed = None
    if _is_step(x):
        of_x, of_h = torch.addmm(b_ih, x[:, 0], w_ih.t()), torch.addmm(b_hh, h, w_hh.t())
        gates[:, :units] = of_x[:, 2 * units :]  # in the kernel's order: n, r, z, q
        torch.add(of_x[:, : 2 * units], of_h[:, : 2 * units], out=gates[:, units : 3 * units])
        gates[:, 3 * units : 4 * units] = of_h[:, 2 * units :]
    else:
        packed = packed_forward(3, w_hh, b_hh[:, None], b_ih[:, None], w_ih)
    sizes = positions, batch, units, inputs
    call_kernel("textvae_gru_forward", *sizes, packed, rows, rows.stride(1), gates, output, keep, threads_for(output.numel()))
    return output, rows[-1, :, :units].clone(), (rows, gates)


def _walk_back(
    cell: str, w_hh: Tensor, inputs: int, rows: Tensor, gates: Tensor, kept: tuple[Tensor, ...], doutput: Tensor | None,
    carried: tuple[Tensor, ...],
) -> None:  # fmt: skip
    """Put the gates' gradients in the gates' place."""
    positions, batch, units = len(rows) - 1, rows.shape[1], w_hh.shape[1]
    packed = None
    if positions > 1:
        packed = torch.empty_like(w_hh, memory_format=torch.contiguous_format)
        call_kernel("textvae_pack_backward", len(w_hh) // units, units, w_hh.contiguous(), packed, threads_for(packed.numel()))
    if doutput is not None and doutput.stride(2) != 1:
        doutput = doutput.contiguous()
    strides = (0, 0) if doutput is None else (doutput.stride(0), doutput.stride(1))
    sizes, scratch = (positions, batch, units, inputs), rows.new_empty(batch, units)
    arguments = packed, rows, rows.stride(1), gates, *kept, doutput, *strides, *carried, scratch, threads_for(gates.numel())
    call_kernel(f"textvae_{cell}_backward", *sizes, *arguments)


def _is_step(x: Tensor) -> bool:
    """Whether x (B, T, C) is one step of so few sequences that torch multiplies it, and the kernel only does the cell."""
    return x.shape[1] == 1 and x.shape[0] < STEP_ROWS


def call_kernel(name: str, *arguments: Tensor | float | None) -> None:
    """Call a function of the kernel, tensors by their addresses."""
    library = kernel().library
    assert library is not None, "callers ask first whether the kernel is there"
    getattr(library, name)(*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments])


def _room(like: Tensor, *shape: int) -> Tensor:
    """Fresh memory, nothing written to it."""
    room = like.new_empty(shape)
    if room.numel() >= LARGE:
        call_kernel("textvae_huge_pages", room, 4 * room.numel())
    return room


def threads_for(work: int) -> int:
    """How many threads a walk over so many units is worth."""
    return min(torch.get_num_threads(), 1 + work // FEW)


def packed_forward(gates: int, *blocks: Tensor) -> Tensor:
    """Weights (G * H, columns), side by side, in the order that the forward walk reads them."""
    units, depth = len(blocks[0]) // gates, sum(block.shape[1] for block in blocks)
    packed, k = blocks[0].new_empty(depth * len(blocks[0])), 0
    for block in blocks:
        block = block if block.stride(1) == 1 or block.shape[1] == 1 else block.contiguous()
        call_kernel(
            "textvae_pack_forward", gates, units, depth, k, block, block.shape[1], block.stride(0), packed, threads_for(packed.numel())
        )
        k += block.shape[1]
    return packed


def _rows(x: Tensor, h: Tensor) -> Tensor:
    """What each step multiplies, time-major: h, a one, x of (B, T, C); of h the first step's only. (T + 1, B, H + 1 + C, up to a line)."""
    (batch, positions, inputs), units = x.shape, h.shape[1]
    width = -(-(units + 1 + inputs) // LINE) | 1  # an odd number of cache lines: rows fall on all sets of the cache
    rows = _room(x, positions + 1, batch, width * LINE)
    rows[0, :, :units] = h
    rows[:, :, units] = 1.0
    rows[:-1, :, units + 1 : units + 1 + inputs] = x.transpose(0, 1)
    return rows


def _seen(rows: Tensor, columns: int) -> Tensor:
    """What all steps have multiplied, (T * B, columns), a view."""
    return rows[:-1].view(-1, rows.shape[2])[:, :columns]


def _inputs(rows: Tensor, units: int, inputs: int) -> Tensor:
    """x (B, T, C) of what each step has multiplied, a view."""
    return rows[:-1, :, units + 1 : units + 1 + inputs].transpose(0, 1)


def _gates(x: Tensor, units: int, keep: bool) -> Tensor:
    """Room for the gates of all steps where they are to be kept, else of one: (T * B, 4H + a line) or (B, 4H + a line)."""
    return _room(x, x.shape[0] * (x.shape[1] if keep else 1), 4 * units + LINE)


def _gradient(given: Tensor | None, like: Tensor, batch: int, units: int) -> Tensor:
    """A gradient (B, H) of a state that the walk may write to; zero where none is given."""
    return like.new_zeros(batch, units) if given is None else given.clone(memory_format=torch.contiguous_format)


def _batch_first(x: Tensor, batch: int) -> Tensor:
    """x (T * B, C) as (B, T, C), a view."""
    return x.view(-1, batch, x.shape[1]).transpose(0, 1)


def aligned(x: Tensor, gates: int, axis: int = -1) -> Tensor:
    """x with zeros after each gate's units along an axis of G * H, so that the kernel's vectors are full."""
    units = x.shape[axis] // gates
    full = min(-(-units // 48) * 48, -(-units // 64) * 64)
    if units == full:
        return x
    parts = x.movedim(axis, -1).unflatten(-1, (gates, units))
    return F.pad(parts, (0, full - units)).flatten(-2).movedim(-1, axis)


def aligned_weights(weights: Weights, gates: int) -> Weights:
    """A layer's weights with units of zero weight, which stay zero and get no gradient."""
    w_ih, w_hh, b_ih, b_hh = weights
    return aligned(w_ih, gates, 0), aligned(aligned(w_hh, gates, 0), 1), aligned(b_ih, gates), aligned(b_hh, gates)
