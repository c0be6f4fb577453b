"""Encoders: tokens (B, T) to a deterministic map h (B, S, C) for the bottom rung."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from textvae.config import CellName
from textvae.model.tokens import lengths_of, padded
from textvae.nn.dropout import Dropout
from textvae.nn.embedding import embedded
from textvae.nn.layers import Chain
from textvae.nn.recurrent import Recurrent, last_output, reverse
from textvae.shapes import MapShape


class Encoder(nn.Module, ABC):
    """Reads tokens (B, T) and returns h (B, S, C) of the outlet's shape."""

    def __init__(self, outlet: MapShape) -> None:
        super().__init__()
        self.outlet = outlet

    @abstractmethod
    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T) to h (B, S, C)."""


@final
class NoEncoder(Encoder):
    """Reads nothing: the encoder of a language model, whose latent has no channels."""

    def __init__(self) -> None:
        super().__init__(MapShape(1, 0))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, 1, 0)."""
        return torch.zeros(tokens.shape[0], 1, 0, device=tokens.device)


@final
class MapEncoder(Encoder):
    """Embeds the tokens, padded to T_max, and sends them through a chain of sequence layers.

    Every line is padded to the model's `max_tokens`, so a map has the same S for every line, all of its positions
    have a prior, and the bound stays a bound on log p(x) without a term for the length (`length_nats` is 0).
    """

    def __init__(self, vocabulary: int, embedding: int, max_tokens: int, layers: Callable[[MapShape], Chain], dropout: float = 0.0) -> None:
        chain = layers(MapShape(max_tokens, embedding))
        super().__init__(chain.outlet)
        self.max_tokens = max_tokens
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.dropout = Dropout(dropout)
        self.layers = chain

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T) to h (B, S, C)."""
        return self.layers(embedded(padded(tokens, self.max_tokens), self.embedding, self.dropout))


@final
class RecurrentEncoder(Encoder):
    """Reads the line once forwards and once backwards and keeps the two last outputs: a dense h (B, 1, 2H).

    It reads up to the first end symbol, so padding never reaches it and batches need not be padded to T_max.
    """

    def __init__(self, vocabulary: int, embedding: int, cell: CellName, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(MapShape(1, 2 * hidden))
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.dropout = Dropout(dropout)
        self.forwards = Recurrent(cell, embedding, hidden)
        self.backwards = Recurrent(cell, embedding, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T) to h (B, 1, 2H)."""
        lengths = lengths_of(tokens)
        x = embedded(tokens, self.embedding, self.dropout)  # (B, T, E)
        ahead, _ = self.forwards(x, self.forwards.zeros(x))
        back, _ = self.backwards(reverse(x, lengths), self.backwards.zeros(x))
        ends = [last_output(ahead, lengths), last_output(back, lengths)]
        return self.dropout(torch.cat(ends, dim=-1))[:, None]  # (B, 1, 2H)
