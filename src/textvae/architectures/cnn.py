"""`cnn`: convolutions down to z, transposed convolutions back up, every symbol predicted at once (the study, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from textvae.architectures import architecture
from textvae.parts import ConvolutionSettings, LatentSettings

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel


@final
@dataclass(frozen=True, kw_only=True)
class ConvolutionalSettings:
    """Settings of the convolutional VAE."""

    convolutions: ConvolutionSettings = field(default_factory=ConvolutionSettings)
    """The way down to z and back up."""

    latent: LatentSettings = field(default_factory=LatentSettings)
    """The latent variable."""


@architecture("cnn", ConvolutionalSettings, "convolutions to z and back, every symbol predicted at once")
def build(settings: ConvolutionalSettings, vocabulary: int, max_tokens: int) -> LatentTextModel:
    """Compose a convolution stack, one rung, its mirror image and a parallel emitter."""
    from textvae.model.assembly import convolutional_encoder, single_latent
    from textvae.model.decoder import Decoder
    from textvae.model.emitters import ParallelEmitter
    from textvae.model.text_model import LatentTextModel
    from textvae.nn.stacks import mirrored_stack

    s = settings
    encoder = convolutional_encoder(vocabulary, max_tokens, s.convolutions, s.latent)
    latents = single_latent(encoder.outlet, s.latent)
    expander = mirrored_stack(latents.bottom, max_tokens, s.convolutions)
    return LatentTextModel(encoder, latents, Decoder(expander, ParallelEmitter(expander.outlet, vocabulary)))
