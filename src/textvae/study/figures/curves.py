"""Lines of the toy set as curves: what the source and a model draw, what comes back through z, what each z of a plane says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from textvae.api import TextVAE
from textvae.config import require
from textvae.data.corpora import load_source
from textvae.data.sources.sinusoids import LEVELS, POSITIONS
from textvae.data.sources.source import Source
from textvae.plots.canvas import BLACK, BLUE, GREY, NATS, VERMILION
from textvae.study.figures.style import picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIGIT_AXIS = f"digit (0 to {LEVELS - 1})"
POSITION_AXIS = f"position in the line (1 to {POSITIONS})"


def toy_samples(folder: Path, name: str, drawn: Sequence[str], sampled: Sequence[str], model: str) -> None:
    """Lines of the source beside a model's samples (the study's Figure 5), a cell each: laid over each other, digits hide one another.

    What the source can never draw stands out.

    Args:
        folder: of the study.
        name: of the picture.
        drawn: lines of the source `sinusoids`.
        sampled: a model's.
        model: what it is called.
    """
    side = math.isqrt(max(len(drawn), len(sampled), 1) - 1) + 1
    with picture(folder, name, (9.6, 5.2), 1, 2) as (figure, axes):
        for axis, lines, title in zip(axes[0], (drawn, sampled), ("drawn from the source", f"sampled from {model}"), strict=True):
            possible = _fill_cells(axis, lines, side)
            axis.set(title=f"{len(lines)} lines {title}: {possible} of them possible", xticks=[], yticks=[])
            axis.set(xlabel=f"in each cell: {POSITION_AXIS}", ylabel=f"in each cell: {DIGIT_AXIS}")
        _tell_possible(figure, axes[0, 0])


_POSSIBLE: dict[str, Any] = {"color": BLUE, "linewidth": 1.1, "zorder": 2}
_IMPOSSIBLE: dict[str, Any] = {"color": VERMILION, "linewidth": 1.3, "linestyle": (0, (4, 1.5)), "zorder": 3}


def _tell_possible(figure: Figure, axis: Axes) -> None:
    """The legend of what the source can and cannot draw, under the panels."""
    handles = [axis.plot([], [], **look)[0] for look in (_POSSIBLE, _IMPOSSIBLE)]
    figure.legend(handles, ["the source can draw it", "it cannot"], loc="outside lower right", ncols=2)


def possible_lines(lines: Sequence[str]) -> list[bool]:
    """Which lines the source `sinusoids` draws with a probability above 0."""
    return np.isfinite(_sinusoids().log_probability(lines)).tolist()


@cache
def _sinusoids() -> Source:
    """The source, whose areas take a second to measure."""
    return load_source("sinusoids")


def reconstructions(folder: Path, name: str, models: Mapping[str, TextVAE], lines: Sequence[str]) -> None:
    """Lines of the toy set and what comes back of them, greedily from the posterior mean: a row of panels a model, by its label."""
    require(bool(models) and bool(lines), "reconstructions are drawn of at least one model and one line: give both")
    size = (1.35 * len(lines) + 0.9, 1.45 * len(models) + 0.9)
    with picture(folder, name, size, len(models), len(lines), sharex=True, sharey=True) as (figure, axes):
        for row, (label, vae) in zip(axes, models.items(), strict=True):
            found = vae.reconstructions(list(lines))
            for axis, one, line in zip(row, found, lines, strict=True):
                _curve(axis, line, **_GIVEN)
                _curve(axis, one.output, **_BACK)
                axis.set_title(f"D {one.distortion:.1f}  R {one.rate:.1f}", fontsize=8, pad=3)
                _digits_axis(axis)
                axis.set_xticks([1, POSITIONS])
            row[0].set_ylabel(f"{label}\n{DIGIT_AXIS}", fontsize=8)
        handles = [axes[0, 0].plot([], [], **look)[0] for look in (_GIVEN, _BACK)]
        figure.legend(handles, ["line of test", "its reconstruction"], loc="outside upper right", ncols=2)
        figure.supxlabel(f"{POSITION_AXIS};  D distortion at the posterior mean, R rate, {NATS}", fontsize=9, x=0.01, ha="left")


_GIVEN: dict[str, Any] = {"color": BLACK, "linewidth": 0, "marker": "o", "markersize": 3.2, "markerfacecolor": "none", "zorder": 2}
_BACK: dict[str, Any] = {"color": VERMILION, "linewidth": 1.5, "zorder": 3}


def latent_plane(folder: Path, name: str, vae: TextVAE, cells: int = 13) -> None:
    """The most likely line of every z on a grid over a two-dimensional latent, at evenly spaced quantiles of its normal prior.

    Raises `ConfigError` for a model whose latent has not two dimensions in all, or whose prior is not the standard normal.
    """
    shapes = vae.model.latents.shapes
    width = sum(shape.positions * shape.channels for shape in shapes)
    require(len(shapes) == 1 and width == 2, f"a latent plane is drawn of a model with one latent of 2 dimensions: this one has {width}")
    prior = vae.settings.model.latent.prior
    require(prior == "normal", f"a latent plane is drawn at quantiles of a normal prior: this model's is {prior!r}")
    shares = (np.arange(cells) + 0.5) / cells
    at = np.array([NormalDist().inv_cdf(share) for share in shares])
    grid = np.array([(x, y) for y in at for x in at])  # (cells², 2), the first axis fastest
    lines = vae.decode(grid)
    with picture(folder, name, (7.2, 7.6)) as (figure, axes):
        axis = axes[0, 0]
        possible = _fill_cells(axis, lines, cells)
        ticks = range(0, cells, max(1, cells // 6))
        named = [f"{at[i] + 0.0:.2f}\n{shares[i]:.0%}".replace("-", "−") for i in ticks]
        axis.set_xticks(ticks, named)
        axis.set_yticks(ticks, [label.replace("\n", "  ") for label in named])
        axis.set(xlabel="z₁, prior standard deviations, and quantile", ylabel="z₂, prior standard deviations, and quantile")
        axis.set_title(f"the line of 16 digits that each z says: {len(set(lines))} of {len(lines)} differ, {possible} are possible")
        _tell_possible(figure, axis)


def _values(line: str) -> np.ndarray:
    """The digits of a line, (T,), NaN for what is none."""
    return np.array([float(symbol) if symbol in "0123456789" else np.nan for symbol in line])


def _curve(axis: Axes, line: str, **look: Any) -> None:
    axis.plot(np.arange(1, len(line) + 1), _values(line), **look)


def _fill_cells(axis: Axes, lines: Sequence[str], side: int) -> int:
    """Draw a line in each cell of a square, row by row from below; returns how many of them the source can draw."""
    possible = possible_lines(lines)
    for i, (line, fine) in enumerate(zip(lines, possible, strict=True)):
        column, row = i % side, i // side
        across = np.linspace(-0.4, 0.4, POSITIONS)[: len(line)]
        up = 0.72 * _values(line)[: len(across)] / (LEVELS - 1) - 0.36
        axis.plot(column + across, row + up, **(_POSSIBLE if fine else _IMPOSSIBLE))
    axis.set(xlim=(-0.6, side - 0.4), ylim=(-0.6, side - 0.4), aspect="equal")
    axis.grid(False)
    return sum(possible)


def _digits_axis(axis: Axes) -> None:
    axis.set(xlim=(0.5, POSITIONS + 0.5), ylim=(-0.5, LEVELS - 0.5))
    axis.set_yticks(range(0, LEVELS, 3))
    axis.tick_params(color=GREY)
