"""How unlike each other samples are: distinct n-grams, self-BLEU. Both depend on how many are compared, so that is fixed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textvae.config import require
from textvae.errors import extra

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU


def distinct(lines: Sequence[str], n: int, drawn: int) -> float:
    """Expected share of different ones among `drawn` word n-grams, taken from the lines' n-grams without replacement.

    With `drawn` at (or above) the number of n-grams of all lines this is distinct-n (Li et al. 2016, section 5.2):
    different n-grams / n-grams. That ratio falls with every line added, and rises where lines are shorter, so that two
    sets compare only at equal counts of n-grams: rarefaction (Hurlbert 1971, eq. 14) gives its expectation at any
    smaller count in closed form. n-grams do not reach across lines; 0 where the lines have none.

    Raises:
        ConfigError: n or drawn is below 1.
    """
    require(n >= 1, f"n is {n}: an n-gram has at least one word")
    require(drawn >= 1, f"drawn is {drawn}: draw at least one n-gram")
    counts = Counter(ngram for line in lines for ngram in word_ngrams(line, n))
    total = sum(counts.values())
    drawn = min(drawn, total)
    if not total:
        return 0.0
    missing = {count: _chance_to_miss(count, drawn, total) for count in set(counts.values())}
    return sum(1 - missing[count] for count in counts.values()) / drawn


def word_ngrams(line: str, n: int) -> list[tuple[str, ...]]:
    """The runs of n words of one line, in order."""
    words = line.split()
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def _chance_to_miss(count: int, drawn: int, total: int) -> float:
    """Probability that none of `count` equal things is among `drawn` of `total`; exact, in whole numbers of any size."""
    return math.comb(total - count, drawn) / math.comb(total, drawn)


def sentence_bleu() -> BLEU:
    """BLEU-4 of one line, on white-space words; raises `PackageError` where sacrebleu is not installed."""
    with extra("study", "self-BLEU"):
        from sacrebleu.metrics.bleu import BLEU
    return BLEU(tokenize="none", effective_order=True)


def self_bleu(lines: Sequence[str]) -> float:
    """Mean BLEU-4 (0 to 100) of a line with all others as its references (Zhu et al. 2018, Texygen): high where lines repeat each other.

    It rises with the number of references, so sets compare only at equal numbers of lines, and the time it takes with the
    square of it. sacrebleu's sentence BLEU on white-space words, up to the line's own number of words where that is
    below four, exponential smoothing.

    Raises:
        ConfigError: fewer than two lines.
        PackageError: sacrebleu is not installed.
    """
    require(len(lines) >= 2, f"self-BLEU compares lines with each other, and there are {len(lines)}: give at least two")
    bleu, lines = sentence_bleu(), list(lines)
    return sum(bleu.sentence_score(line, lines[:i] + lines[i + 1 :]).score for i, line in enumerate(lines)) / len(lines)
