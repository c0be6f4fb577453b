"""One trial: a run like any other, watched; what it came to on valid, and which of several are best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from textvae.config import ObjectiveSettings
from textvae.settings import RunSettings
from textvae.training import session
from textvae.training.hooks import Hook, RunEnd
from textvae.training.run_folder import RunFolder
from textvae.training.trainer import looks_every

if TYPE_CHECKING:
    import optuna


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a trial came to, on valid with the weights that are kept; nats a sequence."""

    distortion: float
    rate: float
    rate_per_rung: list[float]
    active_units_per_rung: list[int]
    steps: int
    """Steps that the run was planned for, and steps between looks at valid: with them a run of so many minutes can be had again."""

    evaluate_every: int

    @property
    def elbo(self) -> float:
        """-(distortion + rate)."""
        return -self.distortion - self.rate


@final
@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial as it stands in the journal."""

    number: int
    state: Literal["running", "complete", "pruned", "failed", "left"]
    """left: its process was killed or interrupted."""

    settings: dict[str, Any]
    """What it suggests, by dotted name, as the command line has it."""

    outcome: Outcome | None
    reason: str | None
    """Why it failed."""

    seconds: float | None

    @property
    def counts(self) -> bool:
        """Whether it is over, for better or worse."""
        return self.state in ("complete", "pruned", "failed")


# ── which are best ──


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials, best ELBO first."""
    return sorted((trial for trial in trials if trial.outcome), key=lambda trial: -trial.outcome.elbo if trial.outcome else 0.0)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials that no other one dominates (Pareto), least rate first.

    One dominates another if it has no more distortion, no more rate, and less of one of them; of equals all stay.
    """
    points = [(trial.outcome.rate, trial.outcome.distortion, trial) for trial in trials if trial.outcome]
    best = [one for one in points if not any(_dominates(other[:2], one[:2]) for other in points)]
    return [trial for *_, trial in sorted(best, key=lambda one: (one[0], one[1], one[2].number))]


def _dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


# ── its run ──


def outcome_of(settings: RunSettings, folder: Path, hooks: Sequence[Hook] = ()) -> Outcome:
    """Train a run in a new folder and return what it came to on valid.

    Raises:
        UserError: what `textvae train` would say.
        KeyboardInterrupt: Ctrl-C stopped it.
        optuna.TrialPruned: one of the hooks gave it up.
    """
    watch = ValidFigures()
    if not session.start(settings, folder, (watch, *hooks)):
        raise KeyboardInterrupt
    config, _ = RunFolder(folder).load()
    kept = watch.kept()
    return Outcome(
        distortion=kept["distortion"],
        rate=kept["rate"],
        rate_per_rung=kept["rate_per_rung"],
        active_units_per_rung=kept["active_units_per_rung"],
        steps=config.steps,
        evaluate_every=looks_every(config.settings.training, config.steps),
    )


@final
class ValidFigures(Hook):
    """Keeps what every look at valid showed."""

    def __init__(self) -> None:
        self._looks: dict[int, dict[str, Any]] = {}
        self._kept_step = 0

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """Keep a look."""
        self._looks[metrics["step"]] = metrics["valid"]

    def on_end(self, end: RunEnd) -> None:
        """Keep which weights were kept."""
        self._kept_step = end.kept_step

    def kept(self) -> dict[str, Any]:
        """What valid showed of the weights that were kept."""
        return self._looks[self._kept_step]


PRUNED_FROM = 0.3
"""Share of a trial's steps before it may be pruned."""


def full_beta_from(objective: ObjectiveSettings) -> float:
    """The share of a run's steps from which on beta has its full weight to the end; with cyclical that is in the last cycle."""
    if objective.schedule == "constant":
        return 0.0
    return objective.warmup if objective.schedule != "cyclical" else (objective.cycles - 1 + objective.warmup) / objective.cycles


SHARES = 20
"""Shares of a run at which trials are compared, each look at the nearest: as many as a run has looks, whatever its steps."""


@final
class Pruning(Hook):
    """Gives a trial up whose -ELBO on valid falls behind that of others at the same share of their steps.

    Only looks with beta at its full weight are compared: before that, the trial whose beta grows slower looks better.
    """

    def __init__(self, trial: optuna.Trial, objective: ObjectiveSettings) -> None:
        self._trial = trial
        self._from = max(PRUNED_FROM, full_beta_from(objective))
        self._steps = 1
        self._told = -1

    def on_start(self, steps: int, done: int) -> None:
        """Keep how many steps there are."""
        self._steps = steps

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """Tell the sweep where the trial stands; raises `optuna.TrialPruned` where that is not good enough."""
        import optuna

        share = metrics["step"] / self._steps
        nearest = round(SHARES * share)
        if share < self._from or nearest == self._told:  # looks that are close together count once
            return
        self._told = nearest
        self._trial.report(-metrics["valid"]["elbo"], nearest)
        if share < 1 and self._trial.should_prune():
            raise optuna.TrialPruned
