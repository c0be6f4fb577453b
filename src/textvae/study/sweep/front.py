"""Which trials are best: those of the Pareto front, or by their ELBO."""

from __future__ import annotations

from collections.abc import Sequence

from textvae.study.sweep.store import Trial


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
