"""An n-gram model with modified Kneser-Ney smoothing (Chen and Goodman 1999): a proper distribution over lines of symbols."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import final

from textvae.config import require

START, END, UNKNOWN = 0, 1, 2
"""Symbols every model has: what stands before a line (never predicted), its end, and all that is not in the vocabulary."""

Context = tuple[int, ...]
Discounts = tuple[float, float, float]
"""What is taken off a count of one, of two, and of three or more."""

USUAL: Discounts = (0.5, 1.0, 1.5)
"""Discounts where a text is too short to estimate them."""


@final
class NgramModel:
    """p(symbol | the order - 1 symbols before it), fitted to lines of symbols; interpolated modified Kneser-Ney smoothing.

        p(w | h) = (a(h, w) - D(a(h, w)))⁺ / Σ_w a(h, w) + γ(h) p(w | h without its first symbol)

    `a` is how often w follows h where h is as long as can be (order - 1 symbols, or back to the start of the line), below
    that the number of different symbols that stand before (h, w); D is estimated for each length of h from the
    counts of counts (Chen and Goodman 1999, section 3.3); γ(h) is what the discounts set free. Under the empty h lies the uniform
    distribution over vocabulary, `END` and `UNKNOWN`, so that every symbol has a probability and all sum to 1.
    """

    def __init__(self, lines: Iterable[Sequence[str]], vocabulary: Iterable[str], order: int) -> None:
        """Count the lines, each a sequence of symbols; those outside the vocabulary are one symbol, `UNKNOWN`.

        Two models of one vocabulary compare. Raises `ConfigError` for an order below 1.
        """
        require(order >= 1, f"order is {order}: an n-gram has at least one symbol")
        self.order = order
        self._ids = {symbol: number for number, symbol in enumerate(dict.fromkeys(vocabulary), UNKNOWN + 1)}
        self._counts = _adjusted_counts((self.read(line) for line in lines), order)
        self._discounts = [_discounts(self._counts, length) for length in range(order)]
        self._totals = {context: sum(following.values()) for context, following in self._counts.items()}
        self._freed = {context: self._mass_set_free(context) for context in self._counts}

    @property
    def events(self) -> int:
        """Symbols that can come next: the vocabulary, `END` and `UNKNOWN`."""
        return len(self._ids) + 2

    def read(self, line: Sequence[str]) -> list[int]:
        """The symbols of a line as numbers, its end included: from 3 on in the order of the vocabulary."""
        return [*(self._ids.get(symbol, UNKNOWN) for symbol in line), END]

    def probability(self, symbol: int, context: Sequence[int]) -> float:
        """p(symbol | context): the context holds what stands before on the line, from `START` on; its last order - 1 symbols count."""
        known = tuple(context[max(0, len(context) - self.order + 1) :])
        result = 1 / self.events
        for start in range(len(known), -1, -1):
            following = self._counts.get(known[start:])
            if following is None:  # then no longer context was seen either
                break
            count = following.get(symbol, 0)
            kept = count - self._discount(count, len(known) - start)
            result = kept / self._totals[known[start:]] + self._freed[known[start:]] * result
        return result

    def log_probabilities(self, line: Sequence[str]) -> list[float]:
        """Log-probability of each symbol of a line given those before, its end last; nats."""
        symbols = [START, *self.read(line)]
        return [math.log(self.probability(symbols[i], symbols[max(0, i - self.order + 1) : i])) for i in range(1, len(symbols))]

    def _discount(self, count: int, length: int) -> float:
        return self._discounts[length][min(count, 3) - 1] if count else 0.0

    def _mass_set_free(self, context: Context) -> float:
        """γ: the share of a context's counts that the discounts take off."""
        following = self._counts[context]
        return sum(self._discount(count, len(context)) for count in following.values()) / self._totals[context]


def _adjusted_counts(lines: Iterable[Sequence[int]], order: int) -> dict[Context, Counter[int]]:
    """a(h, w) for every context h of up to order - 1 symbols: counts where h is as long as can be, below that kinds of symbols before."""
    counts: defaultdict[Context, Counter[int]] = defaultdict(Counter)
    for line in lines:
        symbols = (START, *line)
        for i in range(1, len(symbols)):
            counts[symbols[max(0, i - order + 1) : i]][symbols[i]] += 1
    for length in range(order - 1, 0, -1):
        for context in [context for context in counts if len(context) == length]:
            counts[context[1:]].update(dict.fromkeys(counts[context], 1))
    return dict(counts)


def _discounts(counts: dict[Context, Counter[int]], length: int) -> Discounts:
    """D for counts of 1, 2 and 3 or more after contexts of one length: j - (j + 1) Y n_(j+1) / n_j with Y = n_1 / (n_1 + 2 n_2).

    n_j is how many pairs (h, w) are counted j times. `USUAL` where an n_j is 0 or a D is not between 0 and j.
    """
    kinds = Counter(count for context, following in counts.items() if len(context) == length for count in following.values())
    if not all(kinds[j] for j in (1, 2, 3, 4)):
        return USUAL
    share = kinds[1] / (kinds[1] + 2 * kinds[2])
    one, two, more = (j - (j + 1) * share * kinds[j + 1] / kinds[j] for j in (1, 2, 3))
    return (one, two, more) if 0 < one <= 1 and 0 < two <= 2 and 0 < more <= 3 else USUAL
