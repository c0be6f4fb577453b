"""Diagonal Gaussians as plain data: sampling, densities, rates and the ladder's merge, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)


@final
@dataclass(frozen=True)
class Gaussian:
    """N(mean, exp(log_variance)) for every entry; both (B, S, Z), or broadcastable to it. Always fp32."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def from_heads(cls, heads: Tensor) -> Gaussian:
        """Split a linear layer's output (B, S, 2Z) into mean and log-variance.

        Computed in fp32 whatever the autocast; the log-variance is held within +-14 (standard deviations of
        0.001 to 1,097) so that no precision overflows.
        """
        mean, log_variance = heads.float().chunk(2, dim=-1)  # 2 x (B, S, Z)
        return cls(mean, log_variance.clamp(-14.0, 14.0))

    def sample(self, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw z, (B, S, Z), reparametrised; the noise's standard deviation is scaled by `temperature` (0: the mean)."""
        if temperature == 0:
            return self.mean
        noise = torch.randn(self.mean.shape, device=self.mean.device, generator=generator)  # (B, S, Z)
        return self.mean + temperature * torch.exp(0.5 * self.log_variance) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z) in nats, entry by entry, (B, S, Z)."""
        return -0.5 * (LOG_TWO_PI + self.log_variance + (z - self.mean) ** 2 * torch.exp(-self.log_variance))

    def rate(self, prior: Gaussian) -> Tensor:
        """KL[self || prior] in nats, entry by entry, (B, S, Z)."""
        ratio = self.log_variance - prior.log_variance
        return 0.5 * (torch.expm1(ratio) - ratio + (self.mean - prior.mean) ** 2 * torch.exp(-prior.log_variance))

    def merge(self, prior: Gaussian) -> Gaussian:
        """Precision-weighted product of this evidence with a prior (Sonderby et al. 2016, eqs. 17 to 19; the study, section 2.4).

        The study prints sigma without the square; the variance is meant.
        """
        log_precision = torch.logaddexp(-self.log_variance, -prior.log_variance)  # (B, S, Z)
        weight = torch.sigmoid(prior.log_variance - self.log_variance)  # share of the evidence in the mean
        return Gaussian(weight * self.mean + (1 - weight) * prior.mean, -log_precision)

    def repeat(self, times: int) -> Gaussian:
        """Each sequence `times` times in a row, (B * times, S, Z)."""
        return Gaussian(self.mean.repeat_interleave(times, dim=0), self.log_variance.repeat_interleave(times, dim=0))
