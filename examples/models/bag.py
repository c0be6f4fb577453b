"""`bag`: an architecture of one's own, with an encoder and a prior of its own. See docs/extending.md.

    TEXTVAE_ARCHITECTURES=examples/models textvae train names.txt --preset bag --out runs/bag

The encoder knows which symbols a line has, not in what order; the prior is a normal distribution whose mean and variance are learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from textvae.architectures import architecture
from textvae.config import require
from textvae.model.assembly import recurrent_emitter
from textvae.model.decoder import Decoder
from textvae.model.encoder import Encoder
from textvae.model.latents import LatentHierarchy, Rung
from textvae.model.text_model import LatentTextModel
from textvae.model.tokens import lengths_of
from textvae.nn.gaussian import Gaussian
from textvae.nn.layers import Chain, Repeat
from textvae.nn.priors import Prior
from textvae.parts import LatentSettings, RecurrentDecoderSettings
from textvae.shapes import MapShape


@final
@dataclass(frozen=True, kw_only=True)
class BagSettings:
    """Settings of the bag of symbols. Each field is a flag, its docstring the flag's help."""

    width: int = 128
    """Width of a symbol's embedding, and of what is read."""

    latent: LatentSettings = field(default_factory=LatentSettings)
    """The latent variable."""

    decoder: RecurrentDecoderSettings = field(default_factory=RecurrentDecoderSettings)
    """The recurrent decoder."""

    def __post_init__(self) -> None:
        require(self.width >= 1, f"width is {self.width}: must be at least 1")


@final
class BagEncoder(Encoder):
    """The mean embedding of a line's symbols, through two linear layers."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__(MapShape(1, width))
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ELU(), nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T) to h (B, 1, C); what pads a line counts for nothing."""
        lengths = lengths_of(tokens)[:, None]  # (B, 1)
        there = torch.arange(tokens.shape[1], device=tokens.device) < lengths  # (B, T)
        mean = (self.embedding(tokens) * there[..., None]).sum(1, keepdim=True) / lengths[..., None]  # (B, 1, C)
        read: Tensor = self.layers(mean)
        return read


@final
class LearnedNormalPrior(Prior):
    """N(mean, variance) of its own for every number of z."""

    def __init__(self, shape: MapShape) -> None:
        super().__init__(shape)
        self.mean = nn.Parameter(torch.zeros(shape.positions, shape.channels))
        self.log_variance = nn.Parameter(torch.zeros(shape.positions, shape.channels))

    def forward(self) -> Distribution:
        """Return p(z) over (S, Z)."""
        return Independent(Normal(self.mean, torch.exp(0.5 * self.log_variance), validate_args=False), 2, validate_args=False)

    def closed_form(self) -> Gaussian | None:
        """Return it as a Gaussian, by which the rate is exact; a prior without this returns None, and its rate is Monte Carlo."""
        return Gaussian(self.mean[None], self.log_variance[None])

    def draw(self, count: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw z (count, S, Z)."""
        shape = (count, *self.mean.shape)
        return Gaussian(self.mean.expand(shape), self.log_variance.expand(shape)).sample(temperature, generator)


@architecture("bag", BagSettings, "a bag of symbols, and a normal prior that is learned", latents=("dense",), priors=("normal",))
def build(settings: BagSettings, vocabulary: int, max_tokens: int) -> LatentTextModel:
    """Compose encoder, one rung under the prior, and z at every step of a recurrent emitter."""
    latent = settings.latent
    require(len(latent.channels) == 1, f"model.latent.channels is {latent.channels}: bag has one rung; give one number")
    encoder = BagEncoder(vocabulary, settings.width)
    rung = Rung(Chain(encoder.outlet), latent.channels[0])
    latents = LatentHierarchy(encoder.outlet, [rung], LearnedNormalPrior(rung.shape))
    expander = Chain(latents.bottom, [Repeat(latents.bottom, max_tokens)])
    emitter = recurrent_emitter(expander.outlet, latents.bottom, vocabulary, settings.decoder)
    return LatentTextModel(encoder, latents, Decoder(expander, emitter))
