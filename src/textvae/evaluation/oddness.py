"""How much more a line costs than lines of its length do: what makes a line odd, where longer ones always cost more.

Bits per character do not tell: the end of a short line costs as much as that of a long one, and is shared by fewer characters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textvae.evaluation.single import Odd, Score

NEIGHBOURS = 51
"""Lines nearest in length, at least, that one is held against; those of its own length are among them, all of them."""


def oddest(scores: Sequence[Score], lengths: np.ndarray, n: int) -> list[Odd]:
    """The `n` strings of N that cost most above the usual for their lengths (N,), the oddest first."""
    bounds = np.array([one.importance_bound for one in scores])
    beyond = excess(-bounds, lengths)
    chosen = np.argsort(-beyond, kind="stable")[:n].tolist()
    return [Odd(row + 1, scores[row].text, float(beyond[row]), scores[row].importance_bound) for row in chosen]


def excess(nats: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """What each of N lines costs above the usual for its length among them, nats (N,).

    The usual is a line's share of the slope of costs over lengths, and the median of what is left of its neighbours' costs.

    Args:
        nats: what the lines cost, (N,): -log p(x), or a bound on it.
        lengths: of the lines, (N,), in any unit.
    """
    if not len(nats):
        return np.zeros(0)
    ranked = np.sort(lengths)
    rest = nats - _slope(nats, lengths) * lengths
    rest_ranked = rest[np.argsort(lengths, kind="stable")]
    kinds, which = np.unique(lengths, return_inverse=True)
    nearest = min(NEIGHBOURS, len(nats)) - 1
    usual = np.empty(len(kinds))
    for i, length in enumerate(kinds):
        reach = np.partition(np.abs(ranked - length), nearest)[nearest]
        first, end = np.searchsorted(ranked, length - reach), np.searchsorted(ranked, length + reach, side="right")
        usual[i] = np.median(rest_ranked[first:end])
    return rest - usual[which]


def _slope(nats: np.ndarray, lengths: np.ndarray) -> float:
    """Nats that one more of length costs: of a line through the medians of each length, weighed by how many lines it has."""
    kinds, which, counts = np.unique(lengths, return_inverse=True, return_counts=True)
    if len(kinds) < 2:
        return 0.0
    medians = np.array([np.median(part) for part in np.split(nats[np.argsort(which, kind="stable")], np.cumsum(counts)[:-1])])
    return float(np.polyfit(kinds, medians, 1, w=np.sqrt(counts))[0])
