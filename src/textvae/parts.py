"""Settings of the parts that several architectures are made of. No torch here: the command line starts fast.

Every field's docstring is the help text of its flag. A check names the field; where it is mounted, `textvae.settings` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from textvae.config import CellName, NormName, require


@final
@dataclass(frozen=True, kw_only=True)
class LatentSettings:
    """The latent variables: shape, channels a rung, and the prior on top."""

    shape: Literal["dense", "map"] = "dense"
    """dense: one vector a sequence (S = 1); map: one vector a position (S > 1)."""

    channels: tuple[int, ...] = (32,)
    """Channels of each rung's z, bottom rung first; one number for a plain VAE."""

    prior: Literal["normal", "mixture"] = "normal"
    """Prior of the top rung: standard normal, or a learned mixture of Gaussians."""

    components: int = 10
    """Components of the mixture prior."""

    def __post_init__(self) -> None:
        require(len(self.channels) >= 1, "channels is empty: give the channels of each rung, bottom first")
        require(min(self.channels, default=1) >= 1, f"channels is {self.channels}: every rung needs at least 1")
        require(self.components >= 1, f"components is {self.components}: must be at least 1")


@final
@dataclass(frozen=True, kw_only=True)
class ConvolutionSettings:
    """A stack of convolutions down to z, and its mirror image of transposed convolutions back up."""

    embedding: int = 64
    """Width of the encoder's symbol embedding."""

    channels: int = 160
    """Channels of every convolution."""

    kernels: tuple[int, ...] = (5, 5, 3, 3)
    """Kernel of each convolution on the way down; the way up mirrors them."""

    strides: tuple[int, ...] = (1, 2, 2, 2)
    """Stride of each convolution on the way down."""

    norm: NormName = "none"
    """Normalisation after each convolution."""

    dropout: float = 0.0
    """Share of the features dropped in training."""

    def __post_init__(self) -> None:
        require(self.embedding >= 1, f"embedding is {self.embedding}: must be at least 1")
        require(self.channels >= 1, f"channels is {self.channels}: must be at least 1")
        require(
            len(self.kernels) == len(self.strides) >= 1,
            f"kernels has {len(self.kernels)} entries and strides {len(self.strides)}: give one of each a layer",
        )
        require(min(self.kernels + self.strides) >= 1, "kernels and strides must be at least 1")
        require(0 <= self.dropout < 1, f"dropout is {self.dropout}: must be a share from 0 to below 1")


@final
@dataclass(frozen=True, kw_only=True)
class LadderSettings:
    """The deterministic layers of a ladder; `model.latent.channels` has one entry a rung as well."""

    embedding: int = 64
    """Width of the encoder's symbol embedding."""

    hidden: tuple[int, ...] = (256, 128, 64)
    """Channels of each rung's deterministic layers, bottom rung first."""

    reconstruction: int = 256
    """Channels of the layer between the bottom z and the decoder."""

    norm: NormName = "batch"
    """Normalisation in the rungs' layers."""

    dropout: float = 0.0
    """Share of the features dropped in training."""

    def __post_init__(self) -> None:
        require(len(self.hidden) >= 1, "hidden is empty: give the channels of each rung, bottom first")
        for name in ("embedding", "reconstruction"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: must be at least 1")
        require(min(self.hidden, default=1) >= 1, f"hidden is {self.hidden}: every rung needs at least 1")
        require(0 <= self.dropout < 1, f"dropout is {self.dropout}: must be a share from 0 to below 1")


@final
@dataclass(frozen=True, kw_only=True)
class RecurrentDecoderSettings:
    """The recurrent emitter of every architecture but `cnn`."""

    cell: CellName = "lstm"
    """Recurrent cell."""

    hidden: int = 256
    """Width of the recurrent state."""

    layers: int = 1
    """Recurrent layers."""

    embedding: int = 64
    """Width of a symbol's embedding."""

    dropout: float = 0.0
    """Share of the numbers of the symbols that the decoder reads, and of its outputs, dropped in training; never of z."""

    word_dropout: float = 0.0
    """Share of the symbols hidden from the decoder in training, so that it has to read z."""

    feeding: Literal["teacher", "self"] = "teacher"
    """What the decoder reads: the true previous symbol, or (as the study) its own most likely one."""

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "embedding"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: must be at least 1")
        for name in ("dropout", "word_dropout"):
            require(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}: must be a share from 0 to below 1")
        require(
            self.feeding == "teacher" or self.word_dropout == 0,
            "word_dropout hides true symbols, which a self-fed decoder never reads: set word_dropout to 0",
        )
