"""The progress of a training run for people: one live line on a terminal, one line an evaluation elsewhere."""

from __future__ import annotations

import time
from typing import Any, final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from textvae.training.hooks import Hook, RunEnd, RunFacts, StepRecord

REFRESH_SECONDS = 1.0
"""How often running means are read: each reading waits for the device."""


@final
class ProgressLine(Hook):
    """Steps, time left, distortion, rate (and rate a rung), beta; a line an evaluation; warnings, each told once."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=10),  # all of it fits into 80 columns
            TextColumn("{task.completed}/{task.total} steps, left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[terms]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=1, terms="")
        self._shown = 0.0
        self._told: set[str] = set()
        self._began = (0.0, 0)

    def on_ready(self, facts: RunFacts) -> None:
        """Say what is trained on what."""
        start = f", from the weights of {facts.start_from}" if facts.start_from else ""
        lines = f"{facts.lines:,} lines{' an epoch, drawn,' if facts.drawn else ''}"
        copies = f" ({facts.different:,} different)" if facts.different < facts.lines and not facts.drawn else ""
        tokens = "pieces" if facts.tokens == "bpe" else facts.tokens
        known = f"{facts.vocabulary:,} kinds of them known"
        model = f"{facts.architecture}: {facts.parameters:,} parameters on {facts.device}"
        self._print(f"training on {facts.corpus}: {lines}{copies} of up to {facts.longest} {tokens}, {known}; {model}{start}")

    def on_start(self, steps: int, done: int) -> None:
        """Show the bar, and say where a run goes on."""
        if done:
            self._print(f"going on after step {done} of {steps}")
        self._began = (time.perf_counter(), done)
        self._bar.update(self._task, total=steps, completed=done)
        self._bar.start()

    def on_step(self, record: StepRecord) -> None:
        """Move the bar, at most once a second."""
        now = time.perf_counter()
        if self._bar.disable or now - self._shown < REFRESH_SECONDS:
            return
        self._shown = now
        distortion, *rates = record.window.read()
        self._bar.update(self._task, completed=record.step, terms=f"{_terms(distortion, rates)}  β {record.beta:.2f}")

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """Print the valid split's numbers; the time is that of all sittings, what is left goes by this one's pace."""
        valid, now = metrics["valid"], time.perf_counter()
        began, before = self._began
        total = self._bar.tasks[0].total or 1
        done = max(1, metrics["step"] - before)
        left = (now - began) / done * max(0, total - metrics["step"])
        information = f"  MI {max(0.0, valid['mutual_information']):.2f}" if valid["rate_per_rung"] else ""  # noise may take it below 0
        self._print(
            f"step {metrics['step']:>6}/{total:.0f}  {_clock(metrics['seconds'])} (left {_clock(left)})  valid ELBO {valid['elbo']:.2f} = "
            f"-({_terms(valid['distortion'], valid['rate_per_rung'])}) nats  β {metrics['beta']:.2f}  "
            f"active units {sum(valid['active_units_per_rung'])}{information}"
        )

    def on_warning(self, message: str) -> None:
        """Print a warning the first time it is told."""
        if message not in self._told:
            self._told.add(message)
            self._print(f"note: {message}", style="yellow")

    def on_collapse(self, message: str) -> None:
        """Print it."""
        self._print(f"note: {message}", style="yellow")

    def on_interrupt(self, step: int) -> None:
        """Say what is kept."""
        self._print(f"stopped after step {step}, whose checkpoint is written")

    def on_end(self, end: RunEnd) -> None:
        """Say what was done, and how good the weights are that were kept."""
        kept = end.valid
        which = "" if end.kept_step == end.steps else ", of the lowest loss on valid (which counts free bits as no cost)"
        self._print(
            f"done: {end.steps} steps in {_clock(end.seconds)}; kept the weights of step {end.kept_step}{which}: "
            f"valid ELBO {kept['elbo']:.2f}, rate {kept['rate']:.2f}"
        )

    def on_stop(self) -> None:
        """Leave the terminal as it was, whatever stopped the training."""
        self._bar.stop()

    def _print(self, text: str, style: str | None = None) -> None:
        """A line as it stands, however wide the terminal is, and whatever brackets or colons a user's text has."""
        self.console.print(text, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _terms(distortion: float, rates: list[float]) -> str:
    rungs = f" [{' '.join(f'{rate:.2f}' for rate in rates)}]" if len(rates) > 1 else ""
    return f"distortion {distortion:.2f} + rate {sum(rates):.2f}{rungs}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
