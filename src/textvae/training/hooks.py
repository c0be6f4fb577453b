"""Hooks: what may happen around the loop. Ten no-op methods are the whole interface."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from textvae.training.window import Window


@final
@dataclass(frozen=True)
class StepRecord:
    """Where the loop stands after a step."""

    step: int
    """Steps done."""

    steps: int
    """Steps of the whole run."""

    epoch: int
    beta: float
    learning_rate: float

    window: Window
    """Running means of the batch terms; reading them waits for the device, so read seldom."""


@final
@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is trained on what."""

    corpus: str
    lines: int
    """Of the training split, or drawn an epoch."""

    different: int
    """Of these."""

    drawn: bool
    """Whether the lines are drawn from a source, afresh each epoch."""

    longest: int
    """Of these lines, in tokens."""

    tokens: str
    """What a token is: characters, bytes, words or bpe."""

    vocabulary: int
    """Kinds of tokens that are known."""

    architecture: str
    parameters: int
    device: str
    start_from: str | None
    """The run whose weights training starts with."""


@final
@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """What a run came to."""

    steps: int
    """Taken; fewer than planned where patience ran out."""

    seconds: float
    kept_step: int
    """Whose weights were kept."""

    valid: dict[str, Any]
    """Of these weights, as in metrics.jsonl."""


class Hook(ABC):
    """Something that watches a training run. Override what you need; nothing here does anything."""

    def on_ready(self, facts: RunFacts) -> None:
        """Corpus and model are there."""

    def on_start(self, steps: int, done: int) -> None:
        """Training starts, or goes on after `done` of its steps."""

    def on_step(self, record: StepRecord) -> None:
        """One optimisation step is done."""

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """The valid split was measured; `metrics` is the line that goes into metrics.jsonl, with the checkpoint that follows."""

    def on_warning(self, message: str) -> None:
        """Something the user should know: lines left out, cut or mended, a run that is done already, a rate that says little."""

    def on_collapse(self, message: str) -> None:
        """The latent, or a part of it, is not used: which, and what helps. Or it is used again after that was told."""

    def on_checkpoint(self, path: Path) -> None:
        """A checkpoint was written: told at the first step after it is whole, for it is written while training goes on."""

    def on_interrupt(self, step: int) -> None:
        """The user asked to stop; the checkpoint is written."""

    def on_end(self, end: RunEnd) -> None:
        """Training is over."""

    def on_stop(self) -> None:
        """Training stopped, whatever happened: it ended, was interrupted or failed. The last call of all."""


@final
class Hooks(Hook):
    """Several hooks called as one, in order."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = tuple(hooks)

    def on_ready(self, facts: RunFacts) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_ready(facts)

    def on_start(self, steps: int, done: int) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_start(steps, done)

    def on_step(self, record: StepRecord) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_step(record)

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_evaluation(metrics)

    def on_warning(self, message: str) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_warning(message)

    def on_collapse(self, message: str) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_collapse(message)

    def on_checkpoint(self, path: Path) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_checkpoint(path)

    def on_interrupt(self, step: int) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_interrupt(step)

    def on_end(self, end: RunEnd) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_end(end)

    def on_stop(self) -> None:
        """Tell all of them."""
        for hook in self._hooks:
            hook.on_stop()
