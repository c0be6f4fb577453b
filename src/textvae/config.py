"""Settings of a run that do not depend on the architecture, and names with few values. No torch here: the command line starts fast.

Every field's docstring is the help text of its flag. A check names the field; `textvae.settings`, which lays preset, file and flags
over each other, says where it stands. Architectures bring their own settings (`textvae.architectures`), of parts that several have
(`textvae.parts`).
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

TrackerName = Literal["tensorboard", "wandb"]
"""What may follow a run besides its own folder."""

CellName = Literal["lstm", "gru"]
"""A recurrent cell."""

NormName = Literal["none", "batch", "layer"]
"""Normalisation after a layer: none, batch (momentum 0.1, as the study) or layer."""


Spaces = Literal["keep", "strip"]
"""What becomes of spaces around a line."""


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

    spaces: Spaces = "keep"
    """What becomes of spaces around a line: kept, or taken off."""

    blank_lines: Literal["keep", "skip"] = "keep"
    """What becomes of a line that is empty or all spaces: kept, a line like others, or left out. Either way it is counted and reported."""

    copies: Literal["keep", "skip"] = "keep"
    """What becomes of a line that stands above in its file or split too: kept, or left out, so that each stands there once."""

    split: Literal["random", "file-order"] = "random"
    """How `sentiment140` is split: by a stable hash of each line, or in file order as the study did."""

    draws: int = 20_000
    """Training sequences an epoch of a built-in source, drawn fresh each epoch."""

    held_out_draws: int = 5_000
    """Sequences in the valid and in the test split of a built-in source."""

    def __post_init__(self) -> None:
        require(self.vocabulary >= 3, f"vocabulary is {self.vocabulary}: must be at least 3")
        require(self.max_length is None or self.max_length >= 1, f"max_length is {self.max_length}: must be at least 1")
        require(self.draws >= 1, f"draws is {self.draws}: must be at least 1")
        require(self.held_out_draws >= 1, f"held_out_draws is {self.held_out_draws}: must be at least 1")


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
        require(self.beta >= 0, f"beta is {self.beta}: must be at least 0")
        require(0 <= self.warmup <= 1, f"warmup is {self.warmup}: must be a share between 0 and 1")
        require(self.cycles >= 1, f"cycles is {self.cycles}: must be at least 1")
        require(self.free_bits >= 0, f"free_bits is {self.free_bits}: must be at least 0")
        require(self.alpha >= 0, f"alpha is {self.alpha}: must be at least 0")


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
    """A run (its folder, or user/model on the hub) whose weights training starts with. Its symbols (to which new
    characters are added) and its longest line are taken too, and its settings lie under all others, but for the seed, one higher."""

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
    """Arithmetic: auto uses bf16 where the processor, or the GPU, gains by it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""

    devices: int = 1
    """Processes (data parallel); several are launched by torchrun."""

    graphs: bool | None = None
    """Record the step of each batch width once and replay it (CUDA graphs): most of a small model's step on a GPU is launching it.
    Default: on a GPU yes, where one process trains."""

    seed: int = 0
    """Seed of initialisation, order and noise."""

    def __post_init__(self) -> None:
        given = [name for name in ("steps", "epochs", "minutes") if getattr(self, name) is not None]
        require(len(given) <= 1, f"{' and '.join(given)} are both given: give one")
        require(self.start_from != "", "start_from is empty: give a run's folder, or leave it out")
        for name in given:
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}: must be above 0")
        require(self.batch >= 1, f"batch is {self.batch}: must be at least 1")
        require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}: must be above 0")
        require(0 <= self.average < 1, f"average is {self.average}: must be at least 0 and below 1")
        require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}: must be at least 0")
        require(self.lr_warmup >= 0, f"lr_warmup is {self.lr_warmup}: must be at least 0")
        for name in ("evaluate_every", "patience"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} is {value}: must be at least 1")
        require(self.clip >= 0, f"clip is {self.clip}: must be at least 0")
        require(0 <= self.seed < 2**63, f"seed is {self.seed}: must be at least 0 and below 2**63")
        require(self.devices >= 1, f"devices is {self.devices}: must be at least 1")
