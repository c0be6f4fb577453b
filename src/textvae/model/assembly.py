"""Parts that several architectures build alike from their settings: the hierarchy of one latent, priors, recurrent emitters."""

from __future__ import annotations

from textvae.config import require
from textvae.model.emitters import Emitter, RecurrentCore, RecurrentEmitter, SelfFedEmitter
from textvae.model.encoder import MapEncoder
from textvae.model.latents import LatentHierarchy, Rung
from textvae.nn.layers import Chain, Flatten
from textvae.nn.priors import MixturePrior, Prior, StandardNormalPrior
from textvae.nn.stacks import convolution_stack
from textvae.parts import ConvolutionSettings, LatentSettings, RecurrentDecoderSettings
from textvae.shapes import MapShape


def prior_of(shape: MapShape, latent: LatentSettings) -> Prior:
    """The top rung's prior as the settings name it."""
    return MixturePrior(shape, latent.components) if latent.prior == "mixture" else StandardNormalPrior(shape)


def single_latent(h: MapShape, latent: LatentSettings) -> LatentHierarchy:
    """A plain VAE's hierarchy: one rung on the encoder's h, no up layer of its own."""
    require(
        len(latent.channels) == 1,
        f"model.latent.channels is {latent.channels}: this architecture has one rung; give one number, or choose a ladder",
    )
    rung = Rung(Chain(h), latent.channels[0])
    return LatentHierarchy(h, [rung], prior_of(rung.shape, latent))


def recurrent_emitter(context: MapShape, latent: MapShape, vocabulary: int, settings: RecurrentDecoderSettings) -> Emitter:
    """A teacher-forced or self-fed recurrent emitter as the settings say."""
    core = RecurrentCore(
        context,
        latent,
        vocabulary,
        settings.cell,
        settings.hidden,
        settings.layers,
        settings.embedding,
        settings.dropout,
    )
    return SelfFedEmitter(core) if settings.feeding == "self" else RecurrentEmitter(core, settings.word_dropout)


def convolutional_encoder(vocabulary: int, max_tokens: int, settings: ConvolutionSettings, latent: LatentSettings) -> MapEncoder:
    """Embedding and a convolution stack; a dense latent reads all its positions at once."""

    def layers(shape: MapShape) -> Chain:
        stack = convolution_stack(shape, settings)
        return Chain(shape, [stack, Flatten(stack.outlet)]) if latent.shape == "dense" else stack

    return MapEncoder(vocabulary, settings.embedding, max_tokens, layers, settings.dropout)
