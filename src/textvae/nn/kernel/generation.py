"""Generation by the compiled kernel: all steps of a recurrent emitter of one layer, the choice of symbols included, in one call.

What symbols add to the gates is a table (V, G * H), made once a call, and what the context adds is one product over all steps, or
one row where the context is the same at every step. What is left of a step is a product of h, the cell, the logits and the choice.
"""

from __future__ import annotations

from ctypes import Structure, addressof, c_double, c_float, c_int64, c_void_p
from dataclasses import dataclass
from typing import final
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.nn.kernel.compiling import kernel
from textvae.nn.kernel.recurrence import aligned, aligned_weights, packed_forward, threads_for

WIDEST = 1 << 24
"""Numbers that a projected context may hold; longer batches are generated part by part."""

SYMBOLS = 32
"""What the symbols are padded to a multiple of: two of the kernel's widest vectors."""


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
    self_fed: bool
    """Whether it reads its own most likely symbols instead of those that were chosen."""


@final
class _Emitter(Structure):
    """`Emitter` of generation.cpp."""

    _fields_ = [
        *((name, c_int64) for name in ("rows", "units", "symbols")),
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


def generates(reader: Reader, context: Tensor) -> bool:
    """Whether the kernel is there and generates with this emitter: one plain layer, fp32 on the CPU, no autocast, no gradients."""
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


def generate(reader: Reader, context: Tensor, state: tuple[Tensor, ...], choice: Choice) -> Tensor:
    """Tokens (B, T), each row ended by `EOS` (0) at T at the latest, for the context (B, T, C) and the first state, parts (1, B, H).

    A row depends on no other. The same symbols as step by step, but for rounding.
    """
    batch, steps, _ = context.shape
    tokens = torch.zeros(batch, steps, dtype=torch.int64)
    weights = _packed(reader)
    wide = 1 if context.stride(1) == 0 else steps  # a context that is repeated over the steps is projected once
    part = max(1, WIDEST // (wide * len(weights.w_context)))
    for first in range(0, batch, part):
        rows = slice(first, first + part)
        h, *c = (aligned(each[0, rows], 1) for each in state)
        uniform = None if choice.uniform is None else choice.uniform[rows].contiguous()
        _walk(weights, F.linear(context[rows, :wide], weights.w_context), h, c, choice, uniform, reader.self_fed, tokens[rows])
    return tokens


@final
@dataclass(frozen=True)
class _Weights:
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
    def of(cls, reader: Reader) -> _Weights:
        """Pack an emitter's weights."""
        gates = 4 if isinstance(reader.core, nn.LSTM) else 3
        first, second, third, fourth = reader.core.all_weights[0]
        w_ih, w_hh, b_ih, b_hh = aligned_weights((first, second, third, fourth), gates)
        units, read = w_hh.shape[1], reader.embedding.embedding_dim
        outside = b_ih + b_hh
        if gates == 3:  # the bias of the candidate's product with h stays inside the reset gate
            outside[2 * units :] = b_ih[2 * units :]
        missing = -len(reader.output.weight) % SYMBOLS
        w_out = F.pad(aligned(reader.output.weight, 1), (0, 0, 0, missing))  # (V, H)
        return cls(
            F.linear(reader.embedding.weight, w_ih[:, :read], outside),
            w_ih[:, read:],
            packed_forward(gates, w_hh),
            b_hh[2 * units :].contiguous() if gates == 3 else None,
            packed_forward(2, w_out),
            F.pad(reader.output.bias, (0, missing), value=-torch.inf),
        )


_PACKED: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], _Weights]] = WeakKeyDictionary()
"""Packed weights by their layer, and of which state of the parameters they are: a string at a time is drawn without packing anew."""


def _packed(reader: Reader) -> _Weights:
    """An emitter's packed weights, made anew where a parameter was changed or moved."""
    parameters = (reader.embedding.weight, *reader.core.all_weights[0], reader.output.weight, reader.output.bias)
    versions = tuple(number for each in parameters for number in (each.data_ptr(), each._version))
    known = _PACKED.get(reader.core)
    if known is None or known[0] != versions:
        known = _PACKED[reader.core] = (versions, _Weights.of(reader))
    return known[1]


def _walk(
    weights: _Weights, context: Tensor, h: Tensor, c: list[Tensor], choice: Choice, uniform: Tensor | None, self_fed: bool, tokens: Tensor
) -> None:
    """Generate into tokens (B, T), full of `EOS`, from the projected context (B, T or 1, G * H)."""
    (batch, units), symbols = h.shape, len(weights.bias)
    h, c = h.contiguous(), [part.contiguous() for part in c]
    emitter = _Emitter(
        batch, units, symbols, _at(weights.table), _at(context), context.stride(0), context.stride(1) if context.shape[1] > 1 else 0,
        _at(weights.recurrent), _at(weights.candidate), _at(weights.output), _at(weights.bias), _at(h), _at(c[0]) if c else None,
    )  # fmt: skip
    forbidden = (c_int64 * len(choice.forbidden))(*choice.forbidden)
    way = _Choice(
        _at(uniform), tokens.shape[1], choice.temperature, choice.top_k or 0, choice.top_p or 1.0,
        addressof(forbidden), len(forbidden), self_fed,
    )  # fmt: skip
    room, marks = h.new_empty(batch * (4 * units + 2 * symbols)), tokens.new_empty(batch * (symbols + 2))
    library = kernel().library
    assert library is not None, "callers ask first whether the kernel is there"
    library.textvae_generate(addressof(emitter), addressof(way), _at(room), _at(marks), _at(tokens), threads_for(tokens.numel() * units))


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
