"""Token sequences as one flat array with offsets.

A single boundary symbol does the work of start, end and padding: `EOS` (0) ends every sequence, is fed to
the decoder as the symbol before the first, and fills a batch on the right. What is scored is therefore a
pure function of the tokens: every position up to and including the first `EOS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

EOS = 0
"""End of sequence; also the symbol before the first one, and the padding."""

UNK = 1
"""A symbol the vocabulary does not hold."""

RESERVED = 2
"""Tokens before the first symbol of a vocabulary: `EOS` and `UNK`."""


@final
@dataclass(frozen=True)
class TokenTable:
    """N sequences of tokens, each ending in `EOS`, in one flat array.

    `tokens` holds all sequences end to end (integers); sequence i is `tokens[offsets[i]:offsets[i + 1]]`.
    """

    tokens: np.ndarray
    offsets: np.ndarray

    @classmethod
    def ended(cls, symbols: np.ndarray, lengths: np.ndarray) -> TokenTable:
        """Build a table from sequences end to end *without* `EOS`, of the given lengths (N,); appends it to each."""
        offsets = np.concatenate([[0], np.cumsum(lengths + 1)]).astype(np.int64)
        tokens = np.full(offsets[-1], EOS, dtype=np.int32)
        inside = np.ones(len(tokens), dtype=bool)
        inside[offsets[1:] - 1] = False
        tokens[inside] = symbols
        return cls(tokens, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, `EOS` included, (N,)."""
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray, width: int | None = None) -> np.ndarray:
        """Return the named sequences as one int64 array (B, width), filled with `EOS` on the right.

        Without `width`, the longest of the rows decides. Gathers with array arithmetic: no loop over rows.
        """
        starts, ends = self.offsets[rows], self.offsets[rows + 1] - 1  # each sequence's end holds `EOS`
        width = int((ends - starts).max(initial=0)) + 1 if width is None else width
        return self.tokens[np.minimum(starts[:, None] + np.arange(width), ends[:, None])].astype(np.int64)  # (B, T)

    def select(self, rows: np.ndarray) -> TokenTable:
        """Return the table of the named sequences only, in the order of `rows`."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        shift = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return TokenTable(self.tokens[np.arange(offsets[-1]) + shift], offsets)

    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (M,) at which each different sequence first stands, and which of these M each sequence is, (N,)."""
        content, ends = self.tokens.tobytes(), (self.offsets * self.tokens.itemsize).tolist()
        numbers: dict[bytes, int] = {}
        found = (numbers.setdefault(content[start:end], len(numbers)) for start, end in pairwise(ends))
        which = np.fromiter(found, dtype=np.int64, count=len(self))
        return np.unique(which, return_index=True)[1], which

    def cut(self, max_length: int) -> TokenTable:
        """Return the table with every sequence cut to its first `max_length` tokens, then `EOS`."""
        bodies = self.lengths - 1
        position = np.arange(len(self.tokens)) - np.repeat(self.offsets[:-1], self.lengths)
        kept = position < np.repeat(np.minimum(bodies, max_length), self.lengths)
        return TokenTable.ended(self.tokens[kept], np.minimum(bodies, max_length))
