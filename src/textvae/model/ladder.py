"""Ladders: rungs of any sequence layer, from a family's way up, way down and way out to the steps of the decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from textvae.config import require
from textvae.model.assembly import prior_of, recurrent_emitter
from textvae.model.decoder import Decoder
from textvae.model.encoder import MapEncoder
from textvae.model.latents import LatentHierarchy, Rung
from textvae.model.text_model import LatentTextModel
from textvae.nn.layers import Chain
from textvae.parts import LadderSettings, LatentSettings, RecurrentDecoderSettings
from textvae.shapes import MapShape


@final
@dataclass(frozen=True, kw_only=True)
class RungLayers:
    """Which deterministic layers a ladder's rungs have: the one thing in which ladder families differ."""

    up: Callable[[MapShape, int], Chain]
    """From h_{i-1}, and the channels of h_i, to h_i."""

    down: Callable[[MapShape, MapShape], Chain]
    """From z_{i+1} to the features, of a given shape, that the prior of rung i is read from."""

    reconstruction: Callable[[MapShape, MapShape], Chain]
    """From z_1 to the reconstruction layer, of a given shape: one vector a step for the decoder."""

    entry: Callable[[MapShape], Chain] = Chain
    """From the embedding (T_max, E) to what the first rung reads: the embedding itself, unless a family says otherwise."""


def build_ladder(
    vocabulary: int,
    max_tokens: int,
    layers: RungLayers,
    ladder: LadderSettings,
    latent: LatentSettings,
    decoder: RecurrentDecoderSettings,
) -> LatentTextModel:
    """Compose an embedding, L rungs of the family's layers, the reconstruction layer and a recurrent emitter."""
    require(
        len(ladder.hidden) == len(latent.channels),
        f"model.ladder.hidden has {len(ladder.hidden)} entries and model.latent.channels {len(latent.channels)}: give one of each a rung",
    )
    encoder = MapEncoder(vocabulary, ladder.embedding, max_tokens, layers.entry, ladder.dropout)
    ups: list[Chain] = []
    h = encoder.outlet
    for width in ladder.hidden:
        ups.append(layers.up(h, width))
        h = ups[-1].outlet
    rungs: list[Rung] = []
    for i, (up, channels) in enumerate(zip(ups, latent.channels, strict=True)):
        down = None
        if i + 1 < len(ups):
            above = MapShape(ups[i + 1].outlet.positions, latent.channels[i + 1])
            down = layers.down(above, up.outlet)
        rungs.append(Rung(up, channels, down))
    latents = LatentHierarchy(encoder.outlet, rungs, prior_of(rungs[-1].shape, latent))
    expander = layers.reconstruction(latents.bottom, MapShape(max_tokens, ladder.reconstruction))
    emitter = recurrent_emitter(expander.outlet, latents.bottom, vocabulary, decoder)
    return LatentTextModel(encoder, latents, Decoder(expander, emitter))
