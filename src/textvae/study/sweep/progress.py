"""The progress of a sweep for people, on stderr: a live line while a trial trains, a line for each that is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from textvae.study.sweep.space import Space, told
from textvae.study.sweep.trial import Trial, front, ranked
from textvae.training.hooks import Hook, StepRecord


@final
class SweepProgress(Hook):
    """Which trial of how many, the best so far, the time that is left; what a run warns of, once.

    A trial's collapse is the result's to show.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.completed}/{task.total} steps, left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1)
        self._told: set[str] = set()
        self._wanted = 0

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_search(self, space: Space, trials: Sequence[Trial], wanted: int) -> None:
        """Say what is searched, and what was done before."""
        self._wanted = wanted
        self._say("searching " + ", ".join(f"{name} {told(one)}" for name, one in space.items()))
        over = sum(trial.counts for trial in trials)
        if over:
            self._say(f"over already: {over}{f' of {wanted}' if wanted else ''} trials")

    def on_trial(self, trials: Sequence[Trial]) -> None:
        """A trial begins, the last one of those given."""
        self._bar.reset(self._task, description=f"{_place(trials, trials[-1].number)} of {self._wanted}", total=1)

    def on_start(self, steps: int, done: int) -> None:
        """The trial's run begins."""
        self._bar.update(self._task, total=steps, completed=done)

    def on_step(self, record: StepRecord) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=record.step)

    def on_warning(self, message: str) -> None:
        """Print a warning the first time it is told."""
        if message not in self._told:
            self._told.add(message)
            self._say(f"note: {message}")

    def on_result(self, trials: Sequence[Trial], number: int) -> None:
        """A trial is over: say how it ended, what is best and how long the rest takes."""
        (trial,) = (one for one in trials if one.number == number)
        place = f"{_place(trials, number)} of {self._wanted}, trial {number}"
        self._say(f"{place}: {_ended(trial)}{_best(trials)}{_left(trials, self._wanted)}")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _place(trials: Sequence[Trial], number: int) -> int:
    """How many trials were begun up to one, those that were left not counted."""
    return sum(trial.number <= number and trial.state != "left" for trial in trials)


def _ended(trial: Trial) -> str:
    if trial.outcome:
        return f"distortion {trial.outcome.distortion:.2f} + rate {trial.outcome.rate:.2f} = {-trial.outcome.elbo:.2f} nats"
    return f"failed: {trial.reason}" if trial.reason else trial.state


def _best(trials: Sequence[Trial]) -> str:
    best = ranked(trials)
    if not best or best[0].outcome is None:
        return ""
    return f"; best ELBO {best[0].outcome.elbo:.2f} (trial {best[0].number}), {len(front(trials))} on the front"


def _left(trials: Sequence[Trial], wanted: int) -> str:
    """The time for the trials that are not over, from the mean of those that are, by as many processes as are at work."""
    seconds = [trial.seconds for trial in trials if trial.counts and trial.seconds is not None]
    left = wanted - len(seconds)
    if not seconds or left <= 0:
        return ""
    working = 1 + sum(trial.state == "running" for trial in trials)
    minutes, rest = divmod(round(sum(seconds) / len(seconds) * left / working), 60)
    return f"; left about {minutes}:{rest:02d}"
