"""Pictures of a run: what it cost to describe the text over training, and how much of that the latent carried."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.errors import RunError
from textvae.evaluation.collapse import SILENT_RUNG
from textvae.plots.canvas import BLACK, BLUE, GREEN, NATS, ORANGE, PURPLE, SKY, VERMILION, drawing
from textvae.training.metrics import METRICS, MetricsLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RUNGS = (ORANGE, SKY, GREEN, PURPLE, VERMILION)


def training_figure(run: str | Path, entropy: float | None = None, out: str | Path | None = None) -> Path:
    """Draw distortion and rate on valid over the steps of a run; returns the path of the picture (by default a PNG in the run's folder).

    Raises:
        RunError: the run has no metrics yet, or the file cannot be written.
        PackageError: matplotlib is not installed.
    """
    records = MetricsLog(Path(run) / METRICS).read()
    if not records:
        raise RunError(f"{run} has no metrics to draw: train it first")
    path = Path(out) if out else Path(run) / "training.png"
    latent = bool(records[0]["valid"]["rate_per_rung"])
    with drawing([path], (10 if latent else 5.4, 3.6), 1, 1 + latent) as (_, axes):
        _draw_terms(axes[0, 0], records, entropy)
        if latent:
            _draw_rates(axes[0, 1], records)
    return path


def _draw_terms(axes: Axes, records: list[dict[str, Any]], entropy: float | None) -> None:
    """Distortion + rate stacked: their sum is -ELBO, which the source's entropy bounds from below."""
    steps = [record["step"] for record in records]
    distortion = [record["valid"]["distortion"] for record in records]
    rate = [record["valid"]["rate"] for record in records]
    names = ["distortion −log p(x|z)", "rate KL[q‖p]"]
    if len(steps) > 1:
        axes.stackplot(steps, distortion, rate, colors=[BLUE, ORANGE], alpha=0.85, labels=names)
    else:  # a single look spans no area
        for values, below, colour, name in zip((distortion, rate), ([0.0], distortion), (BLUE, ORANGE), names, strict=True):
            axes.bar(steps, values, steps[0] / 10, below, color=colour, alpha=0.85, label=name)
    if entropy is not None:
        axes.axhline(entropy, color=BLACK, linestyle="--", linewidth=1.5, label=f"entropy of the source, {entropy:.2f}")
    total = [d + r for d, r in zip(distortion, rate, strict=True)]
    lowest = total[-1] if entropy is None else entropy
    axes.set(
        xlabel="step",
        ylabel=f"{NATS}, valid",
        title=f"−ELBO = distortion + rate: {total[-1]:.2f} nats at the end",
        xlim=_ends(steps),
        ylim=(0, min(max(total), 3 * lowest)),
    )
    axes.legend(loc="lower center" if len(steps) > 1 else "center left", frameon=True)


def _draw_rates(axes: Axes, records: list[dict[str, Any]]) -> None:
    """The rate of every rung: a collapsed rung lies on the axis."""
    steps = [record["step"] for record in records]
    rungs = len(records[0]["valid"]["rate_per_rung"])
    for i in range(rungs):
        name = "rate" if rungs == 1 else f"rung {i + 1}"
        values = [record["valid"]["rate_per_rung"][i] for record in records]
        axes.plot(steps, values, color=RUNGS[i % len(RUNGS)], linewidth=2, label=name, marker=None if len(steps) > 1 else "o")
    known = [(record["step"], record["valid"]["mutual_information"]) for record in records if "mutual_information" in record["valid"]]
    if known:  # not in the history of older runs
        axes.plot(
            *zip(*known, strict=True),
            color=BLACK,
            linestyle="--",
            linewidth=1.2,
            label="mutual information",
            marker=None if len(steps) > 1 else "o",
        )
    axes.axhline(SILENT_RUNG, color=BLACK, linestyle=":", linewidth=1, label=f"collapse, {SILENT_RUNG}")
    axes.set(
        xlabel="step",
        ylabel=f"{NATS}, valid",
        title="what the latent carries",
        xlim=_ends(steps),
        ylim=(0, None),
    )
    axes.legend(loc="best", frameon=True)


def _ends(steps: list[int]) -> tuple[float, float]:
    """From the first look to the last; around it from the beginning where there was one look only."""
    return (steps[0], steps[-1]) if len(steps) > 1 else (0.0, 1.5 * steps[0])
