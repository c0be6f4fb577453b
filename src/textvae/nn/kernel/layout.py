"""The kernel's memory: weights packed and padded as its walks read them, room for what they write, and its functions' call.

Numbers are fp32, or bf16, two of which a walk multiplies at once where one fp32 stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import addressof, c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.nn.kernel.compiling import LINE, kernel, loaded

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of one layer with G gates and C inputs: weight_ih (G * H, C), weight_hh (G * H, H), bias_ih (G * H), bias_hh (G * H)."""

PANELS = {torch.float32: (48, 64), torch.bfloat16: (96, 64)}
"""Units of which a layer has a multiple, of the one or the other, by the dtype it is computed in: full vectors, bf16 in full lines."""

BLOCK = 16
"""Units of each gate of an LSTM that stand side by side in the kernel's memory: i, f, g and o of the first, then of the next."""

LARGE = 8 << 20
"""Bytes from which on memory is asked for in huge pages."""

FEW = 1 << 15
"""Numbers to compute, over all steps and sequences, for which another thread is not worth waking."""


def call_kernel(name: str, *arguments: Tensor | float | None) -> None:
    """Call a function of the kernel, tensors by their addresses."""
    library = loaded().library
    assert library is not None, "callers ask first whether the kernel is there"
    getattr(library, name)(*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments])


def computes(x: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether the kernel is there and reads this, or makes a dtype of it: fp32 on the CPU, or bf16 where the processor multiplies it.

    Not while torch compiles.
    """
    there, dtype = x.device.type == "cpu" and not torch.compiler.is_compiling(), dtype or x.dtype
    return there and ((dtype == torch.float32 and kernel().library is not None) or (dtype == torch.bfloat16 and kernel().bf16))


def room(like: Tensor, *shape: int) -> Tensor:
    """Fresh memory, nothing written to it."""
    fresh = like.new_empty(shape)
    if fresh.nbytes >= LARGE:
        call_kernel("textvae_huge_pages", fresh, fresh.nbytes)
    return fresh


def threads_for(work: int) -> int:
    """How many threads so many numbers are worth."""
    return min(torch.get_num_threads(), 1 + work // FEW)


def same(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether contiguous fp32 tensors on the CPU are others, bit by bit."""
    if [tensor.shape for tensor in tensors] != [other.shape for other in others]:
        return False
    count, result = len(tensors), c_int64()
    ours, theirs = ((c_void_p * count)(*(tensor.data_ptr() for tensor in part)) for part in (tensors, others))
    sizes = (c_int64 * count)(*(tensor.nbytes for tensor in tensors))
    threads = threads_for(sum(sizes))
    call_kernel("textvae_same", count, addressof(ours), addressof(theirs), addressof(sizes), addressof(result), threads)
    return bool(result.value)


def packed_forward(gates: int, *parts: tuple[Tensor, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights in the order that the forward walk reads them.

    Args:
        gates: G.
        parts: fp32 matrices (G * H, columns), side by side; a part begins where a product begins, with zeros between.
        dtype: of the packed numbers, fp32 or bf16.
    """
    units, blocks = len(parts[0][0]) // gates, list[tuple[Tensor | None, int]]()
    for part in parts:
        width = sum(block.shape[1] for block in part)
        blocks += [(block if block.stride(1) == 1 or block.shape[1] == 1 else block.contiguous(), block.shape[1]) for block in part]
        blocks.append((None, _depth(width, dtype) - width))
    depth, count = sum(width for _, width in blocks), len(blocks)
    packed = torch.empty(depth * gates * units, dtype=dtype, device="cpu")
    matrices, columns, strides = (c_void_p * count)(), (c_int64 * count)(), (c_int64 * count)()
    for i, (block, width) in enumerate(blocks):
        columns[i] = width
        if block is not None:
            matrices[i], strides[i] = block.data_ptr(), block.stride(0)
    shape = dtype.itemsize, gates, units, depth * dtype.itemsize // torch.float32.itemsize, count
    arrays = addressof(matrices), addressof(columns), addressof(strides)
    call_kernel("textvae_pack_forward", *shape, *arrays, packed, threads_for(packed.numel()))
    return packed


def packed_backward(gates: int, w_hh: Tensor, block: int, dtype: torch.dtype) -> Tensor:
    """w_hh (G * H, H), fp32, in the order that the backward walk reads it, gates in blocks of so many units."""
    packed = torch.empty(w_hh.shape, dtype=dtype, device="cpu")
    shape = dtype.itemsize, gates, len(w_hh) // gates, block
    call_kernel("textvae_pack_backward", *shape, w_hh.contiguous(), packed, threads_for(packed.numel()))
    return packed


def rows_of(x: Tensor, h: Tensor, one: bool) -> Tensor:
    """What each step multiplies, time-major: h, a one where there is a bias, x of (B, T, C), zeros up to a line; of h the first only.

    (T + 1, B, an odd number of lines): rows fall on all sets of the cache.
    """
    (batch, positions, inputs), units = x.shape, h.shape[1]
    line, first = LINE // x.itemsize, units + one
    used = first + inputs
    width = -(-used // line) | 1
    rows, end = room(x, positions + 1, batch, width * line), whole_lines(used, x.dtype)
    x = x if x.stride(2) == 1 or inputs < 2 else x.contiguous()
    beside = int(one), x, x.stride(0), x.stride(1), inputs, end
    walk = x.itemsize, positions, batch, units, h.to(x.dtype).contiguous()
    call_kernel("textvae_lay_rows", *walk, *beside, rows, rows.stride(1), threads_for(rows.numel()))
    return rows


def gates_of(x: Tensor, units: int, keep: bool) -> Tensor:
    """Room for the gates of all steps where they are to be kept, else of one: (T * B, 4H + a line) or (B, 4H + a line)."""
    return room(x, x.shape[0] * (x.shape[1] if keep else 1), 4 * units + LINE // x.itemsize)


def sums_of(x: Tensor, units: int) -> Tensor:
    """Room for a step's sums gate by gate, (B, 4H + a line), fp32."""
    return x.new_empty(len(x), 4 * units + LINE // 4, dtype=torch.float32)


def in_blocks(gates: Tensor, axis: int, dtype: torch.dtype) -> Tensor:
    """A matrix, fp32, whose rows or columns, 4H, are an LSTM's gates one after the other: in blocks."""
    outer, columns = (1, gates.shape[1]) if axis == 0 else (len(gates), 1)
    blocks = torch.empty(gates.shape, dtype=dtype, device="cpu")
    walk = outer, gates.shape[axis] // 4, BLOCK, gates.contiguous(), columns, blocks
    call_kernel("textvae_in_blocks", dtype.itemsize, *walk, threads_for(gates.numel()))
    return blocks


def by_gate(blocks: Tensor, axis: int, *widths: int) -> list[Tensor]:
    """The inverse of `in_blocks`, in fp32, of rows (4H, columns) cut into so many columns side by side, or whole (rows, 4H)."""
    outer, row = (1, blocks.stride(0)) if axis == 0 else (len(blocks), 1)
    shapes = [(len(blocks), width) for width in widths] if axis == 0 else [tuple(blocks.shape)]
    gates, count = [torch.empty(shape, dtype=torch.float32, device="cpu") for shape in shapes], len(shapes)
    columns, places = (c_int64 * count)(*(widths or [1])), (c_void_p * count)(*[part.data_ptr() for part in gates])
    walk = outer, blocks.shape[axis] // 4, BLOCK, blocks, row, count, addressof(columns), addressof(places)
    call_kernel("textvae_by_gate", blocks.itemsize, *walk, threads_for(blocks.numel()))
    return gates


def whole_lines(numbers: int, dtype: torch.dtype) -> int:
    """So many numbers and what fills the last line of the cache."""
    line = LINE // dtype.itemsize
    return -(-numbers // line) * line


def _depth(numbers: int, dtype: torch.dtype) -> int:
    """How many numbers the forward walk multiplies where so many are meant: bf16 by the line, as matrix registers take them."""
    return numbers if dtype == torch.float32 else whole_lines(numbers, dtype)


def aligned(x: Tensor, gates: int, axis: int = -1, dtype: torch.dtype = torch.float32) -> Tensor:
    """x with zeros after each gate's units along an axis of G * H, so that the kernel's vectors are full where it computes in dtype."""
    units = x.shape[axis] // gates
    full = min(-(-units // width) * width for width in PANELS[dtype])
    if units == full:
        return x
    parts = x.movedim(axis, -1).unflatten(-1, (gates, units))
    return F.pad(parts, (0, full - units)).flatten(-2).movedim(-1, axis)


def aligned_weights(weights: Weights, gates: int, dtype: torch.dtype = torch.float32) -> Weights:
    """A layer's weights with units of zero weight, which stay zero and get no gradient."""
    w_ih, w_hh, b_ih, b_hh = (aligned(weight, gates, 0, dtype) for weight in weights)
    return w_ih, aligned(w_hh, 1, 1, dtype), b_ih, b_hh
