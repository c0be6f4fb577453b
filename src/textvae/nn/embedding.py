"""Embedded text with its dropout: by the compiled kernel on a CPU, else by torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from textvae.nn.dropout import Dropout
from textvae.nn.kernel.layout import computes
from textvae.nn.kernel.symbols import embed


def embedded(symbols: Tensor, embedding: nn.Embedding, dropout: Dropout) -> Tensor:
    """Symbols (B, T) as rows of an embedding (V, E), of which training drops numbers: (B, T, E), by the kernel of the dtype of autocast.

    Raises:
        IndexError: a symbol has no row.
    """
    table, mixed = embedding.weight, torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if mixed else table.dtype
    plain = embedding.padding_idx is None and embedding.max_norm is None and not embedding.sparse and not embedding.scale_grad_by_freq
    whole = symbols.dim() == 2 and symbols.dtype in (torch.int32, torch.int64)  # others torch refuses
    if plain and whole and symbols.is_cpu and table.dtype == torch.float32 and dropout.drops < 1 and computes(table, dtype):
        return embed(symbols, table, dropout.drops, dtype)
    return dropout(embedding(symbols))
