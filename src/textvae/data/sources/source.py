"""What a built-in source is: a distribution over lines that can be sampled and whose log-probabilities are exact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class Source(ABC):
    """A known distribution over strings, so that the gap between a model's bound and the truth can be measured."""

    name: str
    """The built-in corpus this source is behind."""

    description: str
    """One line for `textvae corpora list`."""

    paper_positions: int | None = None
    """T_max of the study's own columns on this source; None where the study has none."""

    longest: int | None = None
    """Characters of the longest line it can produce; None where that is unbounded or unknown."""

    @property
    @abstractmethod
    def entropy(self) -> float:
        """Exact entropy in nats a sequence: no model's mean log-probability can be above its negative."""

    @abstractmethod
    def sample(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draw `count` independent lines; a pure function of `rng`."""

    @abstractmethod
    def log_probability(self, lines: Sequence[str]) -> np.ndarray:
        """Return exact log p*(x) of every line in nats a sequence, (N,); -inf for a line the source cannot produce."""
