"""The latent hierarchy: rungs, their merge, and the way up and down (Sonderby et al. 2016; the study, section 2.4).

Rung 1 is the bottom, next to the text; rung L the top, which has the prior. With L = 1 this is the plain VAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from textvae.errors import ConfigError
from textvae.nn.affine import linear
from textvae.nn.gaussian import Gaussian
from textvae.nn.layers import Chain
from textvae.nn.priors import Prior
from textvae.shapes import MapShape, check_joint

LOWER_EVIDENCE_LOG_VARIANCE = 3.0
"""Where the evidence of rungs below the top starts. At 0, merging with the prior costs about 0.1 nat a dimension
before anything is learned; at 3 the evidence starts almost silent."""


@final
@dataclass(frozen=True)
class RungStep:
    """One rung on the way down: its posterior, its prior and the sample that went on. What is derived is computed once."""

    evidence: Gaussian
    """What the encoder says, (B, S, Z); on the top rung the posterior itself."""

    posterior: Gaussian
    prior: Gaussian | Distribution
    sample: Tensor
    """z (B, S, Z), drawn from the posterior."""

    @cached_property
    def rate_map(self) -> Tensor | None:
        """KL[posterior || prior] entry by entry, (B, S, Z); None where it has no closed form."""
        return self.posterior.rate(self.prior) if isinstance(self.prior, Gaussian) else None

    @cached_property
    def rate(self) -> Tensor:
        """KL[posterior || prior] in nats, (B,): closed form where there is one, else the log ratio at the sample."""
        rate_map = self.rate_map
        return self.log_ratio if rate_map is None else rate_map.sum((1, 2))

    @cached_property
    def log_ratio(self) -> Tensor:
        """log q(z|x) - log p(z) at the sample, nats, (B,)."""
        log_q = self.posterior.log_prob(self.sample).sum((1, 2))  # (B,)
        if isinstance(self.prior, Gaussian):
            return log_q - self.prior.log_prob(self.sample).sum((1, 2))
        return log_q - self.prior.log_prob(self.sample)


@final
class Rung(nn.Module):
    """One stochastic layer: `up` to h_i, an `evidence` head, and below the top a `down` layer from the rung above.

    Heads are linear: a squashing activation on (mean, log-variance) would bound the variance from below.
    """

    def __init__(self, up: Chain, channels: int, down: Chain | None = None) -> None:
        super().__init__()
        self.shape = MapShape(up.outlet.positions, channels)
        self.up = up
        self.evidence = nn.Linear(up.outlet.channels, 2 * channels)
        self.down = down
        self.prior_head: nn.Linear | None = None
        nn.init.zeros_(self.evidence.bias)
        if down is not None:
            check_joint("the down layer", MapShape(down.outlet.positions, channels), "the rung's evidence", self.shape)
            self.prior_head = nn.Linear(down.outlet.channels, 2 * channels)
            nn.init.zeros_(self.prior_head.bias)
            nn.init.constant_(self.evidence.bias[channels:], LOWER_EVIDENCE_LOG_VARIANCE)

    def prior_given(self, above: Tensor) -> Gaussian:
        """p(z_i | z_{i+1}) for the sample above (B, S_{i+1}, Z_{i+1}). Only below the top."""
        assert self.down is not None and self.prior_head is not None
        return Gaussian.from_heads(linear(self.down(above), self.prior_head))


@final
class LatentHierarchy(nn.Module):
    """Rungs 1..L and a prior on the top one. Without rungs z has no channels, (B, 1, 0): a language model."""

    def __init__(self, inlet: MapShape, rungs: Sequence[Rung], prior: Prior | None) -> None:
        super().__init__()
        shape = inlet
        for i, rung in enumerate(rungs, 1):
            check_joint("the encoder" if i == 1 else f"rung {i - 1}'s up layer", shape, f"rung {i}'s up layer", rung.up.inlet)
            shape = rung.up.outlet
            top = i == len(rungs)
            if (rung.down is None) != top:
                raise ConfigError(f"rung {i} of {len(rungs)}: only the top rung stands without a down layer")
            if not top:
                assert rung.down is not None
                check_joint(f"rung {i + 1}", rungs[i].shape, f"rung {i}'s down layer", rung.down.inlet)
        if rungs and prior is not None:
            check_joint("the top rung", rungs[-1].shape, "its prior", prior.shape)
        self.rungs = nn.ModuleList(rungs)
        self.prior = prior
        self.bottom = rungs[0].shape if rungs else MapShape(1, 0)

    @property
    def shapes(self) -> tuple[MapShape, ...]:
        """Shape of every rung's z, bottom first."""
        return tuple(rung.shape for rung in self._rungs())

    def _rungs(self) -> list[Rung]:
        return list(self.rungs)  # type: ignore[arg-type]

    def climb(self, h: Tensor) -> list[Gaussian]:
        """The evidence of every rung, bottom first, from the encoder's h (B, S, C)."""
        evidence = []
        for rung in self._rungs():
            h = rung.up(h)
            evidence.append(Gaussian.from_heads(linear(h, rung.evidence)))
        return evidence

    def _top_prior(self) -> Gaussian | Distribution:
        assert self.prior is not None
        return self.prior.closed_form() or self.prior()

    def descend(self, evidence: Sequence[Gaussian], temperature: float = 1.0, generator: torch.Generator | None = None) -> list[RungStep]:
        """Merge evidence with priors from the top down, sending each posterior's sample on; steps are returned bottom first.

        `temperature` scales the posterior's noise: 1 samples, 0 follows the means.
        """
        steps: list[RungStep] = []
        for rung, seen in zip(reversed(self._rungs()), reversed(list(evidence)), strict=True):
            if steps:
                below_prior = rung.prior_given(steps[-1].sample)
                posterior = seen.merge(below_prior)
                prior: Gaussian | Distribution = below_prior
            else:
                posterior, prior = seen, self._top_prior()
            steps.append(RungStep(seen, posterior, prior, posterior.sample(temperature, generator)))
        return steps[::-1]

    def generate(self, count: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> list[Tensor]:
        """z of every rung from the prior, bottom first, each (count, S, Z); `temperature` scales the noise of every rung."""
        samples: list[Tensor] = []
        for rung in reversed(self._rungs()):
            if samples:
                samples.append(rung.prior_given(samples[-1]).sample(temperature, generator))
                continue
            assert self.prior is not None
            samples.append(self.prior.draw(count, temperature, generator))
        return samples[::-1]

    def empty(self, count: int, device: torch.device) -> Tensor:
        """The z of a hierarchy without rungs, (count, 1, 0)."""
        return torch.zeros(count, 1, 0, device=device)
