"""What a sweep found, as a table and as JSON: the Pareto front or the best trials, each with the command that trains it again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from textvae.errors import TrainingError
from textvae.evaluation.collapse import SILENT_RUNG
from textvae.study.sweep.search import Found, run_of
from textvae.study.sweep.space import as_data
from textvae.study.sweep.trial import Outcome, Trial, front, ranked

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 5
"""Trials shown where the goal is the best ELBO."""


def best(found: Found) -> list[Trial]:
    """The trials worth telling of: the front, least rate first, or those of the best ELBO.

    Raises `TrainingError` where no trial came to its end, with the last reason.
    """
    chosen = front(found.trials) if found.sweep.goal == "front" else ranked(found.trials)[:SHOWN]
    if not chosen:
        reasons = [trial.reason for trial in found.trials if trial.reason]
        why = f"; the last one failed: {reasons[-1]}" if reasons else ": run the sweep with more --trials"
        raise TrainingError(f"none of the {len(found.trials)} trials in {found.sweep.storage} is complete{why}")
    return chosen


def command(found: Found, trial: Trial) -> str:
    """The command line that trains a trial again, to the same weights on the same machine."""
    settings, outcome = trial.settings, _outcome(trial)
    if found.settings.training.minutes is not None:  # as many steps as the minutes were then
        settings = {**settings, "training.steps": outcome.steps, "training.evaluate_every": outcome.evaluate_every}
    return found.sweep.base.command(settings, f"runs/{found.sweep.storage.stem}-{trial.number:03d}")


def counts(found: Found) -> dict[str, int]:
    """How many trials ended how."""
    seen = Counter(trial.state for trial in found.trials)
    return {state: seen[state] for state in ("complete", "pruned", "failed", "running", "left")}


def as_json(found: Found) -> dict[str, Any]:
    """The sweep as plain data: nats a sequence on valid, settings by dotted name."""
    runs = found.sweep.runs
    return {
        "corpus": found.settings.corpus.path,
        "split": "valid",
        "preset": found.settings.preset,
        "goal": found.sweep.goal,
        "storage": str(found.sweep.storage),
        "entropy": found.entropy,
        "space": as_data(found.space),
        "trials": counts(found),
        "best": [
            {
                **_figures(trial),
                "rate_per_rung": _outcome(trial).rate_per_rung,
                "active_units_per_rung": _outcome(trial).active_units_per_rung,
                "steps": _outcome(trial).steps,
                "command": command(found, trial),
                "run": str(run_of(runs, trial.number)) if runs else None,
            }
            for trial in best(found)
        ],
        "complete": [_figures(trial) for trial in found.trials if trial.outcome],
        "failed": [{"trial": trial.number, "settings": trial.settings, "reason": trial.reason} for trial in found.trials if trial.reason],
    }


def table(found: Found) -> Table:
    """The best trials' figures."""
    from rich.table import Table

    told = ", ".join(f"{number} {state}" for state, number in counts(found).items() if number)
    title = "Pareto front: distortion against rate" if found.sweep.goal == "front" else "best ELBO"
    rows = Table(title=f"{title}, nats a sequence on valid ({told})", title_justify="left")
    for name in ("trial", "distortion", "rate", "ELBO", "active units", "seconds"):
        rows.add_column(name, justify="right")
    for trial in best(found):
        outcome = _outcome(trial)
        units = " ".join(map(str, outcome.active_units_per_rung))
        figures = (outcome.distortion, outcome.rate, outcome.elbo)
        rows.add_row(str(trial.number), *(f"{figure:.3f}" for figure in figures), units, f"{trial.seconds or 0:.0f}")
    return rows


def commands(found: Found) -> list[str]:
    """A line for each of the best trials: how to train it again, or where its run is."""
    runs = found.sweep.runs
    kept = [f"trial {trial.number} is kept in {run_of(runs, trial.number)}" for trial in best(found)] if runs else []
    return kept + [f"trial {trial.number} again: {command(found, trial)}" for trial in best(found)]


def notes(found: Found) -> list[str]:
    """What to know before using what was found: a best ELBO may be that of a latent that says nothing; how many trials go on."""
    lines, rate = [], _outcome(best(found)[0]).rate
    if found.sweep.goal == "elbo" and hasattr(found.settings.model, "latent") and rate < SILENT_RUNG:
        lines.append(
            f"the best trial's latent has collapsed (rate {rate:.2f} nats): the ELBO alone does not ask z to say anything; "
            "search with --goal front, or give --objective.free-bits"
        )
    under_way = counts(found)["running"]
    if under_way:
        lines.append(f"{under_way} of the trials still train in other processes: --trials 0 tells of them when they are over")
    return lines


def _figures(trial: Trial) -> dict[str, Any]:
    outcome = _outcome(trial)
    return {
        "trial": trial.number,
        "elbo": outcome.elbo,
        "distortion": outcome.distortion,
        "rate": outcome.rate,
        "seconds": trial.seconds,
        "settings": trial.settings,
    }


def _outcome(trial: Trial) -> Outcome:
    assert trial.outcome is not None
    return trial.outcome
