"""One trial: a run like any other, whose looks at valid are kept and, where the goal is one number, may end it early."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from textvae.settings import RunSettings
from textvae.study.sweep.store import Outcome
from textvae.training import session
from textvae.training.hooks import Hook

if TYPE_CHECKING:
    import optuna


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
    return watch.outcome()


@final
class ValidFigures(Hook):
    """Keeps what every look at valid showed."""

    def __init__(self) -> None:
        self._looks: dict[int, dict[str, Any]] = {}
        self._end: dict[str, Any] = {}

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """Keep a look."""
        self._looks[metrics["step"]] = metrics["valid"]

    def on_end(self, summary: dict[str, Any]) -> None:
        """Keep which weights were kept."""
        self._end = summary

    def outcome(self) -> Outcome:
        """What valid showed of the weights that were kept."""
        kept = self._looks[self._end["kept_step"]]
        return Outcome(
            distortion=kept["distortion"],
            rate=kept["rate"],
            rate_per_rung=kept["rate_per_rung"],
            active_units_per_rung=kept["active_units_per_rung"],
            steps=self._end["steps"],
            evaluate_every=min(self._looks),
        )


@final
class Pruning(Hook):
    """Gives a trial up that falls behind others at the same share of their steps, by -ELBO on valid."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self._steps = 1
        self._told = -1

    def on_start(self, steps: int, done: int) -> None:
        """Keep how many steps there are."""
        self._steps = steps

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        """Tell the sweep where the trial stands; raises `optuna.TrialPruned` where that is not good enough."""
        import optuna

        percent = round(100 * metrics["step"] / self._steps)
        if percent == self._told:  # looks that are close together count once
            return
        self._told = percent
        self._trial.report(-metrics["valid"]["elbo"], percent)
        if metrics["step"] < self._steps and self._trial.should_prune():
            raise optuna.TrialPruned
