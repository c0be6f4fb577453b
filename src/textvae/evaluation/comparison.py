"""Two models on the same lines: differences with the error of a paired comparison, much smaller than the errors of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from textvae.evaluation.bounds import Bounds
from textvae.evaluation.report import standard_error

TOLD_APART = 2.0
"""Standard errors that a difference must exceed before one model is called the better one."""


@final
@dataclass(frozen=True, kw_only=True)
class Difference:
    """One measure of two models over the same lines, nats a sequence."""

    first: float
    second: float

    difference: float
    """first - second."""

    standard_error: float
    """Of the difference: standard deviation of the lines' differences / sqrt(N)."""


@final
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the lines of one split that both read whole; the fields of `compare --json`."""

    corpus: str
    split: str
    sequences: int

    left_out: int
    """Lines that one of them cannot read whole: too long, or with a symbol it does not know."""

    importance_samples: int
    elbo: Difference
    distortion: Difference
    rate: Difference
    importance_bound: Difference

    first_is_better: float
    """Share of the lines whose ELBO is higher under the first model; a half of the equal ones counted."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)


def compared(corpus: str, split: str, left_out: int, importance_samples: int, first: Bounds, second: Bounds) -> Comparison:
    """Compare what was measured of two models for the same N sequences, in the same order."""
    return Comparison(
        corpus=corpus,
        split=split,
        sequences=len(first.elbo),
        left_out=left_out,
        importance_samples=importance_samples,
        elbo=_difference(first.elbo, second.elbo),
        distortion=_difference(first.distortion, second.distortion),
        rate=_difference(first.rates.sum(1), second.rates.sum(1)),
        importance_bound=_difference(first.importance_bound, second.importance_bound),
        first_is_better=float((np.sign(first.elbo - second.elbo).mean() + 1) / 2),
    )


def _difference(first: np.ndarray, second: np.ndarray) -> Difference:
    between = first - second
    return Difference(
        first=float(first.mean()), second=float(second.mean()), difference=float(between.mean()), standard_error=standard_error(between)
    )


def verdict(comparison: Comparison, names: Sequence[str]) -> str:
    """Which of two models has the better ELBO, or that the lines do not tell."""
    elbo = comparison.elbo
    size = f"{abs(elbo.difference):.3f} ± {elbo.standard_error:.3f} nats a line"
    if abs(elbo.difference) <= TOLD_APART * elbo.standard_error or comparison.sequences < 2:
        return f"these {comparison.sequences:,} lines do not tell the two apart: their ELBOs differ by {size}"
    return f"{names[0] if elbo.difference > 0 else names[1]} has the better ELBO, by {size}"


def comparison_rows(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """What was measured as (name, first, second, difference with its error), in nats a sequence."""
    measures = {
        "ELBO": comparison.elbo,
        "distortion": comparison.distortion,
        "rate": comparison.rate,
        "importance bound": comparison.importance_bound,
    }
    return [
        (name, f"{one.first:.3f}", f"{one.second:.3f}", f"{one.difference:+.3f} ± {one.standard_error:.3f}")
        for name, one in measures.items()
    ]
