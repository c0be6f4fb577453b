"""`lm`: the same recurrent decoder without a latent, the baseline of every table. Its ELBO is log p(x), exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from textvae.architectures import architecture
from textvae.parts import RecurrentDecoderSettings

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel


@final
@dataclass(frozen=True, kw_only=True)
class LanguageModelSettings:
    """Settings of the language model."""

    decoder: RecurrentDecoderSettings = field(default_factory=RecurrentDecoderSettings)
    """The recurrent decoder."""


@architecture("lm", LanguageModelSettings, "no latent: the recurrent decoder alone, the baseline", latents=())
def build(settings: LanguageModelSettings, vocabulary: int, max_tokens: int) -> LatentTextModel:
    """Compose no encoder, no rungs and a recurrent emitter."""
    from textvae.model.assembly import recurrent_emitter
    from textvae.model.decoder import Decoder
    from textvae.model.encoder import NoEncoder
    from textvae.model.latents import LatentHierarchy
    from textvae.model.text_model import LatentTextModel
    from textvae.nn.layers import Chain, Repeat

    encoder = NoEncoder()
    latents = LatentHierarchy(encoder.outlet, [], None)
    expander = Chain(latents.bottom, [Repeat(latents.bottom, max_tokens)])
    emitter = recurrent_emitter(expander.outlet, latents.bottom, vocabulary, settings.decoder)
    return LatentTextModel(encoder, latents, Decoder(expander, emitter))
