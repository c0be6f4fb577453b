"""The pictures of a report, as SVG: how runs learned, and how each divides what the text costs into distortion and rate."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from textvae.evaluation.familiar import source_of
from textvae.plots.canvas import COLOURS, GREY, NATS, drawing, legend_below
from textvae.plots.plane import DISTORTION_AXIS, RATE_AXIS, equal_elbo
from textvae.plots.training import training_figure
from textvae.report.content import Told
from textvae.report.standing import Group

LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "P", "X", "v")

HEADROOM = 1.6
"""A picture of -ELBO ends at so many times the least: the first steps, far above, tell nothing."""


def look(i: int) -> dict[str, Any]:
    """The colour, line and marker of the i-th run, the same in every picture of a report."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i // len(COLOURS) % len(LINES)], "marker": MARKERS[i % len(MARKERS)]}


def curves(runs: Sequence[Told]) -> list[str]:
    """-ELBO and rate on valid over the steps: a picture a corpus that several runs with a history were trained on, a line a run."""
    by: dict[Hashable, list[tuple[int, Told]]] = {}
    for i, run in enumerate(runs):
        if run.history:
            by.setdefault(source_of(run.settings.corpus), []).append((i, run))
    return [_curves(shown) for shown in by.values() if len(shown) > 1]


def _curves(shown: Sequence[tuple[int, Told]]) -> str:
    with _svg() as (path, text):
        with drawing([path], (10, 4), 1, 2) as (figure, axes):
            for i, run in shown:
                steps = [line["step"] for line in run.history]
                style = {**look(i), "label": run.name, "markersize": 3.5, "markevery": max(1, len(steps) // 8)}
                axes[0, 0].plot(steps, [-line["valid"]["elbo"] for line in run.history], **style)
                axes[0, 1].plot(steps, [line["valid"]["rate"] for line in run.history], **style)
            least = min(-line["valid"]["elbo"] for _, run in shown for line in run.history)
            entropy = next((run.entropy for _, run in shown if run.entropy is not None), None)
            if entropy is not None:
                axes[0, 0].axhline(entropy, color=GREY, linewidth=0.9, label=f"entropy of the source, {entropy:.2f}")
            top = max(HEADROOM * least, *(-1.03 * run.history[-1]["valid"]["elbo"] for _, run in shown))  # every run's end is seen
            axes[0, 0].set(title="what a line costs in all, −ELBO", ylim=(0.97 * min(least, entropy or least), top))
            axes[0, 1].set(title="what the latent carries, the rate", ylim=(0, None))
            for axis in axes.flat:
                axis.set(xlabel="step", ylabel=f"{NATS}, valid")
            legend_below(figure)
        return text()


def planes(runs: Sequence[Told], groups: Sequence[Group]) -> list[str]:
    """Distortion against rate, a picture a group of runs that compare: over the lines that all of them read whole."""
    return [_plane(runs, group) for group in groups if group.best is not None]


def _plane(runs: Sequence[Told], group: Group) -> str:
    bounds = [(runs[i].measured.bounds, rows) for i, rows in zip(group.members, group.rows, strict=True)]
    points = [(float(one.rates[rows].sum(1).mean()), float(one.distortion[rows].mean())) for one, rows in bounds]
    with _svg() as (path, text):
        with drawing([path], (6.4, 4.2)) as (figure, axes):
            axis = axes[0, 0]
            for i, (rate, distortion) in zip(group.members, points, strict=True):
                axis.plot([rate], [distortion], **{**look(i), "linestyle": "none"}, markersize=7, label=runs[i].name)
            rates, distortions = zip(*points, strict=True)
            right, low, high = _ends(rates, distortions)
            equal_elbo(axis, (-0.03 * right, right), (low, high))
            axis.set(xlabel=RATE_AXIS, ylabel=DISTORTION_AXIS)
            legend_below(figure)
        return text()


def _ends(rates: Sequence[float], distortions: Sequence[float]) -> tuple[float, float, float]:
    """Where the axes end: the rate from 0 to beyond the largest, the distortions with room around them."""
    room = max(0.15 * (max(distortions) - min(distortions)), 0.03 * max(distortions), 0.1)
    return max(1.0, 1.2 * max(rates)), min(distortions) - room, max(distortions) + room


def training(run: Told) -> str:
    """Distortion and rate of one run over its training, stacked, and the rate of every rung; empty where it has no history."""
    if not run.history:
        return ""
    with _svg() as (path, text):
        training_figure(run.folder, run.entropy, path)
        return text()


@contextmanager
def _svg() -> Iterator[tuple[Path, Callable[[], str]]]:
    """A file to draw into, and what reads it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.svg"
        yield path, lambda: path.read_text(encoding="utf-8")
