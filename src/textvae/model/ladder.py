"""Ladders: rungs of any sequence layer, from a family's way up, way down and way out to the steps of the decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod

from textvae.config import LadderSettings, LatentSettings, RecurrentDecoderSettings, require
from textvae.model.assembly import prior_of, recurrent_emitter
from textvae.model.decoder import Decoder
from textvae.model.encoder import MapEncoder
from textvae.model.latents import LatentHierarchy, Rung
from textvae.model.text_model import LatentTextModel
from textvae.nn.layers import Chain
from textvae.shapes import MapShape


class RungLayers(ABC):
    """Which deterministic layers a ladder's rungs have: the one thing in which ladder families differ."""

    def entry(self, h: MapShape) -> Chain:
        """What stands between the embedding (T_max, E) and the first rung: nothing, unless a family says otherwise."""
        return Chain(h)

    @abstractmethod
    def up(self, inlet: MapShape, channels: int) -> Chain:
        """h_{i-1} to h_i with the given channels."""

    @abstractmethod
    def down(self, above: MapShape, outlet: MapShape) -> Chain:
        """z_{i+1} to the features (of the outlet's shape) that the prior of rung i is read from."""

    @abstractmethod
    def reconstruction(self, bottom: MapShape, outlet: MapShape) -> Chain:
        """z_1 to the reconstruction layer: one vector a step for the decoder."""


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
