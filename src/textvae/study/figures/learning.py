"""Learning curves of a table's records: distortion and rate on valid over the steps, and the rate of every rung of the ladders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.config import require
from textvae.evaluation.collapse import SILENT_RUNG
from textvae.study.figures.chosen import Record
from textvae.study.figures.style import BLACK, BLUE, COLOURS, GREY, LINES, NATS, ORANGE, hide_rest, panels, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panel = tuple[str, list[Record]]
"""A row, with its variant where that is not `elbo`, and its records: one a seed."""

HEADROOM = 2.2
"""The vertical axis ends at so many times the largest final -ELBO: the first steps, far above, tell nothing."""

TERMS: dict[str, dict[str, Any]] = {
    "distortion": {"color": BLUE, "linestyle": "-"},
    "rate": {"color": ORANGE, "linestyle": "--"},
    "−ELBO": {"color": BLACK, "linestyle": ":"},
}


def learning_curves(folder: Path, name: str, records: Sequence[Record]) -> None:
    """Distortion, rate and their sum on valid: a panel a row, a line a seed; variants other than `elbo` are left out.

    Raises `ConfigError` where there is no such record.
    """
    found = _panels(record for record in records if record["variant"] == "elbo")
    entropy = next((record["test"]["entropy"] for record in records), None)
    rows, columns = _grid(found)
    top = HEADROOM * max(_terms(record)["−ELBO"][-1] for _, group in found for record in group)
    with picture(folder, name, (3.1 * columns + 0.3, 2.1 * rows + 0.7), rows, columns, sharey=True) as (figure, axes):
        for axis, (title, group) in zip(axes.flat, found, strict=False):
            for record in group:
                steps = [point["step"] for point in record["history"]]
                for term, values in _terms(record).items():
                    axis.plot(steps, values, **TERMS[term], linewidth=1.6 / len(group) ** 0.5)
            axis.set(title=title, ylim=(0, top))
            if entropy is not None:
                axis.axhline(entropy, color=GREY, linewidth=0.9, zorder=1)
        handles = [axes[0, 0].plot([], [], **look)[0] for look in TERMS.values()]
        labels = list(TERMS)
        if entropy is not None:
            handles.append(axes[0, 0].plot([], [], color=GREY, linewidth=0.9)[0])
            labels.append(f"entropy of the source, {entropy:.2f}")
        _finish(figure, axes, len(found), handles, labels)


def rungs(folder: Path, name: str, records: Sequence[Record]) -> None:
    """The rate of every rung on valid: a panel a ladder and variant, a line a rung and seed.

    Raises `ConfigError` where no record has more than one rung.
    """
    found = _panels(record for record in records if len(record["history"][-1]["rate_per_rung"]) > 1)
    rows, columns = _grid(found)
    most = max(len(group[0]["history"][-1]["rate_per_rung"]) for _, group in found)
    looks = [{"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)]} for i in range(most)]
    with picture(folder, name, (3.5 * columns + 0.3, 2.3 * rows + 0.7), rows, columns) as (figure, axes):
        for axis, (title, group) in zip(axes.flat, found, strict=False):
            for record in group:
                steps = [point["step"] for point in record["history"]]
                for look, rates in zip(looks, zip(*(point["rate_per_rung"] for point in record["history"]), strict=True), strict=False):
                    axis.plot(steps, rates, **look, linewidth=1.6 / len(group) ** 0.5)
            axis.axhline(SILENT_RUNG, color=GREY, linewidth=0.9)
            axis.set(title=title, ylim=(0, None))
        handles = [axes[0, 0].plot([], [], **look)[0] for look in [*looks, {"color": GREY, "linewidth": 0.9}]]
        names = ["rung 1 (bottom)", *(f"rung {i + 1}" for i in range(1, most))]
        _finish(figure, axes, len(found), handles, [*names, f"collapse, {SILENT_RUNG}"])


def _terms(record: Record) -> dict[str, list[float]]:
    history = record["history"]
    terms = {term: [point[term] for point in history] for term in ("distortion", "rate")}
    return terms | {"−ELBO": [d + r for d, r in zip(terms["distortion"], terms["rate"], strict=True)]}


def _panels(records: Iterable[Record]) -> list[Panel]:
    """Records by row and variant, in the order of their first seed."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["row"] + (f", {record['variant']}" if record["variant"] != "elbo" else ""), []).append(record)
    return list(groups.items())


def _grid(found: Sequence[Panel]) -> tuple[int, int]:
    require(bool(found), "no record has such a history: train the table's rows first")
    return panels(len(found))


def _finish(figure: Any, axes: Any, used: int, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Name the axes on the outside, count steps in thousands, and put one legend above all panels."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    hide_rest(axes, used)
    for axis in axes.flat[:used]:
        _in_thousands(axis, EngFormatter(sep=""), MaxNLocator(5))
    figure.supxlabel("training step", fontsize=9)
    figure.supylabel(f"{NATS}, valid", fontsize=9)
    figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 2 * axes.shape[1]))


def _in_thousands(axis: Axes, formatter: Any, locator: Any) -> None:
    axis.xaxis.set_major_formatter(formatter)
    axis.xaxis.set_major_locator(locator)
    axis.set_xlim(0, None)
