"""What lines cost under an n-gram model of other lines: by characters, and by words whose unknown ones are spelled out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from textvae.config import require
from textvae.evaluation.text.ngrams import UNKNOWN, NgramModel
from textvae.evaluation.text.words import words_of

CHARACTER_ORDER, WORD_ORDER = 6, 3


@final
@dataclass(frozen=True)
class Cost:
    """What a set of lines costs under a model of other lines."""

    nats: float
    """-log p(line), mean over the lines; nats a sequence, the end of the line included."""

    perplexity: float
    """exp(all nats / all symbols): characters or words, and one end a line."""


class LineModel(ABC):
    """A distribution over lines."""

    @abstractmethod
    def nats(self, line: str) -> float:
        """-log p(line), its end included."""

    @abstractmethod
    def symbols(self, line: str) -> int:
        """What the nats are divided by for a perplexity: symbols of the line and its end."""

    def cost(self, lines: Sequence[str]) -> Cost:
        """What lines cost; raises `ConfigError` where there are none."""
        require(len(lines) >= 1, "there is no line to measure: give at least one")
        nats = sum(map(self.nats, lines))
        return Cost(nats / len(lines), math.exp(nats / sum(map(self.symbols, lines))))


@final
class CharacterModel(LineModel):
    """Characters, `CHARACTER_ORDER` of them at a time, over the alphabet of the training lines; all others are one unknown character."""

    def __init__(self, lines: Sequence[str], train: Sequence[str]) -> None:
        self._model = NgramModel(lines, sorted(set().union(*train)), CHARACTER_ORDER)

    def nats(self, line: str) -> float:
        """-log p(line), its end included."""
        return -sum(self._model.log_probabilities(line))

    def symbols(self, line: str) -> int:
        """Characters and the end."""
        return len(line) + 1


@final
class WordModel(LineModel):
    """White-space words, `WORD_ORDER` of them at a time, over the vocabulary of the training lines.

    Every other word is the unknown word *and* its spelling under a character model of the fitted lines' different words:
    were all unknown words one symbol, the 15% of them in real text would make gibberish cheap.
    """

    def __init__(self, lines: Sequence[str], train: Sequence[str]) -> None:
        self._model = NgramModel((line.split() for line in lines), dict.fromkeys(words_of(train)), WORD_ORDER)
        self._spelling = CharacterModel(list(dict.fromkeys(words_of(lines))), train)

    def nats(self, line: str) -> float:
        """-log p(line), its end and the spelling of unknown words included."""
        words = line.split()
        unknown = [word for word, number in zip(words, self._model.read(words), strict=False) if number == UNKNOWN]
        return -sum(self._model.log_probabilities(words)) + sum(map(self._spelling.nats, unknown))

    def symbols(self, line: str) -> int:
        """Words and the end."""
        return len(line.split()) + 1
