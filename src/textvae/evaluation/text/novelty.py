"""How far samples are from the training lines: exact copies, and the edit distance to the nearest line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textvae.config import require

LONG = 20
"""Characters a line must exceed for a copy of it to be told apart from a phrase everyone says."""

CELLS = 4_000_000
"""Distances held at once; four bytes each."""


def long_lines(lines: Sequence[str]) -> list[str]:
    """The lines of more than `LONG` characters."""
    return [line for line in lines if len(line) > LONG]


def copied(samples: Sequence[str], train: Sequence[str]) -> float:
    """Share of samples that stand in the training lines, character by character; 0 for no samples.

    Where a corpus keeps one of equal lines only, its held-out text has no copy *by construction*: 0 is then what the
    corpus was made to have, not what people write.
    """
    known = set(train)
    return sum(sample in known for sample in samples) / max(1, len(samples))


def nearest_distances(samples: Sequence[str], train: Sequence[str], workers: int = -1) -> np.ndarray:
    """Least normalised edit distance of each sample to a training line, (N,), float32: 0 for a copy, 1 for nothing in common.

    Normalised: Levenshtein distance / the longer one's characters. The N x M distances are made `CELLS` at a time
    by `workers` threads (-1 for one a core).

    Raises:
        ConfigError: no training line.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    require(len(train) >= 1, "there is no training line to compare with: give at least one")
    nearest = np.ones(len(samples), dtype=np.float32)
    rows = max(1, CELLS // len(train))
    for start in range(0, len(samples), rows):
        part = samples[start : start + rows]
        distances = cdist(part, train, scorer=Levenshtein.normalized_distance, dtype=np.float32, workers=workers)  # (rows, M)
        nearest[start : start + rows] = distances.min(1)
    return nearest
