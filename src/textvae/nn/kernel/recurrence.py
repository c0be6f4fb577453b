"""Recurrent layers by the compiled kernel: whether it computes them, and what they read.

A stack reads numbers (`run`), or symbols with a context (`read`). What a symbol adds to the gates is then a row of a table (V, G * H), as
the vocabularies here are small: the product of the embedded symbols falls away, forward and backward, and so does that of a context
which is the same at every step. No embedded text is written to memory.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.nn.kernel.cells import Added, State, gru, is_step, lstm
from textvae.nn.kernel.compiling import kernel
from textvae.nn.kernel.dropping import drop
from textvae.nn.kernel.layout import Weights

STEPS_A_SYMBOL = 2
"""Steps, over all sequences, for each symbol of the vocabulary from which on a table pays: it multiplies every symbol once."""


def applies(core: nn.LSTM | nn.GRU, x: Tensor, state: State) -> bool:
    """Whether the kernel is there and computes this: plain layers on the CPU, at least one step; fp32, or bf16 by autocast.

    bf16 where the processor multiplies it: elsewhere torch is faster.
    """
    step = is_step(x) and (torch.is_autocast_enabled("cpu") or isinstance(core, nn.GRU))  # torch's own single step is faster
    return x.numel() > 0 and not step and _computes(core, (x, *state))


def reads(core: nn.LSTM | nn.GRU, symbols: Tensor, embedding: Tensor, context: Tensor, state: State) -> bool:
    """Whether the kernel computes this from symbols (B, T), and faster so: several steps of a small vocabulary."""
    small = STEPS_A_SYMBOL * len(embedding) <= symbols.numel()
    fits = symbols.shape == context.shape[:2] and symbols.shape[1] > 1 and symbols.dtype in (torch.int32, torch.int64)
    return small and fits and symbols.device.type == "cpu" and _computes(core, (embedding, context, *state))


def run(core: nn.LSTM | nn.GRU, x: Tensor, state: State) -> tuple[Tensor, State]:
    """What `core` computes of x (B, T, C) from a state, each part (layers, B, H): outputs (B, T, H) and the state after.

    Layer by layer, under autocast in bf16; dropout between layers is of the same distribution as `core`'s, not of the same draws.
    """
    mixed = torch.is_autocast_enabled("cpu")
    with _in_own_dtypes(mixed):
        return _through(core, _weights(core, 0), x.bfloat16() if mixed else x, None, state)


def read(core: nn.LSTM | nn.GRU, symbols: Tensor, embedding: Tensor, context: Tensor, state: State) -> tuple[Tensor, State]:
    """What `core` computes of the embedded symbols (B, T) of an embedding (V, E) with a context (B, T, C) beside them; as `run`.

    A context that is one row expanded over the steps is multiplied once.

    Raises:
        IndexError: a symbol is not of the vocabulary.
        ValueError: the context is of other steps.
    """
    if symbols.shape != context.shape[:2]:
        raise ValueError(f"symbols are {tuple(symbols.shape)}, their context {tuple(context.shape)}: its first two sizes are to be theirs")
    least, most = symbols.aminmax()
    if least < 0 or most >= len(embedding):
        raise IndexError(f"symbols from {int(least)} to {int(most)}: the embedding has rows 0 to {len(embedding) - 1}")
    mixed = torch.is_autocast_enabled("cpu")
    with _in_own_dtypes(mixed):
        w_ih, w_hh, b_ih, b_hh = _weights(core, 0)
        of_symbol, of_context = w_ih.split([embedding.shape[1], context.shape[2]], 1)
        fixed = None
        if context.shape[2] and context.stride(1) == 0:
            fixed = F.linear(context[:, 0].float(), of_context)
            context, of_context = context[..., :0], of_context[:, :0]
        added = Added(F.linear(embedding.float(), of_symbol), symbols, fixed)
        return _through(core, (of_context, w_hh, b_ih, b_hh), context.bfloat16() if mixed else context, added, state)


def _computes(core: nn.LSTM | nn.GRU, tensors: tuple[Tensor, ...]) -> bool:
    """Whether the kernel is there for such layers and dtypes."""
    mixed = torch.is_autocast_enabled("cpu")
    plain = core.bias and not core.bidirectional and not core.proj_size and core.weight_hh_l0.dtype == torch.float32
    if mixed:
        computed = torch.get_autocast_dtype("cpu") == torch.bfloat16 and all(t.dtype in (torch.float32, torch.bfloat16) for t in tensors)
    else:
        computed = all(tensor.dtype == torch.float32 for tensor in tensors)
    return (
        plain
        and computed
        and all(tensor.device.type == "cpu" for tensor in (*tensors, core.weight_hh_l0))
        and not torch.compiler.is_compiling()
        and (kernel().bf16 if mixed else kernel().library is not None)
    )


def _in_own_dtypes(mixed: bool) -> torch.autocast | nullcontext[None]:
    """Where autocast has said bf16, nothing inside asks it again."""
    return torch.autocast("cpu", enabled=False) if mixed else nullcontext()


def _weights(core: nn.LSTM | nn.GRU, layer: int) -> Weights:
    w_ih, w_hh, b_ih, b_hh = core.all_weights[layer]
    return w_ih, w_hh, b_ih, b_hh


def _through(core: nn.LSTM | nn.GRU, first: Weights, x: Tensor, added: Added | None, state: State) -> tuple[Tensor, State]:
    """All layers one after another, the first with weights of x (B, T, C) and what is added."""
    after = []
    for layer, (h, *c) in enumerate(zip(*(part.unbind(0) for part in state), strict=True)):
        weights = _weights(core, layer) if layer else first
        if layer:
            x, added = _between(core, x), None
        if isinstance(core, nn.LSTM):
            x, *last = lstm(x, h, c[0], weights, added)
        else:
            x, *last = gru(x, h, weights, added)
        after.append(last)
    return x, tuple(parts[0][None] if len(parts) == 1 else torch.stack(parts) for parts in zip(*after, strict=True))


def _between(core: nn.LSTM | nn.GRU, x: Tensor) -> Tensor:
    """What the next layer reads of a layer's outputs."""
    return drop(x, core.dropout) if core.training and 0 < core.dropout < 1 else F.dropout(x, core.dropout, core.training)
