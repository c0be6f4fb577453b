"""Learning curves of a table's records: distortion and rate on valid over the steps, and the rate of every rung of the ladders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from textvae.config import require
from textvae.evaluation.collapse import SILENT_RUNG
from textvae.plots.canvas import BLACK, BLUE, COLOURS, GREY, NATS, ORANGE
from textvae.study.figures.chosen import Record
from textvae.study.figures.style import LINES, hide_rest, in_thousands, looks, panels, picture, plain_ticks
from textvae.study.tables import LONGER

Panel = tuple[str, list[Record]]
"""A row, with its variant where that is not `elbo`, and its records: one a seed."""

HEADROOM = 2.2
"""The vertical axis ends at so many times the largest final -ELBO: the first steps, far above, tell nothing."""

TERMS: dict[str, dict[str, Any]] = {
    "distortion": {"color": BLUE, "linestyle": "-"},
    "rate": {"color": ORANGE, "linestyle": "--"},
    "−ELBO": {"color": BLACK, "linestyle": ":"},
}


ABOVE = 1.25
"""The panel of all rows' −ELBO ends at so many times the least."""

COLLAPSE: dict[str, Any] = {"color": GREY, "linewidth": 0.9}
FREE_NATS: dict[str, Any] = {"color": BLACK, "linewidth": 0.8, "linestyle": (0, (1, 2))}


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


def elbo_curves(folder: Path, name: str, records: Sequence[Record]) -> None:
    """−ELBO on valid of all rows, and of their runs that were trained for longer, in one panel: a line a seed.

    Where the source's entropy is known, what is above it, on a logarithmic axis; else from just below the best to a quarter above.

    Raises `ConfigError` where there is no such record.
    """
    found = [record for record in records if record["variant"] in ("elbo", LONGER)]
    require(bool(found), "no record has such a history: train the table's rows first")
    entropy, last = found[0]["test"]["entropy"], {id(record): _terms(record)["−ELBO"][-1] for record in found}
    lowest = min(last.values())
    shown = [record for record in found if entropy is not None or last[id(record)] <= ABOVE * lowest]
    far = {f"{record['row']} ends at {last[id(record)]:.1f}" for record in found if record not in shown}
    look = looks(record["row"] for record in shown)
    with picture(folder, name, (8.0, 4.4)) as (figure, axes):
        axis = axes[0, 0]
        for record in shown:
            steps = [point["step"] for point in record["history"]]
            values = [value - (entropy or 0.0) for value in _terms(record)["−ELBO"]]
            line: Any = "-" if record["variant"] == "elbo" else (0, (4, 1.5))
            axis.plot(steps, values, **look[record["row"]], linestyle=line, linewidth=1.2, markersize=4, markevery=4)
        if entropy is None:
            axis.set(ylim=(0.99 * lowest, ABOVE * lowest), ylabel=f"−ELBO, {NATS}, valid")
            axis.set_title("; ".join(["what the text costs in all", *sorted(far)]))
        else:
            axis.set(yscale="log", ylabel=f"−ELBO − entropy, {NATS}, valid (log scale)")
            axis.set_title(f"what the text costs above the source's entropy of {entropy:.2f} nats")
            plain_ticks(axis)
        axis.set_xlabel("training step")
        handles = [axis.plot([], [], **one, markersize=4)[0] for one in look.values()]
        note = f"dashed: {LONGER}" if any(record["variant"] == LONGER for record in shown) else None
        figure.legend(handles, list(look), loc="outside right upper", title=note, title_fontsize=8)
        in_thousands(axis)


def rungs(folder: Path, name: str, records: Sequence[Record]) -> None:
    """The rate of every rung on valid: a panel a ladder and variant, a line a rung and seed, and what each rung has for nothing.

    A panel ends at twice the largest rate of the second half: the first steps, before the rate is charged, are far above.

    Raises `ConfigError` where no record has more than one rung.
    """
    found = _panels(record for record in records if len(record["history"][-1]["rate_per_rung"]) > 1)
    rows, columns = _grid(found)
    most = max(len(group[0]["history"][-1]["rate_per_rung"]) for _, group in found)
    styles = [{"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)]} for i in range(most)]
    with picture(folder, name, (3.5 * columns + 0.3, 2.3 * rows + 0.7), rows, columns) as (figure, axes):
        for axis, (title, group) in zip(axes.flat, found, strict=False):
            for record in group:
                steps = [point["step"] for point in record["history"]]
                for look, rates in zip(styles, zip(*_rates(record), strict=True), strict=False):
                    axis.plot(steps, rates, **look, linewidth=1.6 / len(group) ** 0.5)
            axis.axhline(SILENT_RUNG, **COLLAPSE)
            objective = group[0]["objective"]
            if objective["free_bits"] and objective["free_bits_per"] == "rung":
                axis.axhline(objective["free_bits"], **FREE_NATS)
            later = [rates for record in group for rates in _rates(record)[len(record["history"]) // 2 :]]
            axis.set(title=title, ylim=(0, 2 * max(map(max, later))))
        handles = [axes[0, 0].plot([], [], **look)[0] for look in [*styles, FREE_NATS, COLLAPSE]]
        names = ["rung 1 (bottom)", *(f"rung {i + 1}" for i in range(1, most))]
        _finish(figure, axes, len(found), handles, [*names, "free nats a rung", f"collapse, {SILENT_RUNG}"])


def _terms(record: Record) -> dict[str, list[float]]:
    history = record["history"]
    terms = {term: [point[term] for point in history] for term in ("distortion", "rate")}
    return terms | {"−ELBO": [d + r for d, r in zip(terms["distortion"], terms["rate"], strict=True)]}


def _rates(record: Record) -> list[list[float]]:
    """The rate of every rung at each look."""
    return [point["rate_per_rung"] for point in record["history"]]


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
    hide_rest(axes, used)
    for axis in axes.flat[:used]:
        in_thousands(axis)
    figure.supxlabel("training step", fontsize=9)
    figure.supylabel(f"{NATS}, valid", fontsize=9)
    figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 2 * axes.shape[1]))
