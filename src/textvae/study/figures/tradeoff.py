"""What a table says in one picture: how much the text costs given z against how much z says, ours beside the printed rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from textvae.config import require
from textvae.plots.canvas import BLACK, GREY, NATS
from textvae.plots.plane import DISTORTION_AXIS, RATE_AXIS, equal_elbo
from textvae.study.figures.chosen import Record
from textvae.study.figures.style import looks, picture, plain_ticks
from textvae.study.jobs import run_name
from textvae.study.printed import Printed
from textvae.study.summaries import best_without_latent
from textvae.study.tables import FREE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]
"""Rate and distortion, nats a sequence."""

PRINTED: dict[str, Any] = {"s": 52, "color": "#DDDDDD", "edgecolors": BLACK, "linewidths": 0.7, "zorder": 4}

RATES = 1.4
"""The gap is drawn for rates up to so many times the source's entropy."""

NEAR = 1.12
"""What is drawn in large: runs whose −ELBO is at most so many times the least."""

CURVE = 3
"""Variants of a row from which a line is drawn through them."""


def gap_against_rate(folder: Path, name: str, records: Sequence[Record]) -> None:
    """How far the ELBO stays below log p*(x), against what z says: a point a record, a line through several variants of a row.

    Raises `ConfigError` where no record has a gap: the corpus's source is not known.
    """
    known = [record for record in records if record["test"]["gap"] is not None]
    require(bool(known), "no record has a gap to the entropy: train rows of the toy set first")
    entropy = known[0]["test"]["entropy"]
    with picture(folder, name, (8.0, 4.4)) as (figure, axes):
        axis = axes[0, 0]
        for row, look in looks([record["row"] for record in known]).items():
            group = [record for record in known if record["row"] == row]
            alike = [record for record in group if record["variant"].startswith(FREE)]  # of one length, which the best run is not
            if len({record["variant"] for record in alike}) >= CURVE:
                axis.plot(*_curve(alike), color=look["color"], linewidth=1.2, zorder=2)
            shown = [one for one in group if one["test"]["rate"] <= RATES * entropy]
            for filled in (True, False):
                points = [(one["test"]["rate"], one["test"]["gap"]) for one in shown if (one["variant"] == "elbo") == filled]
                if points:
                    axis.scatter(*zip(*points, strict=True), **_marker(look, filled), label=row if filled else None)
        axis.axvline(entropy, color=GREY, linestyle="--", linewidth=1)
        axis.annotate(
            f"entropy of the source,\n{entropy:.2f} nats",
            xy=(entropy, 0),
            xycoords=("data", "axes fraction"),
            xytext=(4, 6),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
        axis.set_yscale("log")
        plain_ticks(axis)
        gaps = [record["test"]["gap"] for record in known if record["test"]["rate"] <= RATES * entropy] or [1.0]
        axis.set_ylim(min(0.05, 0.8 * max(min(gaps), 0.001)), max(1.0, 1.25 * max(gaps)))
        axis.set(xlim=(0, RATES * entropy), xlabel=RATE_AXIS, ylabel=f"gap: log p*(x) − ELBO, {NATS} (log scale)")
        beyond = {run_name(record["row"], record["variant"]) for record in known if record["test"]["rate"] > RATES * entropy}
        axis.set_title("; ".join(["what the ELBO loses, on test", *(f"{run} lies further right" for run in sorted(beyond))]))
        steps = sorted({record["history"][-1]["step"] for record in known if record["variant"].startswith(FREE)})
        line = f"\nthe line: {', '.join(f'{count:,}' for count in steps)} steps each" if steps else ""
        figure.legend(loc="outside right upper", title=f"full: best ELBO\nhollow: other variants{line}", title_fontsize=8)


def _curve(group: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Means over seeds of rate and gap of each variant, by rate."""
    ordered = sorted(group, key=lambda record: record["variant"])
    parts = [list(part) for _, part in groupby(ordered, key=lambda record: record["variant"])]
    points = sorted(tuple(mean(record["test"][name] for record in part) for name in ("rate", "gap")) for part in parts)
    rates, gaps = zip(*points, strict=True)
    return list(rates), list(gaps)


def rate_distortion(folder: Path, name: str, title: str, records: Sequence[Record], printed: Mapping[str, Printed]) -> None:
    """All rows of a table and the printed ones by rate and distortion, with lines of equal ELBO: the whole plane, and ours in large.

    What lies below the entropy's line no model reaches; what lies above the line of `lm`, the decoder without a latent, costs
    more than no latent at all.

    Raises `ConfigError` without records.
    """
    require(bool(records), "no record of this table: train its rows first")
    look = looks([*printed, *(record["row"] for record in records)])
    ours = _means(records)
    known = {row: (one.rate, one.distortion) for row, one in printed.items()}
    with picture(folder, name, (10.4, 5.0), 1, 2) as (figure, axes):
        whole, near = axes[0]
        everything = [*ours.values(), *known.values()]
        equal_elbo(whole, (0.0, 1.06 * max(rate for rate, _ in everything)), (0.0, 1.12 * max(d for _, d in everything)))
        least = min(sum(point) for point in ours.values())
        close = [point for point in ours.values() if sum(point) <= NEAR * least]
        equal_elbo(near, *_around(close))
        for axis, shown in ((whole, list(ours.values())), (near, close)):
            _limits(axis, records)
            for (row, variant), point in ours.items():
                if point in shown:
                    axis.scatter(*point, **_marker(look[row], variant == "elbo"))
        for row, point in known.items():
            end = _nearest_answer(point, [(variant, at) for (name_of, variant), at in ours.items() if name_of == row])
            if end is not None:
                whole.plot(*zip(point, end, strict=True), color=GREY, linewidth=0.6, zorder=2)
            whole.scatter(*point, marker=look[row]["marker"], **PRINTED)
        whole.set(title=f"{title}, printed and ours" if known else title, xlabel=RATE_AXIS, ylabel=DISTORTION_AXIS)
        near.set(title=f"ours within {NEAR - 1:.0%} of the best ELBO, on test", xlabel=RATE_AXIS, ylabel=DISTORTION_AXIS)
        handles = [near.scatter([], [], **_marker(one, True)) for one in look.values()]
        labels, note = list(look), "full: best ELBO; hollow: other variants"
        if known:
            handles.append(near.scatter([], [], marker="o", **PRINTED))
            labels, note = [*labels, "printed (same markers)"], f"{note}; a line joins a printed row to ours"
        lines, names = near.get_legend_handles_labels()
        figure.legend([*handles, *lines], [*labels, *names], loc="outside lower center", ncols=5, title=note, title_fontsize=8)


def _nearest_answer(printed: Point, ours: Sequence[tuple[str, Point]]) -> Point | None:
    """Which of a row's variants stands against its printed point: the best ELBO, unless only another has less of both terms."""
    if not ours:
        return None
    ordered = sorted(ours, key=lambda one: one[0] != "elbo")
    below = [at for _, at in ordered if at[0] < printed[0] and at[1] < printed[1]]
    return below[0] if below else ordered[0][1]


def _means(records: Sequence[Record]) -> dict[tuple[str, str], Point]:
    """Means over seeds of each row and variant."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["row"], record["variant"]), []).append(record["test"])
    return {key: (mean(t["rate"] for t in tests), mean(t["distortion"] for t in tests)) for key, tests in groups.items()}


def _limits(axis: Axes, records: Sequence[Record]) -> None:
    """The entropy of the source, below which nothing lies, and the cost of the decoder without a latent."""
    across = np.array(axis.get_xlim())
    entropy = records[0]["test"]["entropy"]
    if entropy is not None:
        axis.fill_between(across, entropy - across, axis.get_ylim()[0], color="#EDEDED")
        axis.plot(across, entropy - across, color=BLACK, linestyle="--", linewidth=1, label=f"entropy of the source, {entropy:.2f}")
    without = best_without_latent(records)
    if without is not None:
        cost = without["test"]["distortion"]
        axis.plot(across, cost - across, color=BLACK, linestyle="-.", linewidth=1, label=f"lm, no latent, {cost:.2f}")


def _around(points: Sequence[Point]) -> tuple[Point, Point]:
    """Limits around points, at least two nats wide."""

    def limits(values: Sequence[float]) -> Point:
        room = max(1.0 - (max(values) - min(values)) / 2, 0.12 * (max(values) - min(values)), 0.3)
        return max(0.0, min(values) - room), max(values) + room

    return limits([rate for rate, _ in points]), limits([distortion for _, distortion in points])


def _marker(look: Mapping[str, Any], filled: bool) -> dict[str, Any]:
    face = look["color"] if filled else "white"
    return {
        "marker": look["marker"],
        "s": 40,
        "facecolors": face,
        "edgecolors": look["color"],
        "linewidths": 1.3,
        "zorder": 5,
        "clip_on": False,
    }
