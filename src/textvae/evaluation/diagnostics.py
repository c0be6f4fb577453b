"""What the latent holds: active units and the mutual information between x and z.

Both are read from one pass over the evaluated set with one z per x (`survey`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from textvae.config import require
from textvae.data.batches import in_order
from textvae.data.tokens import TokenTable
from textvae.model.inference import check_fits, inference, lines_at_once
from textvae.model.latents import RungStep
from textvae.model.text_model import LatentTextModel
from textvae.nn.gaussian import LOG_TWO_PI, Gaussian
from textvae.shapes import MapShape

ACTIVE_VARIANCE = 0.01
"""Least variance over x of an active unit's posterior mean, on the top rung (Burda et al. 2016)."""

ACTIVE_RATE = 0.01
"""Least mean conditional KL of an active unit below the top, in nats: there the mean moves with the parent's sample even when q = p."""

KEPT = 2_000
"""Most sequences whose z is kept: the mean over z_n of the mutual information is over these, so that its cost grows with N, not N^2."""

HELD_PAIRS = 4_000_000
"""Pairs (z_n, x_m) whose log-densities are held at once."""

HELD_ENTRIES = 1 << 17
"""Entries of pairs worked on at once where a term does not separate: small enough to stay in a processor's cache."""


@final
@dataclass(frozen=True)
class RungSurvey:
    """One rung: what the encoder says of all N sequences, and one z of each of the n that were kept."""

    evidence: Gaussian
    """What the encoder says, (N, S, Z); on the top rung this is the posterior."""

    prior: Gaussian | None
    """p(z_i | the parent's sample), (n, S, Z), below the top; None on the top rung."""

    sample: Tensor
    """z (n, S, Z), drawn from the evidence merged with the prior."""


@final
@dataclass(frozen=True)
class Survey:
    """All rungs, bottom first; no rung for a language model."""

    rungs: Sequence[RungSurvey]

    rows: np.ndarray
    """Which of the N sequences were kept, (n,), ascending: all of them up to `KEPT`, else as many drawn with a seed of their own."""

    rate: np.ndarray
    """Of each of the N sequences, (N,), nats; where it has no closed form, at the sample."""

    active_units: list[int] = field(default_factory=list)
    """How many units of each rung are active, bottom first, over all N sequences (`active_units`)."""


def survey(model: LatentTextModel, table: TokenTable, generator: torch.Generator | None = None) -> Survey:
    """Encode every sequence of the table and draw one z each, in evaluation mode and fp32; held in ordinary memory.

    Raises:
        ConfigError: an empty table, or a sequence longer than the model's T_max.
    """
    require(len(table) >= 1, "there is no sequence to measure: give a corpus with at least one line")
    check_fits(model, table)
    count, lengths = len(table), table.lengths
    kept = np.sort(np.random.default_rng(0).choice(count, KEPT, replace=False)) if count > KEPT else np.arange(count)
    surveyor, units = Surveyor(model, count, kept), ActiveUnits(model)
    if not model.latents.shapes:
        return surveyor.survey
    with inference(model):
        for rows, batch in in_order(table, lines_at_once(model), model.max_tokens):
            steps = model.latents.descend(model.evidence(torch.from_numpy(batch).to(model.device)), generator=generator)
            units.add(steps, lengths[rows])
            surveyor.add(rows, steps)
    return replace(surveyor.survey, active_units=units.counts())


@final
class Surveyor:
    """Fills a survey of the first `count` sequences, of which the z of some are kept, batch by batch."""

    def __init__(self, model: LatentTextModel, count: int, kept: np.ndarray) -> None:
        shapes = model.latents.shapes
        rungs = [_blank(count, len(kept), shape, top=i == len(shapes)) for i, shape in enumerate(shapes, 1)]
        self.survey, self._count = Survey(rungs, kept, np.zeros(count)), count
        """Whole once every sequence was added; without active units, which are counted apart."""

    def add(self, rows: np.ndarray, steps: Sequence[RungStep]) -> None:
        """Add the way down, bottom first, of the sequences of these numbers (B,); those from `count` on are left out."""
        first = np.flatnonzero(rows < self._count)  # of this batch
        chosen = np.flatnonzero(np.isin(rows, self.survey.rows))
        places = np.searchsorted(self.survey.rows, rows[chosen])  # among all that are kept
        for rung, step in zip(self.survey.rungs, steps, strict=True):
            _put(rung.evidence, rows[first], step.evidence, first)
            self.survey.rate[rows[first]] += step.rate[first].cpu().numpy()
            rung.sample[places] = step.sample[chosen].cpu()
            if rung.prior is not None:
                assert isinstance(step.prior, Gaussian)
                _put(rung.prior, places, step.prior, chosen)


def _blank(count: int, kept: int, shape: MapShape, *, top: bool) -> RungSurvey:
    """Room for one rung of `count` sequences of which some are kept."""

    def room(rows: int) -> Tensor:
        return torch.empty(rows, shape.positions, shape.channels)

    return RungSurvey(Gaussian(room(count), room(count)), None if top else Gaussian(room(kept), room(kept)), room(kept))


def _put(into: Gaussian, places: np.ndarray, found: Gaussian, chosen: np.ndarray) -> None:
    """The chosen rows of what was found, each into its place."""
    into.mean[places], into.log_variance[places] = found.mean[chosen].cpu(), found.log_variance[chosen].cpu()


@final
class Moments:
    """Mean and variance over x of every channel of a map, pooled over its unpadded positions, added up batch by batch.

    Position s of S covers the tokens from s * T_max / S on, so it is unpadded where a sequence is longer than that.
    The variance over x is taken at each position among the x that reach it, and averaged over positions by their number.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._reached = self._sum = self._squares = torch.zeros((), dtype=torch.float64)  # then (S, 1), (S, Z), (S, Z)

    def add(self, values: Tensor, lengths: np.ndarray) -> None:
        """Add the values (B, S, Z) of sequences of the given lengths (B,)."""
        values = values.cpu().double()
        positions = values.shape[1]
        start = np.arange(positions) * self._max_tokens  # in units of 1 / S tokens
        unpadded = torch.from_numpy((start < lengths[:, None] * positions).astype(np.float64))  # (B, S)
        self._reached = self._reached + unpadded.sum(0)[:, None]
        self._sum = self._sum + torch.einsum("bs,bsz->sz", unpadded, values)
        self._squares = self._squares + torch.einsum("bs,bsz->sz", unpadded, values**2)

    @property
    def mean(self) -> Tensor:
        """Of each channel, (Z,)."""
        return self._sum.sum(0) / self._reached.sum()

    @property
    def variance(self) -> Tensor:
        """Of each channel, (Z,)."""
        return (self._squares - self._sum**2 / self._reached.clamp(min=1)).sum(0) / self._reached.sum()


@final
class ActiveUnits:
    """Counts the active units of a model's rungs, batch by batch."""

    def __init__(self, model: LatentTextModel) -> None:
        self._moments = [Moments(model.max_tokens) for _ in model.latents.shapes]

    def add(self, rungs: Sequence[RungStep], lengths: np.ndarray) -> None:
        """Add the way down, bottom first, of sequences of the given lengths (B,)."""
        for moment, step in zip(self._moments, rungs, strict=True):
            if moment is self._moments[-1]:
                moment.add(step.posterior.mean, lengths)
            else:
                assert step.rate_map is not None  # below the top all is Gaussian
                moment.add(step.rate_map, lengths)

    def counts(self) -> list[int]:
        """How many units of each rung are active, bottom first (`active_units`)."""
        return active_units(self._moments)


def active_units(moments: Sequence[Moments]) -> list[int]:
    """How many units of each rung are active, bottom first.

    On the top rung a unit is active if the variance over x of its posterior mean is at least 0.01, on the rungs
    below if its mean conditional KL is at least 0.01 nat. A map's unit is a channel.

    Args:
        moments: of the conditional KL of each rung below the top, then of the top rung's posterior means.
    """
    if not moments:
        return []
    *below, top = moments
    return [*(int((rate.mean >= ACTIVE_RATE).sum()) for rate in below), int((top.variance >= ACTIVE_VARIANCE).sum())]


def mutual_information(found: Survey) -> float:
    """I(x; z) in nats, joint over rungs: mean of log q(z|x) - log q(z) (Hoffman & Johnson 2016).

    The mean is over the z_n that were kept; q(z) is the mixture of the posteriors of *all* N sequences. For z_n of
    x_n, rung i of another x_m is its evidence merged with the parent actually sampled for x_n. The estimate never
    exceeds log N (the cap to print beside it) and is exactly 0 where every posterior is the same; in between noise
    may take it slightly below 0.
    """
    if not found.rungs:
        return 0.0
    count, rows = len(found.rungs[0].evidence.mean), torch.from_numpy(found.rows)
    own = torch.zeros(len(rows), dtype=torch.float64)  # log q(z_n | x_n), (n,)
    total = torch.full_like(own, -math.inf)  # log sum_m q(z_n | x_m), (n,)
    columns_held = max(1, HELD_PAIRS // len(rows))
    for start in range(0, count, columns_held):
        columns = slice(start, min(start + columns_held, count))
        pairs = sum((_pair_log_densities(rung, columns) for rung in found.rungs), torch.zeros(()))  # (n, c)
        here = torch.nonzero((rows >= columns.start) & (rows < columns.stop)).flatten()
        own[here] = pairs[here, rows[here] - start]
        total = torch.logaddexp(total, torch.logsumexp(pairs, dim=1))
    return float((own - total).mean()) + math.log(count)


def rate_below_cap(found: Survey) -> float:
    """What of the rate an estimate of the mutual information could show, nats: the mean over x of min(rate of x, log N).

    The rate is I(x; z) + KL[q(z) ‖ p(z)] (Hoffman & Johnson 2016), and the estimate saturates at log N line by line.
    """
    return float(np.minimum(found.rate, math.log(len(found.rate))).mean())


def _pair_log_densities(rung: RungSurvey, columns: slice) -> Tensor:
    """log q(z_n | x_m, parent of z_n) for all z that were kept and the named x, (n, c) in float64.

    Below the top the posterior is a product of two Gaussians over its normaliser,

        N(z; e_m) N(z; p_n) / N(mean of e_m; mean of p_n, variance of e_m + variance of p_n),

    of which only the last does not separate into matrix products.
    """
    evidence = Gaussian(rung.evidence.mean[columns], rung.evidence.log_variance[columns])
    z = rung.sample.flatten(1).double()  # (n, D)
    mean = evidence.mean.flatten(1).double()  # (c, D)
    log_variance = evidence.log_variance.flatten(1).double()
    precision = torch.exp(-log_variance)
    constant = (mean**2 * precision + log_variance + LOG_TWO_PI).sum(1)  # (c,)
    pairs = -0.5 * ((z**2) @ precision.T - 2 * z @ (mean * precision).T + constant)  # (n, c)
    if rung.prior is None:
        return pairs
    pairs += rung.prior.log_prob(rung.sample).double().sum((1, 2))[:, None]
    return pairs - _log_normalisers(evidence, rung.prior)


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
