"""Two models on the same lines: differences with the error of a paired comparison, much smaller than the errors of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, final

import numpy as np
import torch

from textvae.data.tokenizers import Tokenizer
from textvae.errors import ConfigError
from textvae.evaluation.bounds import Bounds, Progress, measure_bounds
from textvae.evaluation.measure import observations, reads_back, standard_error
from textvae.model.text_model import LatentTextModel

TELLING = 30
"""Different lines below which no model is called the better one: the error of so few is itself not known."""

TOLD_APART = 2.0
"""Standard errors that a difference must exceed before one model is called the better one."""


class Reader(Protocol):
    """A model with what decides which lines it can read."""

    model: LatentTextModel
    tokenizer: Tokenizer
    max_length: int
    """Tokens of the longest line, without `EOS`."""


@final
@dataclass(frozen=True, kw_only=True)
class Difference:
    """One measure of two models over the same lines, nats a sequence."""

    first: float
    second: float

    difference: float
    """first - second."""

    standard_error: float | None
    """Of the difference, from the lines' own differences; None where all lines are the same one."""


@final
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the lines of one split that both read whole; the fields of `compare --json`."""

    corpus: str
    split: str
    sequences: int

    different: int
    """Of these, how many differ from each other."""

    left_out: int
    """Lines that one of them cannot read whole: too long, or not to be read back from its tokens."""

    importance_samples: int
    elbo: Difference
    distortion: Difference
    rate: Difference

    importance_bound: Difference
    """Of a model without a latent log p(x) itself."""

    share_first_better: float
    """Share of the lines whose ELBO is higher under the first model; of equal ones a half."""

    better: Literal["first", "second"] | None
    """Which has the higher ELBO, by more than `TOLD_APART` standard errors over at least `TELLING` different lines; None where neither."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)


def compare(
    first: Reader,
    second: Reader,
    lines: Sequence[str],
    *,
    corpus_name: str,
    split: str,
    drawn: bool,
    importance_samples: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Measure two models on those of some lines that both read whole.

    Args:
        first: a model.
        second: another; both begin with the same noise of z.
        lines: N lines.
        corpus_name: for the report.
        split: for the report.
        drawn: whether the lines are independent draws of a source; copies of a line in a file are not.
        importance_samples: K.
        seed: of the noise of z.
        progress: told what is measured and how far it is.

    Raises:
        ConfigError: K < 1, or no line that both read whole.
    """
    read = _read_whole(first, second, lines)
    kept = [lines[row] for row in np.flatnonzero(read[0] & read[1]).tolist()]
    if not kept:
        counts = f"of {len(lines):,} the first reads {read[0].sum():,}, the second {read[1].sum():,}"
        why = "a model reads no line with more tokens than it has or with symbols that it does not know"
        raise ConfigError(f"no line of {corpus_name}, {split}, is read whole by both models: {counts}; {why}")
    measured = [
        measure_bounds(
            one.model,
            one.tokenizer.encode(kept),
            importance_samples,
            torch.Generator(one.model.device).manual_seed(seed),
            progress=progress,
        )
        for one in (first, second)
    ]
    found = compared(measured[0], measured[1], observations(kept, drawn))
    different = len(set(kept))
    return Comparison(
        corpus=corpus_name,
        split=split,
        sequences=len(kept),
        different=different,
        left_out=len(lines) - len(kept),
        importance_samples=importance_samples,
        share_first_better=float((np.sign(measured[0].elbo - measured[1].elbo).mean() + 1) / 2),
        better=better_of(found["elbo"], different),
        **found,
    )


def _read_whole(first: Reader, second: Reader, lines: Sequence[str]) -> list[np.ndarray]:
    """Which lines (N,) each of them reads whole. Models of one tokenizer read the same tokens, whatever these leave out of a line."""
    same = first.tokenizer.to_json() == second.tokenizer.to_json()
    found = []
    for one in (first, second):
        table = one.tokenizer.encode(lines)
        short = table.lengths - 1 <= one.max_length
        found.append(short if same else short & reads_back(one.tokenizer, table, lines))
    return found


def compared(first: Bounds, second: Bounds, groups: np.ndarray) -> dict[str, Difference]:
    """The measures of two models for the same N sequences, in the same order, by name.

    `groups` (N,) are their `observations`.
    """
    return {
        "elbo": _difference(first.elbo, second.elbo, groups),
        "distortion": _difference(first.distortion, second.distortion, groups),
        "rate": _difference(first.rates.sum(1), second.rates.sum(1), groups),
        "importance_bound": _difference(first.importance_bound, second.importance_bound, groups),
    }


def _difference(first: np.ndarray, second: np.ndarray, groups: np.ndarray) -> Difference:
    between = first - second
    return Difference(
        first=float(first.mean()),
        second=float(second.mean()),
        difference=float(between.mean()),
        standard_error=standard_error(between, groups),
    )


def better_of(elbo: Difference, different: int) -> Literal["first", "second"] | None:
    """Which has the higher ELBO over so many different lines, where these tell; as `Comparison.better`."""
    if different < TELLING or elbo.standard_error is None or abs(elbo.difference) <= TOLD_APART * elbo.standard_error:
        return None
    return "first" if elbo.difference > 0 else "second"


def verdict(comparison: Comparison, names: tuple[str, str]) -> str:
    """Which of two models has the better ELBO, or that the lines do not tell, in words."""
    size = f"{abs(comparison.elbo.difference):.3f}{_error(comparison.elbo)} nats a line"
    if comparison.better is not None:
        better = names[0] if comparison.better == "first" else names[1]
        return f"{better} has the better ELBO on these lines, by {size}"
    if comparison.different < TELLING:
        return f"{_counted(comparison.different, 'different line')} cannot say which has the better ELBO; they differ by {size}"
    return f"these lines do not tell the two apart: their ELBOs differ by {size}, no more than {TOLD_APART:g} standard errors"


def comparison_rows(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """What was measured as (name, first, second, difference ± its standard error), in nats a sequence."""
    measures = {
        "ELBO": comparison.elbo,
        "distortion": comparison.distortion,
        "rate": comparison.rate,
        "importance bound": comparison.importance_bound,
    }
    return [(name, f"{one.first:.3f}", f"{one.second:.3f}", f"{one.difference:+.3f}{_error(one)}") for name, one in measures.items()]


def line_by_line(comparison: Comparison, names: tuple[str, str]) -> str:
    """On how many lines which model has the better ELBO, in words; empty where both are the same."""
    share = comparison.share_first_better
    if comparison.elbo.difference == 0.0 and share == 0.5:
        return ""
    copies = f" ({comparison.different:,} different)" if comparison.different < comparison.sequences else ""
    lines = f"{_counted(comparison.sequences, 'line')}{copies}"
    if share in (0.0, 1.0):
        return f"{names[0] if share else names[1]} has the better ELBO on all of the {lines}"
    return f"of the {lines} {names[0]} has the better ELBO on {share:.1%}, {names[1]} on the others"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _error(one: Difference) -> str:
    return "" if one.standard_error is None else f" ± {one.standard_error:.3f}"
