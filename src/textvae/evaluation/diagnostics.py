"""What the latent holds: active units and the mutual information between x and z.

Both are read from one pass over the evaluated set with one z per x (`survey`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from textvae.config import require
from textvae.data.batches import in_order
from textvae.data.tokens import TokenTable
from textvae.generation import check_fits, inference
from textvae.model.latents import RungStep
from textvae.model.text_model import LatentTextModel
from textvae.nn.gaussian import LOG_TWO_PI, Gaussian

ACTIVE_VARIANCE = 0.01
"""Least variance over x of an active unit's posterior mean, on the top rung (Burda et al. 2016)."""

ACTIVE_RATE = 0.01
"""Least mean conditional KL of an active unit below the top, in nats: there the mean moves with the parent's sample even when q = p."""

BATCH = 256
"""Sequences that go through the encoder at once."""

HELD_PAIRS = 4_000_000
"""Pairs (z_n, x_m) whose log-densities are held at once."""

HELD_ENTRIES = 1 << 17
"""Entries of pairs worked on at once where a term does not separate: small enough to stay in a processor's cache."""


@final
@dataclass(frozen=True)
class RungSurvey:
    """One rung over N sequences: each field (N, S, Z), one z per x."""

    evidence: Gaussian
    """What the encoder says; on the top rung this is the posterior."""

    prior: Gaussian | None
    """p(z_i | the parent's sample), below the top; None on the top rung."""

    posterior: Gaussian
    """What `sample` was drawn from: evidence merged with the prior."""

    sample: Tensor
    """z."""


@final
@dataclass(frozen=True)
class Survey:
    """All rungs, bottom first, over N sequences in the caller's order; no rung for a language model."""

    rungs: Sequence[RungSurvey]
    lengths: np.ndarray
    """Scored tokens of each sequence, (N,)."""

    max_tokens: int
    """T_max."""


def survey(model: LatentTextModel, table: TokenTable, generator: torch.Generator | None = None) -> Survey:
    """Encode every sequence of the table and draw one z each, in evaluation mode and fp32; held in ordinary memory.

    Raises:
        ConfigError: an empty table, or a sequence longer than the model's T_max.
    """
    require(len(table) >= 1, "there is no sequence to measure: give a corpus with at least one line")
    check_fits(model, table)
    if not model.latents.shapes:
        return Survey((), table.lengths, model.max_tokens)
    order: list[np.ndarray] = []
    seen: list[list[RungSurvey]] = []
    with inference(model):
        for rows, batch in in_order(table, BATCH, model.max_tokens):
            evidence = model.evidence(torch.from_numpy(batch).to(model.device))
            steps = model.latents.descend(evidence, generator=generator)
            order.append(rows)
            seen.append([_surveyed(*pair, top=i == len(steps)) for i, pair in enumerate(zip(evidence, steps, strict=True), 1)])
        place = torch.from_numpy(np.argsort(np.concatenate(order)))
        return Survey([_gathered(parts, place) for parts in zip(*seen, strict=True)], table.lengths, model.max_tokens)


def _surveyed(evidence: Gaussian, step: RungStep, *, top: bool) -> RungSurvey:
    prior = step.prior if isinstance(step.prior, Gaussian) and not top else None
    return RungSurvey(evidence, prior, step.posterior, step.sample)


def _gathered(parts: Sequence[RungSurvey], place: Tensor) -> RungSurvey:
    """The batches of one rung under each other, in the caller's order."""

    def column(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([tensor.cpu() for tensor in tensors])[place]

    def gaussian(gaussians: Sequence[Gaussian]) -> Gaussian:
        return Gaussian(column([g.mean for g in gaussians]), column([g.log_variance for g in gaussians]))

    priors = [part.prior for part in parts if part.prior is not None]
    return RungSurvey(
        gaussian([part.evidence for part in parts]),
        gaussian(priors) if priors else None,
        gaussian([part.posterior for part in parts]),
        column([part.sample for part in parts]),
    )


def active_units(found: Survey) -> list[int]:
    """How many units of each rung are active, bottom first.

    On the top rung a unit is active if the variance over x of its posterior mean is at least 0.01, on the rungs
    below if its mean conditional KL is at least 0.01 nat. A map's unit is a channel, pooled over its unpadded
    positions: the variance over x is taken at each position among the x that reach it, and averaged over positions
    by their number; position s of S covers the tokens from s * T_max / S on.
    """
    return [int(_active(rung, _unpadded(found, rung.sample.shape[1])).sum()) for rung in found.rungs]


def _unpadded(found: Survey, positions: int) -> Tensor:
    """Whether position s of S starts before the end of sequence n, (N, S) as float64."""
    start = np.arange(positions) * found.max_tokens  # in units of 1 / S tokens
    return torch.from_numpy((start < found.lengths[:, None] * positions).astype(np.float64))


def _active(rung: RungSurvey, unpadded: Tensor) -> Tensor:
    """Which channels are active, (Z,), for the mask of unpadded positions (N, S)."""
    if rung.prior is not None:
        rate = rung.posterior.rate(rung.prior).double()  # (N, S, Z)
        return torch.einsum("ns,nsz->z", unpadded, rate) / unpadded.sum() >= ACTIVE_RATE
    mean = rung.posterior.mean.double()  # (N, S, Z)
    reached = unpadded.sum(0).clamp(min=1)[:, None]  # (S, 1)
    centred = mean - torch.einsum("ns,nsz->sz", unpadded, mean) / reached
    return torch.einsum("ns,nsz->z", unpadded, centred**2) / unpadded.sum() >= ACTIVE_VARIANCE


def mutual_information(found: Survey) -> float:
    """I(x; z) in nats, joint over rungs: mean of log q(z|x) - log q(z) (Hoffman & Johnson 2016).

    q(z) is the mixture of the posteriors of *all* N sequences. For z_n of x_n, rung i of another x_m is its evidence
    merged with the parent actually sampled for x_n. The estimate never exceeds log N (the cap to print beside it)
    and is exactly 0 where every posterior is the same; in between noise may take it slightly below 0.
    """
    count = len(found.lengths)
    if not found.rungs:
        return 0.0
    total = 0.0
    rows_held = max(1, HELD_PAIRS // count)
    for start in range(0, count, rows_held):
        rows = slice(start, min(start + rows_held, count))
        pairs = sum((_pair_log_densities(rung, rows) for rung in found.rungs), torch.zeros(()))  # (n, N)
        own = pairs.diagonal(offset=start)  # log q(z_n | x_n), (n,)
        total += float((own - torch.logsumexp(pairs, dim=1) + math.log(count)).sum())
    return total / count


def _pair_log_densities(rung: RungSurvey, rows: slice) -> Tensor:
    """log q(z_n | x_m, parent of z_n) for the named z and all x, (n, N) in float64.

    Below the top the posterior is a product of two Gaussians over its normaliser,

        N(z; e_m) N(z; p_n) / N(mean of e_m; mean of p_n, variance of e_m + variance of p_n),

    of which only the last does not separate into matrix products.
    """
    z = rung.sample[rows].flatten(1).double()  # (n, D)
    mean = rung.evidence.mean.flatten(1).double()  # (N, D)
    log_variance = rung.evidence.log_variance.flatten(1).double()
    precision = torch.exp(-log_variance)
    constant = (mean**2 * precision + log_variance + LOG_TWO_PI).sum(1)  # (N,)
    pairs = -0.5 * ((z**2) @ precision.T - 2 * z @ (mean * precision).T + constant)  # (n, N)
    if rung.prior is None:
        return pairs
    prior = Gaussian(rung.prior.mean[rows], rung.prior.log_variance[rows])
    pairs += prior.log_prob(rung.sample[rows]).double().sum((1, 2))[:, None]
    return pairs - _log_normalisers(rung.evidence, prior)


def _log_normalisers(evidence: Gaussian, prior: Gaussian) -> Tensor:
    """log N(mean of e_m; mean of p_n, sum of the variances) summed over entries, (n, N), for priors n and evidence m."""
    e_mean, p_mean = evidence.mean.flatten(1), prior.mean.flatten(1)  # (N, D), (n, D)
    e_variance, p_variance = evidence.log_variance.flatten(1).exp(), prior.log_variance.flatten(1).exp()
    entries = e_mean.shape[1]
    result = torch.empty(len(p_mean), len(e_mean), dtype=torch.float64)
    columns = max(1, min(len(e_mean), HELD_ENTRIES // entries))
    for m in range(0, len(e_mean), columns):
        means, variances = e_mean[m : m + columns], e_variance[m : m + columns]  # (c, D)
        for n in range(len(p_mean)):
            variance = variances + p_variance[n]
            squares = (means - p_mean[n]).square_().div_(variance).add_(variance.log_())  # (c, D)
            result[n, m : m + columns] = squares.sum(1)
    return -0.5 * (result + entries * LOG_TWO_PI)
