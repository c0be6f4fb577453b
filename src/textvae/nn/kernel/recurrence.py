"""LSTM and GRU layers through the compiled kernel: what recurs by the kernel, the products over all steps at once by torch.

Equations and parameters are those of `nn.LSTM` and `nn.GRU` (Hochreiter and Schmidhuber 1997; Cho et al. 2014). Everything inside is
time-major. What backward needs belongs to the call that made it, so that several forwards may stand before a backward.

What is multiplied and kept is of the inputs' dtype, fp32 or bf16; parameters, sums and what is carried from step to step are fp32.
In bf16 the gradients of weights and biases are bf16 products over all steps, as under torch's autocast.
"""

from __future__ import annotations

from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.nn.kernel.compiling import kernel
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

STEP_ROWS = 256
"""Sequences from which on packing the weights pays for a single step."""


def applies(core: nn.LSTM | nn.GRU, x: Tensor, state: tuple[Tensor, ...]) -> bool:
    """Whether the kernel is there and computes this: plain layers on the CPU, at least one step; fp32, or bf16 by autocast.

    bf16 where the processor multiplies it: elsewhere torch is faster.
    """
    mixed, tensors = torch.is_autocast_enabled("cpu"), (x, *state)
    plain = core.bias and not core.bidirectional and not core.proj_size and core.weight_hh_l0.dtype == torch.float32
    if mixed:
        computed = torch.get_autocast_dtype("cpu") == torch.bfloat16 and all(t.dtype in (torch.float32, torch.bfloat16) for t in tensors)
    else:
        computed = all(tensor.dtype == torch.float32 for tensor in tensors)
    return (
        plain
        and computed
        and all(tensor.device.type == "cpu" for tensor in (*tensors, core.weight_hh_l0))
        and x.numel() > 0
        and not (_is_step(x) and (mixed or isinstance(core, nn.GRU)))  # torch's own single step is faster
        and not torch.compiler.is_compiling()
        and (kernel().bf16 if mixed else kernel().library is not None)
    )


def run(core: nn.LSTM | nn.GRU, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What `core` computes of x (B, T, C) from a state, each part (layers, B, H): outputs (B, T, H) and the state after.

    Layer by layer, under autocast in bf16; dropout between layers is of the same distribution as `core`'s, not of the same draws.
    """
    if torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return run(core, x.bfloat16(), state)
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
    """Read x (B, T, C), fp32 or bf16, from h and c, each (B, H): the outputs (B, T, H) and the last h, as x is, and c, fp32. On the CPU.

    The outputs are a view of what backward reads: not contiguous, and not to be written to.
    """
    units = h.shape[1]
    h, c = (aligned(state.float(), 1, dtype=x.dtype) for state in (h, c))
    inputs = (x, h, c, *aligned_weights(weights, 4, x.dtype))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        output, last_h, last_c = _Lstm.apply(*inputs)
    else:
        output, last_h, last_c, _ = _lstm_forward(*inputs, keep=False)
    return output[..., :units], last_h[:, :units], last_c[:, :units]


def gru(x: Tensor, h: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """Read x (B, T, C), fp32 or bf16, from h (B, H): the outputs (B, T, H) and the last h, as x is. On the CPU. The outputs as `lstm`'s."""
    units = h.shape[1]
    inputs = (x, aligned(h.float(), 1, dtype=x.dtype), *aligned_weights(weights, 3, x.dtype))
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
    @first_order
    def backward(ctx: Any, doutput: Tensor | None, dh: Tensor | None, dc: Tensor | None) -> tuple[Tensor | None, ...]:
        w_ih, w_hh, b_ih, b_hh, rows, gates, cs = ctx.saved_tensors
        (inputs, units), batch = (w_ih.shape[1], w_hh.shape[1]), rows.shape[1]
        if ctx.walked:  # a second backward: the first has put the gradients in the gates' place
            x, h = _inputs(rows, units, inputs), rows[0, :, :units].float()
            *_, (rows, gates, cs) = _lstm_forward(x, h, cs[0], w_ih, w_hh, b_ih, b_hh, True)
        ctx.walked = True
        dh, dc = _gradient(dh, cs[0]), _gradient(dc, cs[0])
        _walk_back("lstm", BLOCK, w_hh, inputs, rows, gates, (cs,), doutput, (dh, dc))
        dgates = gates[:, : 4 * units]  # (T * B, 4H), in blocks
        dw = by_gate(dgates.t() @ _seen(rows, units + 1 + inputs))  # of h, one, x
        dx = _batch_first(dgates @ in_blocks(w_ih).to(dgates.dtype), batch) if ctx.needs_input_grad[0] else None
        dh_first = by_gate(dgates[:batch].t()).t() @ w_hh if ctx.needs_input_grad[1] else None
        dw_hh, db, dw_ih = dw[:, :units], dw[:, units], dw[:, units + 1 : units + 1 + inputs]
        return dx, dh_first, dc, dw_ih, dw_hh, db, db


@final
class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, Tensor]:
        output, last, kept = _gru_forward(x, h, w_ih, w_hh, b_ih, b_hh, keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, w_ih, w_hh, b_ih, b_hh, *kept)
        ctx.walked = False
        return output, last

    @staticmethod
    @first_order
    def backward(ctx: Any, doutput: Tensor | None, dh: Tensor | None) -> tuple[Tensor | None, ...]:
        h, w_ih, w_hh, b_ih, b_hh, rows, gates = ctx.saved_tensors
        (inputs, units), batch = (w_ih.shape[1], w_hh.shape[1]), rows.shape[1]
        if ctx.walked:  # a second backward: the first has put the gradients in the gates' place
            *_, (rows, gates) = _gru_forward(_inputs(rows, units, inputs), h, w_ih, w_hh, b_ih, b_hh, True)
        ctx.walked = True
        dh = _gradient(dh, rows[0, :, :units])
        _walk_back("gru", units, w_hh, inputs, rows, gates, (), doutput, (dh,))
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
        dh_first = dh.addmm_(drzq[:batch].float(), w_hh) if ctx.needs_input_grad[1] else None
        return dx, dh_first, dw_ih[:, 1 : 1 + inputs], dw_hh[:, :units], dw_ih[:, 0], dw_hh[:, units]


def _lstm_forward(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Outputs (B, T, H), last h and c (B, H), and what backward needs where it is to be kept."""
    (batch, positions, inputs), units = x.shape, h.shape[1]
    rows, gates, packed, sums = rows_of(x, h), gates_of(x, units, keep), None, None
    if _is_step(x) and x.dtype == torch.float32:
        sums = sums_of(x, units)
        torch.addmm(b_ih + b_hh, x[:, 0], w_ih.t(), out=sums[:, : 4 * units]).addmm_(h, w_hh.t())
    else:
        packed = packed_forward(4, (w_hh, (b_ih + b_hh)[:, None], w_ih), dtype=x.dtype)
        sums = None if x.dtype == torch.float32 else sums_of(x, units)
    cs = room(c, positions + 1 if keep else 1, batch, units)
    cs[0] = c
    walk = x.itemsize, positions, batch, units, inputs, packed, rows, rows.stride(1), gates, BLOCK, sums
    call_kernel("textvae_lstm_forward", *walk, cs, keep, threads_for(positions * batch * units))
    return _outputs(rows, units), rows[-1, :, :units].clone(), cs[-1].clone(), (rows, gates, cs)


def _gru_forward(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, keep: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Outputs (B, T, H), the last h (B, H), and what backward needs where it is to be kept."""
    (batch, positions, inputs), units = x.shape, h.shape[1]
    rows, gates = rows_of(x, h), gates_of(x, units, keep)
    packed = packed_forward(3, (w_hh, b_hh[:, None]), (b_ih[:, None], w_ih), dtype=x.dtype)
    sums, carried = (None, None) if x.dtype == torch.float32 else (sums_of(x, units), h.clone(memory_format=torch.contiguous_format))
    walk = x.itemsize, positions, batch, units, inputs, packed, rows, rows.stride(1), gates, units, sums
    call_kernel("textvae_gru_forward", *walk, carried, keep, threads_for(positions * batch * units))
    return _outputs(rows, units), rows[-1, :, :units].clone(), (rows, gates)


def _walk_back(
    cell: str, block: int, w_hh: Tensor, inputs: int, rows: Tensor, gates: Tensor, kept: tuple[Tensor, ...], doutput: Tensor | None,
    carried: tuple[Tensor, ...],
) -> None:  # fmt: skip
    """Put the gates' gradients in the gates' place."""
    positions, batch, units = len(rows) - 1, rows.shape[1], w_hh.shape[1]
    packed = packed_backward(len(w_hh) // units, w_hh, block, rows.dtype) if positions > 1 else None
    if doutput is not None and doutput.stride(2) != 1:
        doutput = doutput.contiguous()
    strides = (0, 0) if doutput is None else (doutput.stride(0), doutput.stride(1))
    walk = rows.itemsize, positions, batch, units, inputs, packed, rows, rows.stride(1), gates, block
    scratch = w_hh.new_empty(batch, units)
    call_kernel(f"textvae_{cell}_backward", *walk, *kept, doutput, *strides, *carried, scratch, threads_for(gates.numel()))


def _is_step(x: Tensor) -> bool:
    """Whether x (B, T, C) is one step of so few sequences that torch multiplies it, and the kernel only does the cell."""
    return x.shape[1] == 1 and x.shape[0] < STEP_ROWS


def _outputs(rows: Tensor, units: int) -> Tensor:
    """h after each step, (B, T, H): a view of what the next steps read, for to write it twice takes as long as a tenth of the walk."""
    return rows[1:, :, :units].transpose(0, 1)


def _seen(rows: Tensor, columns: int) -> Tensor:
    """What all steps have multiplied, (T * B, columns, and zeros up to a line: torch is up to a third faster by whole lines), a view."""
    return rows[:-1].view(-1, rows.shape[2])[:, : whole_lines(columns, rows.dtype)]


def _inputs(rows: Tensor, units: int, inputs: int) -> Tensor:
    """x (B, T, C) of what each step has multiplied, a view."""
    return rows[:-1, :, units + 1 : units + 1 + inputs].transpose(0, 1)


def _gradient(given: Tensor | None, like: Tensor) -> Tensor:
    """A gradient of a state (B, H) that the walk may write to, fp32; zero where none is given."""
    if given is None:
        return torch.zeros_like(like, dtype=torch.float32, memory_format=torch.contiguous_format)
    return given.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _batch_first(x: Tensor, batch: int) -> Tensor:
    """x (T * B, C) as (B, T, C), a view."""
    return x.view(-1, batch, x.shape[1]).transpose(0, 1)
