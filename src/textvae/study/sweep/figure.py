"""A sweep as a picture: every trial by its rate and its distortion, the Pareto front, lines of equal ELBO."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.errors import ConfigError
from textvae.plots import DISTORTION, RATE, TRUTH, pyplot
from textvae.storage import write_atomically
from textvae.study.sweep.front import front, ranked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from textvae.study.sweep.search import Found

FORMATS = (".png", ".svg", ".pdf")
ISO = "#999999"
"""Lines of equal ELBO."""


def check_figure(path: Path) -> None:
    """Raise `ConfigError` where a figure could not be drawn, before hours are spent on what it would show."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path}: a figure's file ends in {', '.join(FORMATS)}: give it one of these names")
    pyplot()


def front_figure(found: Found, path: Path) -> None:
    """Draw the complete trials of a sweep. Raises `RunError` where the file cannot be written."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
    _draw(axes, found)
    content = io.BytesIO()
    figure.savefig(content, dpi=150, format=path.suffix.lower().removeprefix("."))
    plt.close(figure)
    write_atomically(path, content.getvalue())


def _draw(axes: Axes, found: Found) -> None:
    complete = ranked(found.trials)
    points = [(trial.outcome.rate, trial.outcome.distortion) for trial in complete if trial.outcome]
    best = [(trial.outcome.rate, trial.outcome.distortion, trial.number) for trial in front(found.trials) if trial.outcome]
    low, high = _limits([rate for rate, _ in points]), _limits([distortion for _, distortion in points])
    axes.set(xlim=low, ylim=high, xlabel="rate KL[q‖p], nats a sequence", ylabel="distortion −log p(x|z), nats a sequence")
    _draw_equal_elbo(axes, low, high)
    if found.entropy is not None:
        label = f"entropy of the source, {found.entropy:.2f}"
        axes.plot(low, [found.entropy - rate for rate in low], color=TRUTH, linestyle="--", label=label)
    rates, distortions = zip(*points, strict=True)
    axes.scatter(rates, distortions, s=26, facecolors="none", edgecolors=DISTORTION, label=f"trials ({len(points)})", zorder=3)
    rates, distortions, _ = zip(*best, strict=True)
    axes.step(rates, distortions, where="post", color=RATE, linewidth=1.5, zorder=4)
    axes.scatter(rates, distortions, s=46, color=RATE, edgecolors=TRUTH, linewidths=0.8, label="Pareto front", zorder=5)
    for rate, distortion, number in best:
        axes.annotate(str(number), (rate, distortion), textcoords="offset points", xytext=(6, 5), fontsize=8, zorder=6)
    elbo = complete[0].outcome.elbo if complete[0].outcome else 0.0
    axes.set_title(f"{Path(found.settings.corpus.path).name}, valid: best ELBO {elbo:.2f} nats (trial {complete[0].number})")
    axes.legend(loc="upper right", frameon=True)


def _draw_equal_elbo(axes: Axes, low: tuple[float, float], high: tuple[float, float]) -> None:
    """Lines distortion + rate = constant, named where they leave the picture on the left or at the top."""
    from matplotlib.ticker import MaxNLocator

    for total in MaxNLocator(8).tick_values(low[0] + high[0], low[1] + high[1]):
        axes.plot(low, [total - rate for rate in low], color=ISO, linewidth=0.7, linestyle=":", zorder=1)
        at = (low[0], total - low[0]) if total - low[0] <= high[1] else (total - high[1], high[1])
        if high[0] <= at[1] <= high[1] and low[0] <= at[0] <= low[1]:
            text: dict[str, Any] = {"fontsize": 7, "color": "#666666", "zorder": 2, "clip_on": True}
            axes.annotate(f"ELBO {-total:g}", at, textcoords="offset points", xytext=(3, -9), **text)


def _limits(values: list[float]) -> tuple[float, float]:
    """The ends of an axis, with room at either; at least half a nat long."""
    least, most = min(values), max(values)
    room = max(0.25, 0.08 * (most - least))
    return max(0.0, least - room), most + room
