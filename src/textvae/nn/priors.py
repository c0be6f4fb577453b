"""Priors of a top rung. A prior is a module that returns a `torch.distributions.Distribution` over one (S, Z) map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from textvae.nn.gaussian import Gaussian
from textvae.shapes import MapShape


class Prior(nn.Module, ABC):
    """p(z) of the top rung, z (S, Z)."""

    def __init__(self, shape: MapShape) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def forward(self) -> Distribution:
        """Return p(z): batch shape (), event shape (S, Z)."""

    @abstractmethod
    def closed_form(self) -> Gaussian | None:
        """Return the prior as a `Gaussian` (1, S, Z) where KL[q || p] has a closed form, else None: the rate is then Monte Carlo."""

    @abstractmethod
    def draw(self, count: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw z (count, S, Z); `temperature` scales the standard deviation."""


@final
class StandardNormalPrior(Prior):
    """N(0, I)."""

    zeros: Tensor

    def __init__(self, shape: MapShape) -> None:
        super().__init__(shape)
        self.register_buffer("zeros", torch.zeros(shape.positions, shape.channels), persistent=False)

    def forward(self) -> Distribution:
        """Return N(0, I)."""
        return Independent(Normal(self.zeros, torch.ones_like(self.zeros), validate_args=False), 2, validate_args=False)

    def closed_form(self) -> Gaussian | None:
        """Return N(0, I)."""
        return Gaussian(self.zeros[None], self.zeros[None])

    def draw(self, count: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw z (count, S, Z)."""
        return temperature * torch.randn(count, *self.zeros.shape, device=self.zeros.device, generator=generator)


@final
class MixturePrior(Prior):
    """A learned mixture of K diagonal Gaussians, one component a sequence (the study's section 7.3).

    The component is picked once for the whole (S, Z) map, so K components are K kinds of sequence.
    """

    def __init__(self, shape: MapShape, components: int) -> None:
        super().__init__(shape)
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(torch.randn(components, shape.positions, shape.channels))
        self.log_variance = nn.Parameter(torch.zeros(components, shape.positions, shape.channels))

    def forward(self) -> Distribution:
        """Return the mixture."""
        normal = Normal(self.mean, torch.exp(0.5 * self.log_variance.clamp(-14.0, 14.0)), validate_args=False)  # (K, S, Z)
        return MixtureSameFamily(
            Categorical(logits=self.logits, validate_args=False), Independent(normal, 2, validate_args=False), validate_args=False
        )

    def closed_form(self) -> Gaussian | None:
        """Return None: the KL to a mixture has no closed form."""
        return None

    def draw(self, count: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw a component a sequence, then z (count, S, Z) from it."""
        picked = torch.multinomial(self.logits.softmax(-1), count, replacement=True, generator=generator)  # (count,)
        return Gaussian(self.mean[picked], self.log_variance[picked].clamp(-14.0, 14.0)).sample(temperature, generator)

    def component(self, k: int) -> Gaussian:
        """The k-th Gaussian, (1, S, Z)."""
        return Gaussian(self.mean[k : k + 1], self.log_variance[k : k + 1].clamp(-14.0, 14.0))

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(component | z), (B, K), for z (B, S, Z)."""
        mixture = self.forward()
        assert isinstance(mixture, MixtureSameFamily)
        joint = mixture.component_distribution.log_prob(z[:, None]) + torch.log_softmax(self.logits, -1)  # (B, K)
        return joint.softmax(-1)
