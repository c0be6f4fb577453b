"""`hybrid`: convolutions to z and back, then a recurrent emitter on top (Semeniuta et al. 2017; the study, section 2.3).

The expander's own head gives the auxiliary loss of the study's eq. 2 (`objective.alpha`); it never enters the ELBO.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from textvae.architectures import architecture
from textvae.parts import ConvolutionSettings, LatentSettings, RecurrentDecoderSettings

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel


@final
@dataclass(frozen=True, kw_only=True)
class HybridSettings:
    """Settings of the hybrid VAE."""

    convolutions: ConvolutionSettings = field(default_factory=ConvolutionSettings)
    """The way down to z and back up."""

    latent: LatentSettings = field(default_factory=LatentSettings)
    """The latent variable."""

    decoder: RecurrentDecoderSettings = field(default_factory=RecurrentDecoderSettings)
    """The recurrent decoder."""


@architecture("hybrid", HybridSettings, "convolutions to z and back, a recurrent decoder on top")
def build(settings: HybridSettings, vocabulary: int, max_tokens: int) -> LatentTextModel:
    """Compose a convolution stack, one rung, its mirror image, a recurrent emitter and the auxiliary head."""
    from torch import nn

    from textvae.model.assembly import convolutional_encoder, recurrent_emitter, single_latent
    from textvae.model.decoder import Decoder
    from textvae.model.text_model import LatentTextModel
    from textvae.nn.stacks import mirrored_stack

    s = settings
    encoder = convolutional_encoder(vocabulary, max_tokens, s.convolutions, s.latent)
    latents = single_latent(encoder.outlet, s.latent)
    expander = mirrored_stack(latents.bottom, max_tokens, s.convolutions)
    emitter = recurrent_emitter(expander.outlet, latents.bottom, vocabulary, s.decoder)
    return LatentTextModel(encoder, latents, Decoder(expander, emitter, nn.Linear(s.convolutions.channels, vocabulary)))
