"""LatentTextModel: encoder, latent hierarchy and decoder, composed and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from textvae.errors import ConfigError
from textvae.model.decoder import Decoder
from textvae.model.encoder import Encoder
from textvae.model.latents import LatentHierarchy, RungStep
from textvae.nn.gaussian import Gaussian
from textvae.shapes import check_joint


@final
@dataclass(frozen=True)
class Terms:
    """What one pass over a batch gives, in nats a sequence."""

    distortion: Tensor
    """-log p(x | z) at the sampled z, (B,)."""

    rungs: Sequence[RungStep]
    """The way down, bottom first."""

    auxiliary: Callable[[], Tensor] | None = None
    """Computes -log p(x) under the expander's own head (hybrid), (B,); a call, for few objectives weigh it."""

    @property
    def rates(self) -> list[Tensor]:
        """Rate of each rung, bottom first, each (B,)."""
        return [step.rate for step in self.rungs]

    @property
    def elbo(self) -> Tensor:
        """-(distortion + rate), (B,), always with weight 1."""
        return -self.distortion - sum(self.rates, torch.zeros_like(self.distortion))


@final
class LatentTextModel(nn.Module):
    """log p(x) >= E_q[log p(x|z)] - KL[q(z|x) || p(z)] (the study, eq. 1 with weight 1), for tokens (B, T)."""

    def __init__(self, encoder: Encoder, latents: LatentHierarchy, decoder: Decoder) -> None:
        super().__init__()
        if latents.shapes:
            check_joint("the encoder", encoder.outlet, "rung 1's up layer", latents.rungs[0].up.inlet)  # type: ignore[union-attr,arg-type]
        check_joint("rung 1", latents.bottom, "the decoder's expander", decoder.expander.inlet)
        self.encoder = encoder
        self.latents = latents
        self.decoder = decoder

    @property
    def max_tokens(self) -> int:
        """T_max: most tokens of a line, the end symbol included."""
        return self.decoder.max_tokens

    def evidence(self, tokens: Tensor) -> list[Gaussian]:
        """What the encoder says about every rung, bottom first; empty for a language model."""
        if not self.latents.shapes:
            return []
        h, outlet = self.encoder(tokens), self.encoder.outlet
        if h.shape[1:] != (outlet.positions, outlet.channels):
            raise ConfigError(
                f"{type(self.encoder).__name__} gives {h.shape[1]} positions of {h.shape[-1]} channels, and says {outlet.positions} of "
                f"{outlet.channels} as its outlet: correct the one or the other"
            )
        return self.latents.climb(h)

    def bottom(self, steps: Sequence[RungStep], count: int) -> Tensor:
        """The z that the decoder reads, (B, S, Z), from the way down."""
        return steps[0].sample if steps else self.latents.empty(count, self.device)

    def forward(self, tokens: Tensor, generator: torch.Generator | None = None) -> Terms:
        """One sample of the bound's terms for tokens (B, T)."""
        steps = self.latents.descend(self.evidence(tokens), generator=generator)
        z = self.bottom(steps, tokens.shape[0])
        context = self.decoder.expander(z)  # (B, T_max, C)
        head = None if self.decoder.auxiliary is None else partial(self.decoder.auxiliary_distortion, context, tokens)
        return Terms(self.decoder.distortion(context, z, tokens), steps, head)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def parameter_count(self) -> int:
        """Learned numbers in the model."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
