"""Short tweet-like messages from a probabilistic grammar: text whose true log-probability is known.

The grammar itself is `messages.grammar` beside this file. A message picks a topic, a tense, a mood and a
style at its start and keeps them to its end ("dreading the exam.. bet we fail :("), so there
is something global for a latent code to hold besides what the previous characters already tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from typing import final

import numpy as np

from textvae.data.sources.grammar import Grammar
from textvae.data.sources.source import Source


@final
class Messages(Source):
    """Messages of the kind people post, with the exact log p(x) of every string and the exact entropy."""

    name = "messages"
    description = "short tweet-like messages from a grammar, exact log p(x) of every line known"
    longest = 47

    @cached_property
    def grammar(self) -> Grammar:
        """The grammar messages are drawn from."""
        return Grammar.parse(resources.files(__package__).joinpath("messages.grammar").read_text(encoding="utf-8"))

    @property
    def entropy(self) -> float:
        """Exact entropy of a message (the string, not its derivation), in nats."""
        return self.grammar.automaton.entropy

    def sample(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draw `count` independent messages; a pure function of `rng`."""
        return self.grammar.sample(count, rng)

    def log_probability(self, lines: Sequence[str]) -> np.ndarray:
        """Return exact log p(x) of every line in nats, (N,); -inf for a line the grammar cannot write."""
        return self.grammar.automaton.log_probability(lines)

    def accepts(self, lines: Sequence[str]) -> np.ndarray:
        """Return whether the grammar can write each line, (N,) of bool."""
        return self.log_probability(lines) > -np.inf
