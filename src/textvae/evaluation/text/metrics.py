"""All metrics of one set of strings, and what they are worth: the same metrics of real text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from textvae.config import require
from textvae.evaluation.text.diversity import distinct, self_bleu
from textvae.evaluation.text.novelty import copied, long_lines, nearest_distances
from textvae.evaluation.text.perplexity import CharacterModel, Cost, WordModel
from textvae.evaluation.text.words import known_words, words_of

COMPARED = 500
"""Lines that figures which depend on their number are measured on: as many as the smallest real held-out split at hand has."""

DISTINCT_DRAWN = 500
"""n-grams drawn for each distinct-n; fewer than 500 short lines have of the longest, 4-grams."""


@final
@dataclass(frozen=True, kw_only=True)
class TextMetrics:
    """What was counted on samples, beside the training text and held-out reference text.

    Held-out text that was put in the samples' place (`real_metrics`) gives each figure its scale: a sample is as good as real
    text where the figure is *equal*, not where it is larger or smaller.
    """

    samples: int
    """Lines: all of them give `known_words`, the copies, and the costs of samples under the reference text."""
    compared: int
    """Lines, drawn from them with the seed, that give `distinct`, `self_bleu`, `nearest` and the costs of the reference text:
    these but `nearest` change with the number of lines, so compare only at equal `compared`."""
    mean_characters: float
    """Characters a line."""
    mean_words: float
    """White-space words a line."""
    known_words: float
    """Share of the words that stand in the training text (`textvae.evaluation.text.words`)."""
    distinct: list[float]
    """Expected share of different ones among `DISTINCT_DRAWN` drawn n-grams of words, n = 1, 2, 3, 4; among all, where there are fewer."""
    self_bleu: float
    """0 to 100: mean BLEU-4 of a line with others as its references."""
    copied: float
    """Share of the lines that stand in the training text; 0 by construction for held-out text of a corpus without equal lines."""
    long_samples: int
    """Lines of more than 20 characters."""
    copied_long: float
    """Share of these that stand in the training text."""
    nearest: float
    """Mean normalised edit distance to the nearest training line: 0 is a copy, 1 has nothing in common."""
    characters: Cost
    """What a sample costs under a 6-gram character model of the reference text. Commonplaces are cheap: a value below real text's
    tells of a lack of variety, one above it of text that is unlike the reference."""
    characters_reverse: Cost
    """What a line of the reference text costs under the character model of the compared samples: what they do not cover is dear.
    A model of more lines is better, so real text stands beside it with as many lines."""
    words: Cost
    """As `characters`, in words: trigrams over the training vocabulary, unknown words spelled out."""
    words_reverse: Cost
    """As `characters_reverse`, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; a cost is {"nats": a sequence, "perplexity": a character or word}."""
        return asdict(self)


def text_metrics(samples: Sequence[str], train: Sequence[str], test: Sequence[str], seed: int = 0, compared: int = COMPARED) -> TextMetrics:
    """Measure samples beside the training lines and the reference text `test`, which fits the n-gram models.

    Two sets of samples compare where `test` and the number of compared lines are the same. `seed` draws the compared lines:
    real text may be sorted.

    Raises:
        ConfigError: fewer than two samples, no training or no test line.
        PackageError: sacrebleu is not installed.
    """
    require(len(samples) >= 2, f"there are {len(samples)} samples: give at least two")
    require(min(len(train), len(test)) >= 1, "there is no training line or no test line to compare with: give at least one of each")
    drawn = np.random.default_rng(seed).permutation(len(samples))[:compared]
    equal = [samples[i] for i in drawn]
    long = long_lines(samples)
    return TextMetrics(
        samples=len(samples),
        compared=len(equal),
        mean_characters=sum(map(len, samples)) / len(samples),
        mean_words=len(words_of(samples)) / len(samples),
        known_words=known_words(samples, train),
        distinct=[distinct(equal, n, DISTINCT_DRAWN) for n in (1, 2, 3, 4)],
        self_bleu=self_bleu(equal),
        copied=copied(samples, train),
        long_samples=len(long),
        copied_long=copied(long, train),
        nearest=float(nearest_distances(equal, train).mean()),
        characters=CharacterModel(test, train).cost(samples),
        characters_reverse=CharacterModel(equal, train).cost(test),
        words=WordModel(test, train).cost(samples),
        words_reverse=WordModel(equal, train).cost(test),
    )


def real_metrics(
    train: Sequence[str], valid: Sequence[str], test: Sequence[str], seed: int = 0, compared: int = COMPARED
) -> dict[str, TextMetrics]:
    """Real text in the samples' place, the scale of all figures: "real valid text" and "real test text".

    Valid lines beside test are what a model that had learned the source itself would show: the same reference, as many lines
    compared. Test lines cannot be measured by a model of themselves, so valid is *their* reference; how far the two rows
    lie apart says what differences mean nothing.
    """
    return {
        "real valid text": text_metrics(valid, train, test, seed, compared),
        "real test text": text_metrics(test, train, valid, seed, compared),
    }
