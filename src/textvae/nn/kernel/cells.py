"""LSTM and GRU layers through the compiled kernel: what recurs by the kernel, the products over all steps at once by torch.

Equations and parameters are those of `nn.LSTM` and `nn.GRU` (Hochreiter and Schmidhuber 1997; Cho et al. 2014). Everything inside is
time-major. What backward needs belongs to the call that made it, so that several forwards may stand before a backward.

What is multiplied and kept is of the inputs' dtype, fp32 or bf16; parameters, sums and what is carried from step to step are fp32.
In bf16 the gradients of weights and biases are bf16 products over all steps, as under torch's autocast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from textvae.nn.kernel.gradients import first_order
from textvae.nn.kernel.layout import (
    BLOCK,
    Weights,
    aligned,
    aligned_weights,
    by_gate,
    call_kernel,
    gates_of,
    in_blocks,
    packed_backward,
    packed_forward,
    room,
    rows_of,
    sums_of,
    threads_for,
    whole_lines,
)
from textvae.nn.kernel.symbols import sum_by_symbol

STEP_ROWS = 256
"""Sequences from which on packing the weights pays for a single step."""


State = tuple[Tensor, ...]
"""The state of a recurrent stack: (h, c) for an LSTM, (h,) for a GRU; each (layers, B, H)."""


@final
@dataclass(frozen=True)
class Added:
    """What is added to the gates before each step's product; of an LSTM in the order i, f, g, o, of a GRU r, z, n. Of G * H, fp32.

    Where numbers are multiplied in bf16 it is rounded to bf16 too: a table lies in the cache beside the weights.
    """

    table: Tensor
    """What each symbol adds, (V, G * H)."""

    symbols: Tensor
    """Which of them does, (B, T), whole numbers, each below V."""

    fixed: Tensor | None = None
    """What a sequence adds at every step, (B, G * H)."""


def lstm(x: Tensor, h: Tensor, c: Tensor, weights: Weights, added: Added | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Read x (B, T, C), fp32 or bf16, from h and c, each (B, H): the outputs (B, T, H) and the last h, as x is, and c, fp32. On the CPU.

    The outputs are a view of what backward reads: not contiguous, and not to be written to.
    """
    units = h.shape[1]
    h, c = aligned(h.to(x.dtype), 1, dtype=x.dtype), aligned(c.float(), 1, dtype=x.dtype)
    w_ih, w_hh, b_ih, b_hh = aligned_weights(weights, 4, x.dtype)
    table, symbols, fixed = _added(added, 4, x.dtype)
    bias = b_ih + b_hh
    biases = (bias, None) if table is None else (None, table + bias)  # in a table it is not multiplied
    inputs = (x, h, c, w_ih, w_hh, *biases, symbols, fixed)
    if _is_graded(inputs):
        output, last_h, last_c = _Lstm.apply(*inputs)
    else:
        output, last_h, last_c, _ = _lstm_forward(False, *inputs)
    return output[..., :units], last_h[:, :units], last_c[:, :units]


def gru(x: Tensor, h: Tensor, weights: Weights, added: Added | None = None) -> tuple[Tensor, Tensor]:
    """Read x (B, T, C), fp32 or bf16, from h (B, H): the outputs (B, T, H) and the last h, as x is. On the CPU. The outputs as `lstm`'s."""
    units = h.shape[1]
    inputs = (x, aligned(h.float(), 1, dtype=x.dtype), *aligned_weights(weights, 3, x.dtype), *_added(added, 3, x.dtype))
    if _is_graded(inputs):
        output, last = _Gru.apply(*inputs)
    else:
        output, last, _ = _gru_forward(False, *inputs)
    return output[..., :units], last[:, :units]


@final
class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        output, last_h, last_c, kept = _lstm_forward(True, *inputs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[3:], *kept)
        ctx.walked = False
        return output, last_h, last_c

    @staticmethod
    @first_order
    def backward(ctx: Any, doutput: Tensor | None, dh: Tensor | None, dc: Tensor | None) -> tuple[Tensor | None, ...]:
        *weights, rows, gates, cs = ctx.saved_tensors
        w_ih, w_hh, bias, table, symbols, fixed = weights
        inputs, units, batch = w_ih.shape[1], w_hh.shape[1], rows.shape[1]
        first = units if bias is None else units + 1  # of x's columns
        if ctx.walked:  # a second backward: the first has put the gradients in the gates' place
            x, h = rows[:-1, :, first : first + inputs].transpose(0, 1), rows[0, :, :units].float()
            *_, (rows, gates, cs) = _lstm_forward(True, x, h, cs[0], *weights)
        ctx.walked = True
        dh, dc = _gradient(dh, cs[0]), _gradient(dc, cs[0])
        _walk_back("lstm", BLOCK, w_hh, rows, gates, (cs,), doutput, (dh, dc), ctx.needs_input_grad[1])
        dgates = gates[:, : 4 * units]  # (T * B, 4H), in blocks
        dw = dgates.t() @ _seen(rows, first + inputs)  # of h, one, x
        dw_hh, dbias, dw_ih = by_gate(dw, 0, units, first - units, inputs)
        dx = _batch_first(dgates @ in_blocks(w_ih, 0, dgates.dtype), batch) if ctx.needs_input_grad[0] else None
        dtable, dfixed = (None if d is None else by_gate(d, 1)[0] for d in _sums(dgates, table, symbols, fixed))
        return dx, dh, dc, dw_ih, dw_hh, None if bias is None else dbias.view(-1), dtable, None, dfixed


@final
class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        output, last, kept = _gru_forward(True, *inputs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[1:], *kept)
        ctx.walked = False
        return output, last

    @staticmethod
    @first_order
    def backward(ctx: Any, doutput: Tensor | None, dh: Tensor | None) -> tuple[Tensor | None, ...]:
        h, *weights, rows, gates = ctx.saved_tensors
        w_ih, w_hh, _, _, table, symbols, fixed = weights
        inputs, units, batch = w_ih.shape[1], w_hh.shape[1], rows.shape[1]
        if ctx.walked:  # a second backward: the first has put the gradients in the gates' place
            x = rows[:-1, :, units + 1 : units + 1 + inputs].transpose(0, 1)
            *_, (rows, gates) = _gru_forward(True, x, h, *weights)
        ctx.walked = True
        dh = _gradient(dh, rows[0, :, :units])
        _walk_back("gru", units, w_hh, rows, gates, (), doutput, (dh,), ctx.needs_input_grad[1])
        dn, drz, drzq = gates[:, :units], gates[:, units : 3 * units], gates[:, units : 4 * units]  # as the kernel leaves them
        seen = _seen(rows, units + 1 + inputs)
        dw_hh = (drzq.t() @ seen[:, : whole_lines(units + 1, seen.dtype)]).float()  # of h, one, and what fills a line
        dw_ih = seen.new_empty(3 * units, seen.shape[1] - units)  # of one, x
        torch.mm(drz.t(), seen[:, units:], out=dw_ih[: 2 * units])
        torch.mm(dn.t(), seen[:, units:], out=dw_ih[2 * units :])
        dw_ih, dx = dw_ih.float(), None
        if ctx.needs_input_grad[0]:
            weight = w_ih.to(gates.dtype)
            dx = _batch_first((drz @ weight[: 2 * units]).addmm_(dn, weight[2 * units :]), batch)
        sums = _sums(gates[:, : 3 * units], table, symbols, fixed)
        dtable, dfixed = (None if d is None else d.roll(-units, 1) for d in sums)  # n, r, z
        return dx, dh, dw_ih[:, 1 : 1 + inputs], dw_hh[:, :units], dw_ih[:, 0], dw_hh[:, units], dtable, None, dfixed


def _lstm_forward(
    keep: bool, x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None,
    table: Tensor | None, symbols: Tensor | None, fixed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """Outputs (B, T, H), last h and c (B, H), and what backward needs where it is to be kept."""
    (batch, positions, inputs), units = x.shape, h.shape[1]
    rows, gates, packed, sums = rows_of(x, h, bias is not None), gates_of(x, units, keep), None, None
    if bias is not None and is_step(x) and x.dtype == torch.float32:
        sums = sums_of(x, units)
        torch.addmm(bias, x[:, 0], w_ih.t(), out=sums[:, : 4 * units]).addmm_(h, w_hh.t())
    else:
        packed = packed_forward(4, (w_hh, w_ih) if bias is None else (w_hh, bias[:, None], w_ih), dtype=x.dtype)
        sums = None if x.dtype == torch.float32 else sums_of(x, units)
    cs = room(c, positions + 1 if keep else 1, batch, units)
    cs[0] = c
    added = _packed(table, x.dtype, blocks=True), symbols, _packed(fixed, x.dtype, blocks=True)
    beside = inputs if bias is None else inputs + 1
    walk = x.itemsize, positions, batch, units, beside, packed, rows, rows.stride(1), gates, BLOCK, *added, sums
    call_kernel("textvae_lstm_forward", *walk, cs, keep, threads_for(positions * batch * units))
    return _outputs(rows, units), rows[-1, :, :units].clone(), cs[-1].clone(), (rows, gates, cs)


def _gru_forward(
    keep: bool, x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor,
    table: Tensor | None, symbols: Tensor | None, fixed: Tensor | None,
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """Outputs (B, T, H), the last h (B, H), and what backward needs where it is to be kept."""
    (batch, positions, inputs), units = x.shape, h.shape[1]
    rows, gates = rows_of(x, h, one=True), gates_of(x, units, keep)
    packed = packed_forward(3, (w_hh, b_hh[:, None]), (b_ih[:, None], w_ih), dtype=x.dtype)
    sums, carried = (None, None) if x.dtype == torch.float32 else (sums_of(x, units), h.clone(memory_format=torch.contiguous_format))
    added = _packed(table, x.dtype), symbols, _packed(fixed, x.dtype)
    walk = x.itemsize, positions, batch, units, 1 + inputs, packed, rows, rows.stride(1), gates, units, *added, sums
    call_kernel("textvae_gru_forward", *walk, carried, keep, threads_for(positions * batch * units))
    return _outputs(rows, units), rows[-1, :, :units].clone(), (rows, gates)


def _walk_back(
    cell: str, block: int, w_hh: Tensor, rows: Tensor, gates: Tensor, kept: tuple[Tensor, ...], doutput: Tensor | None,
    carried: tuple[Tensor, ...], to_first: bool,
) -> None:  # fmt: skip
    """Put the gates' gradients in the gates' place, and in that of the last state's gradients those of the first: of h if asked for."""
    positions, batch, units = len(rows) - 1, rows.shape[1], w_hh.shape[1]
    packed = packed_backward(len(w_hh) // units, w_hh, block, rows.dtype) if to_first or positions > 1 else None
    if doutput is not None and doutput.stride(2) != 1:
        doutput = doutput.contiguous()
    strides = (0, 0) if doutput is None else (doutput.stride(0), doutput.stride(1))
    walk = rows.itemsize, positions, batch, units, packed, rows, rows.stride(1), gates, block
    scratch = w_hh.new_empty(batch, units)
    call_kernel(f"textvae_{cell}_backward", *walk, *kept, doutput, *strides, *carried, scratch, to_first, threads_for(gates.numel()))


def is_step(x: Tensor) -> bool:
    """Whether x (B, T, C) is one step of so few sequences that torch multiplies it, and the kernel only does the cell."""
    return x.shape[1] == 1 and x.shape[0] < STEP_ROWS


def _outputs(rows: Tensor, units: int) -> Tensor:
    """h after each step, (B, T, H): a view of what the next steps read, for to write it twice takes as long as a tenth of the walk."""
    return rows[1:, :, :units].transpose(0, 1)


def _seen(rows: Tensor, columns: int) -> Tensor:
    """What all steps have multiplied, (T * B, columns, and zeros up to a line: torch is up to a third faster by whole lines), a view."""
    return rows[:-1].view(-1, rows.shape[2])[:, : whole_lines(columns, rows.dtype)]


def _added(added: Added | None, gates: int, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """A table and what is fixed, of padded gates, and between them the symbols as the kernel reads them, (T * B), int64."""
    if added is None:
        return None, None, None
    fixed = None if added.fixed is None else aligned(added.fixed, gates, -1, dtype)
    symbols = added.symbols.t().to(torch.int64).contiguous().flatten()
    return aligned(added.table, gates, -1, dtype), symbols, fixed


def _packed(added: Tensor | None, dtype: torch.dtype, blocks: bool = False) -> Tensor | None:
    """A table or what is fixed, (rows, G * H), as the forward walk reads it."""
    if added is None:
        return None
    return in_blocks(added, 1, dtype) if blocks else added.to(dtype).contiguous()


def _sums(
    dgates: Tensor, table: Tensor | None, symbols: Tensor | None, fixed: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of a table and of what is fixed, (rows, columns), fp32, from those of the gates, (T * B, columns)."""
    rows = dgates[None]
    of_symbol = None if table is None or symbols is None else sum_by_symbol(symbols, rows, len(table))
    if fixed is None:
        return of_symbol, None
    sequence = torch.arange(len(fixed), device="cpu").repeat(len(dgates) // len(fixed))
    return of_symbol, sum_by_symbol(sequence, rows, len(fixed))  # torch's sum of bf16 takes up to nine times as long


def _is_graded(inputs: tuple[Tensor | None, ...]) -> bool:
    """Whether a gradient of one of them may be asked for."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs)


def _gradient(given: Tensor | None, like: Tensor) -> Tensor:
    """A gradient of a state (B, H) that the walk may write to, fp32; zero where none is given."""
    if given is None:
        return torch.zeros_like(like, dtype=torch.float32, memory_format=torch.contiguous_format)
    return given.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _batch_first(x: Tensor, batch: int) -> Tensor:
    """x (T * B, C) as (B, T, C), a view."""
    return x.view(len(x) // batch, batch, x.shape[1]).transpose(0, 1)
