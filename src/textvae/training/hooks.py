"""Hooks: what may happen around the loop. Nine no-op methods are the whole interface."""

from __future__ import annotations

from abc import ABC
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


class Hook(ABC):
    """Something that watches a training run. Override what you need; nothing here does anything."""

    def on_ready(self, facts: dict[str, Any]) -> None:
        """Corpus and model are there.

        `facts` holds `corpus`, `lines` (of train, or an epoch's draws), `different` (of these), `drawn` (whether they are drawn),
        `longest` (of these lines, in `tokens`: characters, words, …), `vocabulary` (kinds of tokens known), `architecture`,
        `parameters`, `device` and `start_from` (a run, or None).
        """

    def on_start(self, steps: int, done: int) -> None:
        """Training starts, or goes on after `done` of its steps."""

    def on_step(self, record: StepRecord) -> None:
        """One optimisation step is done."""

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """The valid split was measured; `metrics` is the line that goes into metrics.jsonl."""

    def on_warning(self, message: str) -> None:
        """Something the user should know: lines left out, cut or mended, a latent that collapsed, a run that is done already."""

    def on_checkpoint(self, path: Path) -> None:
        """A checkpoint was written."""

    def on_interrupt(self, step: int) -> None:
        """The user asked to stop; the checkpoint is written."""

    def on_end(self, summary: dict[str, Any]) -> None:
        """Training is over; `summary` holds `steps`, `seconds`, `kept_step` (whose weights were kept) and `valid`, their metrics."""

    def on_stop(self) -> None:
        """Training stopped, whatever happened: it ended, was interrupted or failed. The last call of all."""


@final
class Hooks:
    """Several hooks called as one, in order."""

    def __init__(self, hooks: tuple[Hook, ...]) -> None:
        self._hooks = hooks

    def __getattr__(self, event: str) -> Any:
        """Return a function that calls the event on every hook."""

        def call(*arguments: Any) -> None:
            for hook in self._hooks:
                getattr(hook, event)(*arguments)

        return call
