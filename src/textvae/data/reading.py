"""Texts as a trained model reads them: its symbols, its longest line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textvae.config import Spaces
from textvae.data.tokenizers import Tokenizer
from textvae.data.tokens import UNK, TokenTable


def read_texts(texts: Sequence[str], tokenizer: Tokenizer, max_length: int, spaces: Spaces = "keep") -> tuple[TokenTable, list[str]]:
    """Texts as tokens, row i of text i, and what to tell of those that were cut or hold symbols that are not known.

    `spaces` says what becomes of those around a text, as it did of the lines that the model was trained on.
    """
    told = []
    if spaces == "strip":
        given, texts = texts, [text.strip() for text in texts]
        changed = sum(map(str.__ne__, given, texts))
        told += [f"spaces around {changed} of {len(texts)} texts were taken off, as in training"] if changed else []
    table = tokenizer.encode(texts)
    long = np.flatnonzero(table.lengths - 1 > max_length) + 1
    if len(long):
        numbers = ", ".join(map(str, long[:5])) + (", …" if len(long) > 5 else "")
        cut = f"{len(long)} of {len(texts)} texts are longer than {max_length} tokens and were cut (number {numbers})"
        told.append(f"{cut}: what is said of them is said of their beginnings")
        table = table.cut(max_length)
    unknown = tokenizer.unknown(texts, max_length) if np.any(table.tokens == UNK) else {}
    if unknown:
        shown = ", ".join(map(repr, list(unknown)[:5]))
        told.append(f"not in the vocabulary and read as unknown: {shown}, {sum(unknown.values())} in all")
    return table, told
