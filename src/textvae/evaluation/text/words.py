"""Words are what stands between white space; how many of a text's words the training text has."""

from __future__ import annotations

from collections.abc import Sequence


def words_of(lines: Sequence[str]) -> list[str]:
    """Every word of the lines, in order, as often as it stands there; punctuation belongs to its word, case counts."""
    return [word for line in lines for word in line.split()]


def known_words(samples: Sequence[str], train: Sequence[str]) -> float:
    """Share of the samples' words (each as often as it stands there) that occur in the training lines; 0 where there is no word.

    Counted so, real test text reaches 84.6% on tweets of fewer than 32 characters and 93.2% on those of fewer than 128:
    more known words than real text has are no merit.
    """
    vocabulary = set(words_of(train))
    words = words_of(samples)
    return sum(word in vocabulary for word in words) / max(1, len(words))
