"""Bounds on log p(x), sequence by sequence: the ELBO and the importance bound from the same K samples.

With z_k ~ q(z|x) over all rungs and log w_k = log p(x|z_k) + log p(z_k) - log q(z_k|x),

    ELBO(x) = 1/K sum_k log w_k  <=  log 1/K sum_k w_k  <=  log p(x)  (both in expectation; Burda et al. 2016, eq. 8),

so that the first inequality holds exactly, sequence by sequence. Everything is in fp32, added up in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from textvae.config import require
from textvae.data.batches import in_order
from textvae.data.tokens import TokenTable
from textvae.model.inference import FEW, check_fits, inference, lines_at_once, lines_held
from textvae.model.text_model import LatentTextModel
from textvae.nn.gaussian import Gaussian

HELD_TOKENS = {"cpu": 8_000, "cuda": 200_000}
"""Tokens that go through the decoder at once, over all sequences and samples, by device: what measuring takes in memory.

On a processor few are faster than many: their gates stay in its cache (measured at H = 256: 8,000 beat 60,000 by a quarter).
"""

FEWEST = 10
"""Samples that carry the sum of the weights at the least, for it to tell how far other samples would lead."""

Progress = Callable[[str, int, int], None]
"""Told what is being measured, how many different sequences are done and how many there are."""


@final
@dataclass(frozen=True)
class Bounds:
    """What was measured for N sequences of a model with L rungs, in nats a sequence; arrays in the caller's order."""

    elbo: np.ndarray
    """Mean of log w over the samples, (N,): exactly -(distortion + rates)."""

    importance_bound: np.ndarray
    """Log-mean-exp of log w over the same samples, (N,)."""

    distortion: np.ndarray
    """Mean of -log p(x|z) over the samples, (N,)."""

    rates: np.ndarray
    """Mean of log q(z_i|...) - log p(z_i|...) over the samples, (N, L), bottom rung first."""

    importance_samples: int
    """K."""

    sampling_errors: np.ndarray
    """By which ELBO and importance bound of other samples would differ, (2, N): standard errors over the K, the latter's to first order
    (from the weights' variance). NaN with one sample, and of the bound where the weights' effective number is below `FEWEST`: it would be
    told too small; 0 without rungs, where nothing is sampled."""


def measure_bounds(
    model: LatentTextModel,
    table: TokenTable,
    importance_samples: int,
    generator: torch.Generator | None = None,
    held_tokens: int | None = None,
    progress: Progress | None = None,
) -> Bounds:
    """Measure ELBO and importance bound of every sequence of the table with K samples each.

    A sequence goes through the encoder once, and copies of it are measured once: equal strings have equal bounds.
    Without rungs (`lm`) both are log p(x), from a single exact pass.
    The same generator state and `held_tokens` give the same numbers. The generator is on the model's device.

    Args:
        model: any model; measured in evaluation mode, in fp32.
        table: the N sequences.
        importance_samples: K.
        generator: the noise of z; torch's own where none is given.
        held_tokens: (sequence x sample) rows times T_max held at once; by default what suits the device, on a processor at least 64 rows.
        progress: called after every batch.

    Raises:
        ConfigError: K < 1, `held_tokens` < 1, an empty table, or a sequence longer than the model's T_max.
    """
    require(importance_samples >= 1, f"importance samples is {importance_samples}: must be at least 1")
    require(held_tokens is None or held_tokens >= 1, f"held tokens is {held_tokens}: must be at least 1")
    require(len(table) >= 1, "there is no sequence to measure: give a corpus with at least one line")
    check_fits(model, table)
    first, which = table.distinct()
    if len(first) < len(table):
        table = table.select(first)
    count, rungs = len(table), len(model.latents.shapes)
    samples = importance_samples if rungs else 1
    rows_held = _rows_held(model, held_tokens)
    parts = np.zeros((1 + rungs, count))  # mean distortion, then the mean rate of each rung
    importance_bound, errors = np.zeros(count), np.zeros((2, count))
    done = 0
    if progress is not None:
        progress("bounds", done, count)
    with inference(model):
        for rows, batch in in_order(table, min(lines_at_once(model), rows_held), model.max_tokens):
            tokens = torch.from_numpy(batch).to(model.device)  # (B, T)
            terms = _sampled_terms(model, tokens, samples, max(1, rows_held // len(rows)), generator)  # (1 + L, B, K)
            parts[:, rows] = terms.mean(-1).cpu().numpy()
            log_weights = -terms.sum(0)  # (B, K)
            importance_bound[rows] = (torch.logsumexp(log_weights, dim=-1) - math.log(samples)).cpu().numpy()
            if rungs:
                errors[:, rows] = _sampling_errors(log_weights).cpu().numpy()
            done += len(rows)
            if progress is not None:
                progress("bounds", done, count)
    parts, importance_bound, errors = parts[:, which], importance_bound[which], errors[:, which]
    elbo = -parts.sum(0)
    # Jensen's inequality holds exactly in real numbers; with equal weights the two differ by rounding only.
    return Bounds(elbo, np.maximum(importance_bound, elbo), parts[0], parts[1:].T, samples, errors)


def _sampling_errors(log_weights: Tensor) -> Tensor:
    """Standard errors of the mean of log w and of the log of the mean of w over K samples, (2, B), for log w (B, K)."""
    samples = log_weights.shape[1]
    if samples == 1:
        return log_weights.new_full((2, len(log_weights)), math.nan)
    of_mean = log_weights.std(dim=1) / math.sqrt(samples)
    shares = log_weights.softmax(dim=1)  # of the sum of the weights: their variance over the square of their mean is K sum(shares^2) - 1
    squares = shares.square().sum(1)  # one over the number of samples that carry the sum
    of_log_mean = ((samples * squares - 1).clamp(min=0) / (samples - 1)).sqrt()
    return torch.stack([of_mean, of_log_mean.where(squares * FEWEST <= 1, math.nan)])


def _rows_held(model: LatentTextModel, held_tokens: int | None) -> int:
    """(sequence x sample) rows that go through the decoder at once."""
    if held_tokens is not None:
        return max(1, held_tokens // model.max_tokens)
    rows = HELD_TOKENS.get(model.device.type, HELD_TOKENS["cpu"]) // model.max_tokens
    return max(FEW, rows) if model.device.type == "cpu" else max(1, min(rows, lines_held(model)))


def _sampled_terms(model: LatentTextModel, tokens: Tensor, samples: int, at_once: int, generator: torch.Generator | None) -> Tensor:
    """Distortion and the log ratio of each rung for K samples of each sequence, (1 + L, B, K) in float64, for tokens (B, T)."""
    evidence = model.evidence(tokens)
    chunks = [_one_chunk(model, evidence, tokens, min(at_once, samples - start), generator) for start in range(0, samples, at_once)]
    return torch.cat(chunks, dim=-1)


def _one_chunk(
    model: LatentTextModel, evidence: Sequence[Gaussian], tokens: Tensor, samples: int, generator: torch.Generator | None
) -> Tensor:
    """The terms (1 + L, B, K) of a number K of samples that fits in memory."""
    repeated = tokens.repeat_interleave(samples, dim=0)  # (B * K, T)
    steps = model.latents.descend([rung.repeat(samples) for rung in evidence], generator=generator)
    distortion = model.decoder(model.bottom(steps, len(repeated)), repeated)  # (B * K,)
    terms = torch.stack([distortion, *(step.log_ratio for step in steps)])  # (1 + L, B * K)
    return terms.double().unflatten(1, (len(tokens), samples))
