"""`rnn`: recurrent encoder and decoder (Bowman et al. 2016; the study, section 2.1), dense or one z a step (section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from textvae.architectures import architecture
from textvae.config import CellName, require
from textvae.parts import LatentSettings, RecurrentDecoderSettings

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel


@final
@dataclass(frozen=True, kw_only=True)
class RecurrentSettings:
    """Settings of the recurrent VAE."""

    cell: CellName = "lstm"
    """Recurrent cell of the encoder."""

    hidden: int = 256
    """Width of the encoder's recurrent state, in each direction."""

    embedding: int = 64
    """Width of the encoder's symbol embedding."""

    dropout: float = 0.0
    """Share of the encoder's features dropped in training."""

    latent: LatentSettings = field(default_factory=LatentSettings)
    """The latent variable."""

    decoder: RecurrentDecoderSettings = field(default_factory=RecurrentDecoderSettings)
    """The recurrent decoder."""

    def __post_init__(self) -> None:
        require(self.hidden >= 1, f"hidden is {self.hidden}: must be at least 1")
        require(self.embedding >= 1, f"embedding is {self.embedding}: must be at least 1")
        require(0 <= self.dropout < 1, f"dropout is {self.dropout}: must be a share from 0 to below 1")


@architecture("rnn", RecurrentSettings, "recurrent encoder and decoder")
def build(settings: RecurrentSettings, vocabulary: int, max_tokens: int) -> LatentTextModel:
    """Compose a bidirectional encoder, one rung, and z repeated (dense) or as it is (map) for a recurrent emitter."""
    from textvae.model.assembly import recurrent_emitter, single_latent
    from textvae.model.decoder import Decoder
    from textvae.model.encoder import Encoder, MapEncoder, RecurrentEncoder
    from textvae.model.text_model import LatentTextModel
    from textvae.nn.layers import BidirectionalRecurrence, Chain, Repeat

    s = settings
    encoder: Encoder
    if s.latent.shape == "dense":
        encoder = RecurrentEncoder(vocabulary, s.embedding, s.cell, s.hidden, s.dropout)
    else:
        encoder = MapEncoder(
            vocabulary,
            s.embedding,
            max_tokens,
            lambda shape: Chain(shape, [BidirectionalRecurrence(shape, s.hidden, s.cell, s.dropout)]),
            s.dropout,
        )
    latents = single_latent(encoder.outlet, s.latent)
    repeat = [Repeat(latents.bottom, max_tokens)] if s.latent.shape == "dense" else []
    expander = Chain(latents.bottom, repeat)
    emitter = recurrent_emitter(expander.outlet, latents.bottom, vocabulary, s.decoder)
    return LatentTextModel(encoder, latents, Decoder(expander, emitter))
