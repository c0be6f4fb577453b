"""Generation by the compiled kernel: all steps of a recurrent emitter of one layer, the choice of symbols included, in one call.

What symbols add to the gates is a table (V, G * H), kept until a weight changes, and what the context adds is one product over all
steps, or one row where the context is the same at every step. What is left of a step is a product of h, the cell, the logits and
the choice.

Where the processor's vectors are faster in bf16, symbols are drawn at random by products in bf16, summed in fp32. What is most likely, or
nearly so, and what a self-fed emitter reads, is told in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ctypes import Array, Structure, addressof, c_double, c_float, c_int64, c_void_p
from dataclasses import dataclass
from typing import final
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.nn.kernel.compiling import kernel
from textvae.nn.kernel.layout import aligned, aligned_weights, call_kernel, packed_forward, same, threads_for
from textvae.nn.kernel.processor import multiplies_bf16_faster

WIDEST = 1 << 24
"""Numbers that a projected context may hold; longer batches are generated part by part."""

SYMBOLS = 32
"""What the symbols are padded to a multiple of: two of the kernel's widest vectors."""

LEAST_SPREAD = 0.5
"""Temperature and nucleus from which on bf16's rounding is far below what is left to chance."""

FEW_ROWS = 8
"""Sequences that take as long as one does: it waits for the weights, not for the products."""


@final
@dataclass(frozen=True)
class Choice:
    """How each next symbol is chosen: the most likely, or by one uniform number a sequence and step. Forbidden ones never."""

    forbidden: tuple[int, ...] = ()
    uniform: Tensor | None = None
    """(B, T), float64, on the CPU: inverted through the cumulative distribution in the symbols' order; None takes the most likely."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None


@final
@dataclass(frozen=True)
class Reader:
    """The parts of a recurrent emitter: what reads a symbol, the layer, what predicts the next."""

    embedding: nn.Embedding
    core: nn.LSTM | nn.GRU
    output: nn.Linear


@final
class _Emitter(Structure):
    """`Emitter` of emitter.h."""

    _fields_ = [
        *((name, c_int64) for name in ("bytes", "slots", "units", "symbols")),
        *((name, c_void_p) for name in ("table", "context")),
        *((name, c_int64) for name in ("context_row", "context_step")),
        *((name, c_void_p) for name in ("recurrent", "candidate", "output", "bias", "h", "c")),
    ]


@final
class _Choice(Structure):
    """`Choice` of generation.cpp."""

    _fields_ = [
        ("uniform", c_void_p),
        ("steps", c_int64),
        ("temperature", c_float),
        ("top_k", c_int64),
        ("top_p", c_double),
        ("forbidden", c_void_p),
        ("forbidden_count", c_int64),
        ("self_fed", c_int64),
    ]


@final
class _Search(Structure):
    """`Search` of beams.cpp."""

    _fields_ = [
        ("beams", c_int64), ("steps", c_int64), ("forbidden", c_void_p), ("forbidden_count", c_int64), ("self_fed", c_int64),
    ]  # fmt: skip


@final
@dataclass(frozen=True)
class Walk:
    """An emitter from where its rows start, all steps of which the kernel takes at once. A row depends on no other.

    The same symbols as step by step, but for rounding.
    """

    reader: Reader
    context: Tensor
    """(B, T, C)."""

    state: tuple[Tensor, ...]
    """Parts (1, B, H)."""

    self_fed: bool
    """Whether the emitter reads its own most likely symbols instead of those that were chosen."""

    def draw(self, choice: Choice, dtype: torch.dtype | None = None) -> Tensor:
        """Tokens (B, T), each row ended by `EOS` (0) at T at the latest; by products in fp32 or bf16, by default as `products_in` says."""
        tokens = torch.zeros(self.context.shape[:2], dtype=torch.int64, device="cpu")
        forbidden = _numbers(choice.forbidden)
        for rows, part in self._parts(_kept(self.reader, dtype or self.products_in(choice))):
            uniform = None if choice.uniform is None else choice.uniform[rows].contiguous()
            way = _Choice(
                _at(uniform), tokens.shape[1], choice.temperature, choice.top_k or 0, choice.top_p or 1.0,
                addressof(forbidden), len(forbidden), self.self_fed,
            )  # fmt: skip
            part.call("textvae_generate", addressof(way), tokens[rows])
        return tokens

    def products_in(self, choice: Choice) -> torch.dtype:
        """bf16 where the processor is faster by it and symbols are left to chance; fp32 where they are, or nearly are, the most likely."""
        spread = choice.temperature >= LEAST_SPREAD and choice.top_k != 1 and (choice.top_p or 1.0) >= LEAST_SPREAD
        random = choice.uniform is not None and spread and not self.self_fed
        return torch.bfloat16 if random and kernel().bf16 and multiplies_bf16_faster() else torch.float32

    def search(self, beams: int, forbidden: Sequence[int]) -> Tensor:
        """The likeliest strings that beam search finds, tokens (B, T)."""
        tokens = torch.zeros(self.context.shape[:2], dtype=torch.int64, device="cpu")
        never = _numbers(forbidden)
        way = _Search(beams, tokens.shape[1], addressof(never), len(never), self.self_fed)
        for rows, part in self._parts(_kept(self.reader, torch.float32)):
            part.call("textvae_search", addressof(way), tokens[rows], beams)
        return tokens

    def path(self) -> Tensor:
        """The symbols (B, T) that a self-fed emitter reads before each step: `EOS` (0), then its own most likely ones."""
        symbols = torch.zeros(self.context.shape[:2], dtype=torch.int64, device="cpu")
        for rows, part in self._parts(_Packed.of(self.reader, torch.float32)):  # in training: of weights that change with every step
            part.call("textvae_path", symbols.shape[1], symbols[rows])
        return symbols

    def _parts(self, weights: _Packed) -> Iterator[tuple[slice, _Part]]:
        """The rows of the batch, part by part."""
        steps = self.context.shape[1]
        wide = 1 if self.context.stride(1) == 0 else steps  # a context that is repeated over the steps is projected once
        size = max(1, WIDEST // (wide * len(weights.w_context)))
        for first in range(0, len(self.context), size):
            rows = slice(first, first + size)
            h, *c = (aligned(each[0, rows], 1, dtype=weights.recurrent.dtype).contiguous() for each in self.state)
            yield rows, _Part(weights, F.linear(self.context[rows, :wide], weights.w_context), h, c[0] if c else None)


def walks(reader: Reader, context: Tensor) -> bool:
    """Whether the kernel is there and walks this emitter: one plain layer, fp32 on the CPU, no autocast, no gradients."""
    core = reader.core
    plain = core.num_layers == 1 and core.bias and not core.bidirectional and not core.proj_size
    return (
        plain
        and all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in (context, core.weight_hh_l0))
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and kernel().library is not None
    )


@final
@dataclass(frozen=True)
class _Packed:
    """An emitter's weights as the kernel reads them."""

    table: Tensor
    """(V, G * H), biases included."""

    w_context: Tensor
    """(G * H, C)."""

    recurrent: Tensor
    candidate: Tensor | None
    output: Tensor
    bias: Tensor
    """(V, padded), -inf where no symbol is."""

    @classmethod
    def of(cls, reader: Reader, dtype: torch.dtype) -> _Packed:
        """Pack an emitter's weights, to be multiplied in a dtype."""
        gates = 4 if isinstance(reader.core, nn.LSTM) else 3
        first, second, third, fourth = reader.core.all_weights[0]
        w_ih, w_hh, b_ih, b_hh = aligned_weights((first, second, third, fourth), gates, dtype)
        units, read = w_hh.shape[1], reader.embedding.embedding_dim
        outside = b_ih + b_hh
        if gates == 3:  # the bias of the candidate's product with h stays inside the reset gate
            outside[2 * units :] = b_ih[2 * units :]
        missing = -len(reader.output.weight) % SYMBOLS
        w_out = F.pad(aligned(reader.output.weight, 1, dtype=dtype), (0, 0, 0, missing))  # (V, H)
        return cls(
            F.linear(reader.embedding.weight, w_ih[:, :read], outside),
            w_ih[:, read:],
            packed_forward(gates, (w_hh,), dtype=dtype),
            b_hh[2 * units :].contiguous() if gates == 3 else None,
            packed_forward(2, (w_out,), dtype=dtype),
            F.pad(reader.output.bias, (0, missing), value=-torch.inf),
        )


_KEPT: WeakKeyDictionary[nn.Module, tuple[list[Tensor], dict[torch.dtype, _Packed]]] = WeakKeyDictionary()
"""Packed weights by their layer, and copies of the parameters they are of: a string at a time is drawn without packing anew."""


def _kept(reader: Reader, dtype: torch.dtype) -> _Packed:
    """An emitter's packed weights, made anew where a number of a parameter was changed.

    Every number is compared, a tenth of what one string takes: neither fused optimizers nor `.data` leave a trace in a version.
    """
    parameters = [each.contiguous() for each in (reader.embedding.weight, *reader.core.all_weights[0], *reader.output.parameters())]
    known = _KEPT.get(reader.core)
    if known is None or not same(known[0], parameters):
        known = _KEPT[reader.core] = ([each.detach().clone() for each in parameters], {})
    if dtype not in known[1]:
        known[1][dtype] = _Packed.of(reader, dtype)
    return known[1][dtype]


@final
@dataclass(frozen=True)
class _Part:
    """Packed weights and where some of the rows start from."""

    weights: _Packed
    context: Tensor
    """(B, T or 1, G * H), projected."""

    h: Tensor
    c: Tensor | None
    """(B, H) each."""

    def call(self, name: str, argument: int, out: Tensor, beams: int = 1) -> None:
        """Call one of the kernel's walks into out (B, T), full of `EOS`."""
        (batch, units), symbols = self.h.shape, len(self.weights.bias)
        slots = batch * beams
        w, step = self.weights, self.context.stride(1) if self.context.shape[1] > 1 else 0
        emitter = _Emitter(
            w.recurrent.itemsize, slots, units, symbols, _at(w.table), _at(self.context), self.context.stride(0), step,
            _at(w.recurrent), _at(w.candidate), _at(w.output), _at(w.bias), _at(self.h), _at(self.c),
        )  # fmt: skip
        room, marks = self.h.new_empty(slots * (4 * units + 2 * symbols)), out.new_empty(slots * (symbols + 2) + 1)
        threads = threads_for(max(slots, FEW_ROWS) * out.shape[1] * units)
        call_kernel(name, addressof(emitter), argument, room, marks, out, threads)


def _numbers(given: Sequence[int]) -> Array[c_int64]:
    return (c_int64 * len(given))(*given)


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
