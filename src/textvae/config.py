"""Settings of a run that do not depend on the architecture. No torch here: the command line starts fast.

Every field's docstring is the help text of its flag. Architectures bring their own settings
(`textvae.architectures`); layering of preset, file and flags is in `textvae.settings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from textvae.errors import ConfigError

SCHEMA_VERSION = 1
"""Version of `config.json`; a run with a newer one is refused."""


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError` with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


Device = Literal["cpu", "cuda"]
"""Where a trained model computes."""

Split = Literal["train", "valid", "test", "all"]
"""Which lines of a corpus are measured: a split's, or all of them."""

Way = Literal["linear", "spherical"]
"""From one vector to another: the straight line, or the arc that keeps the vectors' length."""

CellName = Literal["lstm", "gru"]
"""A recurrent cell."""


@final
@dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """Where the strings come from and how they become tokens."""

    path: str = ""
    """A text file (.txt, .gz), a .csv/.tsv/.jsonl/.parquet file, a folder with train/valid/test.txt, or a built-in name."""

    column: str | None = None
    """The column of a .csv/.tsv/.jsonl/.parquet file that holds the text."""

    tokenizer: Literal["characters", "bytes", "words", "bpe"] = "characters"
    """What one token is."""

    vocabulary: int = 10_000
    """Most symbols a `words` or `bpe` tokenizer keeps; characters and bytes keep all."""

    max_length: int | None = None
    """Longest line in tokens, without the end symbol. Default: the longest training line, at most 512."""

    long_lines: Literal["skip", "cut"] = "skip"
    """What becomes of a line longer than max_length: left out, or cut. Either way it is counted and reported."""

    split: Literal["random", "file-order"] = "random"
    """How `sentiment140` is split: by a stable hash of each line, or in file order as the study did."""

    draws: int = 20_000
    """Training sequences an epoch of a built-in source, drawn fresh each epoch."""

    held_out_draws: int = 5_000
    """Sequences in the valid and in the test split of a built-in source."""

    def __post_init__(self) -> None:
        require(self.vocabulary >= 3, f"corpus.vocabulary is {self.vocabulary}: must be at least 3")
        require(self.max_length is None or self.max_length >= 1, f"corpus.max_length is {self.max_length}: must be at least 1")
        require(self.draws >= 1, f"corpus.draws is {self.draws}: must be at least 1")
        require(self.held_out_draws >= 1, f"corpus.held_out_draws is {self.held_out_draws}: must be at least 1")


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
        require(len(self.channels) >= 1, "model.latent.channels is empty: give the channels of each rung, bottom first")
        require(min(self.channels, default=1) >= 1, f"model.latent.channels is {self.channels}: every rung needs at least 1")
        require(self.components >= 1, f"model.latent.components is {self.components}: must be at least 1")


NormName = Literal["none", "batch", "layer"]
"""Normalisation after a layer: none, batch (momentum 0.1, as the study) or layer."""


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
        require(self.embedding >= 1, f"model.convolutions.embedding is {self.embedding}: must be at least 1")
        require(self.channels >= 1, f"model.convolutions.channels is {self.channels}: must be at least 1")
        require(
            len(self.kernels) == len(self.strides) >= 1,
            f"model.convolutions.kernels has {len(self.kernels)} entries and strides {len(self.strides)}: give one of each a layer",
        )
        require(min(self.kernels + self.strides) >= 1, "model.convolutions.kernels and strides must be at least 1")
        require(0 <= self.dropout < 1, f"model.convolutions.dropout is {self.dropout}: must be a share from 0 to below 1")


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
        require(len(self.hidden) >= 1, "model.ladder.hidden is empty: give the channels of each rung, bottom first")
        for name in ("embedding", "reconstruction"):
            require(getattr(self, name) >= 1, f"model.ladder.{name} is {getattr(self, name)}: must be at least 1")
        require(min(self.hidden, default=1) >= 1, f"model.ladder.hidden is {self.hidden}: every rung needs at least 1")
        require(0 <= self.dropout < 1, f"model.ladder.dropout is {self.dropout}: must be a share from 0 to below 1")


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
    """Share of the decoder's inputs and outputs dropped in training."""

    word_dropout: float = 0.0
    """Share of the symbols hidden from the decoder in training, so that it has to read z."""

    feeding: Literal["teacher", "self"] = "teacher"
    """What the decoder reads: the true previous symbol, or (as the study) its own most likely one."""

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "embedding"):
            require(getattr(self, name) >= 1, f"model.decoder.{name} is {getattr(self, name)}: must be at least 1")
        for name in ("dropout", "word_dropout"):
            require(0 <= getattr(self, name) < 1, f"model.decoder.{name} is {getattr(self, name)}: must be a share from 0 to below 1")
        require(
            self.feeding == "teacher" or self.word_dropout == 0,
            "model.decoder.word_dropout hides true symbols, which a self-fed decoder never reads: set word_dropout to 0",
        )


@final
@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """What is minimised: distortion + sum over rungs of beta * rate (with free bits) + alpha * auxiliary, in nats a sequence."""

    beta: float = 1.0
    """Largest weight of the rate (beta_max), in nats-per-sequence units. The study's 0.01 is 0.16 on the toy, 0.32 on tweets."""

    schedule: Literal["constant", "linear", "cyclical", "sigmoid"] = "linear"
    """How beta grows from 0 to its largest value."""

    warmup: float = 0.2
    """Share of all steps over which a linear or sigmoid beta grows; with cyclical, the share of each cycle."""

    cycles: int = 4
    """Cycles of the cyclical schedule."""

    free_bits: float = 0.0
    """Nats below which a rate costs nothing, per group (see free_bits_per)."""

    free_bits_per: Literal["channel", "rung"] = "channel"
    """What one free-bits group is: a channel (its rate summed over positions, averaged over the batch), or a whole rung."""

    alpha: float = 0.0
    """Weight of the expander's own reconstruction loss (hybrid; the study's eq. 2)."""

    def __post_init__(self) -> None:
        require(self.beta >= 0, f"objective.beta is {self.beta}: must be at least 0")
        require(0 <= self.warmup <= 1, f"objective.warmup is {self.warmup}: must be a share between 0 and 1")
        require(self.cycles >= 1, f"objective.cycles is {self.cycles}: must be at least 1")
        require(self.free_bits >= 0, f"objective.free_bits is {self.free_bits}: must be at least 0")
        require(self.alpha >= 0, f"objective.alpha is {self.alpha}: must be at least 0")


@final
@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How it is minimised. Schedules and resume are functions of the step only."""

    steps: int | None = None
    """Optimisation steps. One of steps, epochs and minutes; 3,000 steps where none is given."""

    epochs: float | None = None
    """Passes over the training split."""

    minutes: float | None = None
    """Wall-clock budget: throughput is measured in the first seconds, the number of steps fixed from it."""

    start_from: str | None = None
    """A run (its folder, or user/model on the hub) whose weights training starts with. Its symbols and longest line are taken too, and its
    settings lie under all others, but for the seed, which is one higher."""

    batch: int = 64
    """Sequences in a batch."""

    optimizer: Literal["adamw", "adam"] = "adamw"
    """Adam with decoupled weight decay, or with the decay in the gradient (as the study)."""

    learning_rate: float = 1e-3
    """Largest learning rate."""

    weight_decay: float = 0.0
    """Weight decay."""

    lr_warmup: int = 100
    """Steps over which the learning rate grows to its largest value."""

    decay: Literal["cosine", "linear", "constant", "plateau"] = "cosine"
    """How the learning rate falls afterwards; plateau halves it when the valid loss stops falling."""

    clip: float = 5.0
    """Largest norm of the gradient; 0 does not clip."""

    average: float = 0.0
    """Decay of an exponential moving average of the weights, used for evaluation and saved; 0 keeps none."""

    evaluate_every: int | None = None
    """Steps between evaluations on valid, and between checkpoints. Default: a twentieth of all steps."""

    patience: int | None = None
    """Evaluations without a better valid loss before training stops early. Default: never."""

    keep: Literal["best", "last"] = "best"
    """Which weights the run keeps. best: the lowest loss on valid, at the largest beta and with free bits; last: those of the end."""

    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """Arithmetic: auto uses bf16 where the processor has it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""

    devices: int = 1
    """Processes (data parallel); several are launched by torchrun."""

    graphs: bool = False
    """On a GPU: record the step of each batch shape once and replay it (CUDA graphs). For small models, whose steps are mostly launches."""

    seed: int = 0
    """Seed of initialisation, order and noise."""

    def __post_init__(self) -> None:
        given = [name for name in ("steps", "epochs", "minutes") if getattr(self, name) is not None]
        require(len(given) <= 1, f"training: {' and '.join(given)} are both given: give one")
        require(
            not (self.graphs and self.minutes is not None),
            "training.graphs and training.minutes are both given: the first steps, by which minutes are counted, are slower; give steps",
        )
        require(self.start_from != "", "training.start_from is empty: give a run's folder, or leave it out")
        for name in given:
            require(getattr(self, name) > 0, f"training.{name} is {getattr(self, name)}: must be above 0")
        require(self.batch >= 1, f"training.batch is {self.batch}: must be at least 1")
        require(self.learning_rate > 0, f"training.learning_rate is {self.learning_rate}: must be above 0")
        require(0 <= self.average < 1, f"training.average is {self.average}: must be at least 0 and below 1")
        require(self.weight_decay >= 0, f"training.weight_decay is {self.weight_decay}: must be at least 0")
        require(self.lr_warmup >= 0, f"training.lr_warmup is {self.lr_warmup}: must be at least 0")
        for name in ("evaluate_every", "patience"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"training.{name} is {value}: must be at least 1")
        require(self.clip >= 0, f"training.clip is {self.clip}: must be at least 0")
        require(0 <= self.seed < 2**63, f"training.seed is {self.seed}: must be at least 0 and below 2**63")
        require(self.devices >= 1, f"training.devices is {self.devices}: must be at least 1")
