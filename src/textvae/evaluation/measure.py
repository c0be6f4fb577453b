"""One evaluation: everything `textvae evaluate --json` prints, measured on one split."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import torch

from textvae.config import require
from textvae.data.sources.source import Source
from textvae.data.tokenizers import Tokenizer
from textvae.data.tokens import UNK, TokenTable
from textvae.evaluation.bounds import Bounds, Progress, measure_bounds
from textvae.evaluation.collapse import LatentUse
from textvae.evaluation.diagnostics import Survey, mutual_information, rate_below_cap, survey
from textvae.evaluation.reconstruction import reconstruction_quality
from textvae.generation import decode_greedy, forbidden_tokens
from textvae.latent_vectors import bottom_of, encode
from textvae.model.text_model import LatentTextModel

DECODED = 1_000
"""Lines that are decoded at once, to see whether their tokens hold them."""


@final
@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured on one split, in nats a sequence unless named otherwise; the fields of `evaluate --json`."""

    corpus: str
    split: str
    sequences: int
    tokens: int
    """Scored tokens, `EOS` included."""
    unknown_tokens: int
    """Of these, symbols that the vocabulary does not hold, all read as one: with many of them the bounds flatter the model."""
    characters: int
    """Characters of the lines, without their ends."""
    elbo: float
    distortion: float
    rate: float
    rate_per_rung: list[float]
    """Bottom rung first."""
    importance_bound: float
    importance_samples: int
    standard_error: dict[str, float]
    """Of `elbo` and `importance_bound`: standard deviation over sequences / sqrt(N); of a file's lines copies count as one observation.
    0 where all are the same one, so that it is not known."""
    bits_per_character: float
    """From the importance bound; a set of empty lines only counts as one character."""
    perplexity_per_token: float
    """From the importance bound, over tokens with their ends."""
    active_units: int
    latent_units: int
    active_units_per_rung: list[int]
    mutual_information: float
    mutual_information_cap: float
    """log N, where the estimate saturates."""
    rate_below_cap: float
    """What of the rate that estimate could show: the mean over lines of min(rate, log N)."""
    reconstruction: dict[str, float]
    """character_accuracy, exact_match and character_error_rate of greedy decoding from posterior means."""
    paper: dict[str, float]
    """The study's own columns, which mix units: reconstruction = -distortion / T_max (the source's or the model's), kl = rate,
    elbo = their difference."""
    entropy: float | None
    """Of the source, where it is known."""
    gap: float | None
    """Mean of log p*(x) - ELBO(x) over the same sequences; None unless the source can produce, and the tokens hold, each of them."""
    length_nats: float
    """Nats of the distortion that name the length's bucket: 0, lines are padded to T_max."""
    parameters: int
    training_seconds: float

    @property
    def latent_use(self) -> LatentUse:
        """What the verdict on the latent goes by."""
        return LatentUse(self.rate_per_rung, self.active_units, self.mutual_information, self.rate_below_cap, self.sequences)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)


@final
@dataclass(frozen=True)
class Measured:
    """An evaluation with what it was made of, line by line."""

    evaluation: Evaluation
    lines: Sequence[str]
    """The N lines."""

    bounds: Bounds
    """Of each of them, in the same order."""

    groups: np.ndarray
    """Their `observations`."""


def measure(
    model: LatentTextModel,
    tokenizer: Tokenizer,
    table: TokenTable,
    lines: Sequence[str],
    *,
    corpus_name: str,
    split: str,
    source: Source | None = None,
    importance_samples: int = 100,
    seed: int = 0,
    training_seconds: float = 0.0,
    progress: Progress | None = None,
) -> Measured:
    """Measure a model on one split: bounds, what the latent holds, and what greedy decoding brings back.

    Args:
        model: any model; measured in evaluation mode, in fp32.
        tokenizer: the one that made the table.
        table: the lines as tokens.
        lines: the N lines themselves, in the same order.
        corpus_name: for the report.
        split: for the report.
        source: the distribution of the lines, for entropy and gap.
        importance_samples: K.
        seed: of the noise of z; the same seed gives the same numbers.
        training_seconds: for the report.
        progress: told what is measured and how far it is.

    Raises:
        ConfigError: K < 1, no line, not one line a sequence, or a line longer than the model's T_max.
    """
    require(len(lines) == len(table), f"there are {len(lines)} lines and {len(table)} token sequences: give the table of these lines")
    generator = torch.Generator(model.device).manual_seed(seed)
    bounds = measure_bounds(model, table, importance_samples, generator, progress=progress)
    _tell(progress, "latent", len(table))
    latent = _of_the_latent(model, survey(model, table, generator))
    _tell(progress, "reconstruction", len(table))
    outputs = tokenizer.decode(decode_greedy(model, bottom_of(model, encode(model, table)), forbidden_tokens(tokenizer)))
    positions = (source and source.paper_positions) or model.max_tokens
    groups = observations(lines, drawn=source is not None)
    evaluation = Evaluation(
        corpus=corpus_name,
        split=split,
        **_sizes_and_bounds(bounds, table, lines, groups),
        **latent,
        reconstruction=reconstruction_quality(lines, outputs),
        paper=paper_columns(float(bounds.distortion.mean()), float(bounds.rates.sum(1).mean()), positions),
        entropy=None if source is None else float(source.entropy),
        gap=mean_gap(source, lines, bounds.elbo) if source is not None and reads_back(tokenizer, table, lines).all() else None,
        length_nats=0.0,
        parameters=model.parameter_count,
        training_seconds=training_seconds,
    )
    return Measured(evaluation, lines, bounds, groups)


def paper_columns(distortion: float, rate: float, positions: int) -> dict[str, float]:
    """The study's columns: reconstruction a position of T_max (padding counted), KL a sequence, and their difference as its "ELBO"."""
    reconstruction = -distortion / positions
    return {"reconstruction": reconstruction, "kl": rate, "elbo": reconstruction - rate}


def _tell(progress: Progress | None, what: str, count: int) -> None:
    if progress is not None:
        progress(what, 0, count)


def _of_the_latent(model: LatentTextModel, found: Survey) -> dict[str, Any]:
    return {
        "active_units": sum(found.active_units),
        "latent_units": sum(shape.channels for shape in model.latents.shapes),
        "active_units_per_rung": found.active_units,
        "mutual_information": mutual_information(found),
        "mutual_information_cap": math.log(len(found.rate)),
        "rate_below_cap": rate_below_cap(found),
    }


def _sizes_and_bounds(bounds: Bounds, table: TokenTable, lines: Sequence[str], groups: np.ndarray) -> dict[str, Any]:
    characters, tokens = sum(map(len, lines)), int(table.lengths.sum())
    nats = -float(bounds.importance_bound.sum())
    rates = [float(rate) for rate in bounds.rates.mean(0)]
    return {
        "sequences": len(table),
        "tokens": tokens,
        "unknown_tokens": int((table.tokens == UNK).sum()),
        "characters": characters,
        "elbo": float(bounds.elbo.mean()),
        "distortion": float(bounds.distortion.mean()),
        "rate": sum(rates, 0.0),
        "rate_per_rung": rates,
        "importance_bound": float(bounds.importance_bound.mean()),
        "importance_samples": bounds.importance_samples,
        "standard_error": {name: standard_error(getattr(bounds, name), groups) or 0.0 for name in ("elbo", "importance_bound")},
        "bits_per_character": nats / math.log(2) / max(1, characters),
        "perplexity_per_token": perplexity(nats / tokens),
    }


def perplexity(nats: float) -> float:
    """exp(nats a symbol); the largest number there is where that is beyond it, as for a model that has gone astray."""
    return sys.float_info.max if nats >= math.log(sys.float_info.max) else math.exp(nats)


def observations(lines: Sequence[str], drawn: bool) -> np.ndarray:
    """The number (N,) of the independent observation that each line is part of, from 0 on.

    Draws of a source are independent, equal ones too. Copies of a line in a file are one: all of them fall into one split, or none.
    """
    if drawn:
        return np.arange(len(lines))
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(line, len(numbers)) for line in lines], dtype=np.int64)


def standard_error(values: np.ndarray, groups: np.ndarray) -> float | None:
    """The standard error of the mean of N values that are independent between groups, numbered from 0 on; None for a single group.

    sqrt(G / (G - 1) sum_g (sum of g's deviations)^2) / N; with every value a group of its own standard deviation / sqrt(N), as usual.
    """
    sums = np.bincount(groups, values - values.mean())
    count = len(sums)
    return math.sqrt(count / (count - 1) * float(sums @ sums)) / len(values) if count > 1 else None


def reads_back(tokenizer: Tokenizer, table: TokenTable, lines: Sequence[str]) -> np.ndarray:
    """Which lines (N,) can be read back from their tokens: a bound on the tokens of others is none on the lines."""
    found = np.zeros(len(lines), dtype=bool)
    for start in range(0, len(lines), DECODED):
        given = lines[start : start + DECODED]
        tokens = table.take(np.arange(start, start + len(given)))
        same = [one == other for one, other in zip(tokenizer.decode(tokens), given, strict=True)]
        found[start : start + len(given)] = same & ~(tokens == UNK).any(1)  # a line may hold the very sign of an unknown symbol
    return found


def mean_gap(source: Source, lines: Sequence[str], elbo: np.ndarray) -> float | None:
    """Mean of log p*(x) - ELBO(x) over the lines; None where the source cannot produce one of them."""
    gap = float((source.log_probability(list(lines)) - elbo).mean())
    return gap if math.isfinite(gap) else None
