"""A sweep as a picture: every trial by its rate and its distortion, the Pareto front, lines of equal ELBO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textvae.errors import ConfigError
from textvae.plots.canvas import BLACK, BLUE, ORANGE, drawing, legend_below, pyplot
from textvae.plots.plane import DISTORTION_AXIS, RATE_AXIS, equal_elbo
from textvae.study.sweep.trial import Trial, front, ranked

if TYPE_CHECKING:
    from textvae.study.sweep.search import Found

FORMATS = (".png", ".svg", ".pdf")


def check_figure(path: Path) -> None:
    """Raise `ConfigError` where a figure could not be drawn, before hours are spent on what it would show."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path}: a figure's file ends in {', '.join(FORMATS)}: give it one of these names")
    pyplot()


def front_figure(found: Found, path: Path) -> None:
    """Draw the complete trials of a sweep. Raises `RunError` where the file cannot be written."""
    complete, best = ranked(found.trials), front(found.trials)
    with drawing([path], (6.4, 4.8)) as (figure, axes):
        axis = axes[0, 0]
        axis.scatter(*_points(complete), s=26, facecolors="none", edgecolors=BLUE, label=f"trials ({len(complete)})", zorder=3)
        axis.step(*_points(best), where="post", color=ORANGE, linewidth=1.5, zorder=4)
        axis.scatter(*_points(best), s=46, color=ORANGE, edgecolors=BLACK, linewidths=0.8, label="Pareto front", zorder=5)
        for rate, distortion, trial in zip(*_points(best), best, strict=True):
            axis.annotate(str(trial.number), (rate, distortion), textcoords="offset points", xytext=(6, 5), fontsize=8, zorder=6)
        across = max(0.0, axis.get_xlim()[0]), axis.get_xlim()[1]
        equal_elbo(axis, across, axis.get_ylim())
        if found.entropy is not None:
            label = f"entropy of the source, {found.entropy:.2f}"
            axis.plot(across, [found.entropy - rate for rate in across], color=BLACK, linestyle="--", linewidth=1, label=label)
        name, elbo = Path(found.settings.corpus.path).name, max(one.outcome.elbo for one in complete if one.outcome)
        axis.set(xlabel=RATE_AXIS, ylabel=DISTORTION_AXIS, title=f"{name}, valid: best ELBO {elbo:.2f} nats (trial {complete[0].number})")
        legend_below(figure)


def _points(trials: list[Trial]) -> tuple[list[float], list[float]]:
    """Rates and distortions."""
    outcomes = [trial.outcome for trial in trials if trial.outcome]
    return [one.rate for one in outcomes], [one.distortion for one in outcomes]
