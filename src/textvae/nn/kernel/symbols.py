"""What symbols choose of tables, by the compiled kernel: embedded text with dropout, and sums by symbol, each the other's gradient."""

from __future__ import annotations

from ctypes import addressof, c_int64
from typing import Any, final

import torch
from torch import Tensor

from textvae.nn.kernel.dropping import Drawn, drawn
from textvae.nn.kernel.gradients import first_order
from textvae.nn.kernel.layout import call_kernel, threads_for

(ALL,) = drawn(0.0)
"""Nothing is dropped."""


def embed(symbols: Tensor, table: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """Rows of a table (V, C), fp32 on the CPU, that whole numbers (B, T) choose, fp32 or bf16, dropped with probability p: (B, T, C).

    Raises:
        IndexError: a symbol has no row.
    """
    return _Embedded.apply(symbols.to(torch.int64).contiguous(), table, *drawn(p), dtype)


def sum_by_symbol(symbols: Tensor, given: Tensor, count: int, drops: Drawn = ALL) -> Tensor:
    """The sum of the rows of `given` (B, T, C), fp32 or bf16, of each symbol of (B, T), int64: (count, C), fp32.

    What `drops` drops of (B, T, C) is not added.
    """
    given = given if given.stride(2) == 1 else given.contiguous()
    (batch, steps, columns), (row, step, _), threads = given.shape, given.stride(), threads_for(given.numel())
    sums = given.new_empty(count, columns, dtype=torch.float32)
    walk = batch, steps, columns, given, row, step, symbols.contiguous(), count, sums
    call_kernel("textvae_sum_by_symbol", given.itemsize, *walk, *drops, threads)
    return sums


@final
class _Embedded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, symbols: Tensor, table: Tensor, drops: Drawn, dtype: torch.dtype) -> Tensor:
        (count, columns), table, outside = table.shape, table.contiguous(), c_int64()
        y = table.new_empty(*symbols.shape, columns, dtype=dtype)
        walk = symbols.numel(), columns, symbols, table, count, y, addressof(outside)
        call_kernel("textvae_embed", dtype.itemsize, *walk, *drops, threads_for(y.numel()))
        if outside.value:
            raise IndexError(f"{outside.value} of {symbols.numel()} symbols are outside of the embedding: its rows are 0 to {count - 1}")
        ctx.save_for_backward(symbols)
        ctx.drops, ctx.count = drops, count
        return y

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (symbols,) = ctx.saved_tensors
        return None, sum_by_symbol(symbols, gradient, ctx.count, ctx.drops), None, None
