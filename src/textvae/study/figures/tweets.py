"""A map of tweets: where the posterior means lie, coloured by what anyone can check in the text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textvae.api import TextVAE
from textvae.config import require
from textvae.plots.canvas import BLUE, GREEN, GREY, ORANGE, VERMILION
from textvae.study.figures.style import picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

USER = "@user"

ENDS: dict[str, dict[str, Any]] = {
    "!": {"color": VERMILION, "marker": "^", "s": 18},
    "?": {"color": BLUE, "marker": "s", "s": 14},
    ".": {"color": GREEN, "marker": "o", "s": 14},
    "other": {"color": GREY, "marker": "x", "s": 10, "linewidths": 0.7},
}
USERS: dict[str, dict[str, Any]] = {
    f"has {USER}": {"color": ORANGE, "marker": "D", "s": 14},
    "has none": {"color": GREY, "marker": "x", "s": 10, "linewidths": 0.7},
}

WRITTEN = 24
"""Characters of the longest text that is written on the map."""


def latent_map(folder: Path, name: str, vae: TextVAE, lines: Sequence[str], model: str, points: int = 400, written: int = 45) -> None:
    """Posterior means of lines on the two directions they vary most along (PCA, all rungs together); at some of them what the model
    writes from there, greedily: its own words, no line of the corpus.

    Beside it the same map by whether a line has `@user` and by how it ends, each with the share of lines whose nearest neighbour
    in the whole latent agrees, and that share for neighbours drawn at random.

    Args:
        folder: of the study.
        name: of the picture.
        vae: the model; needs a latent of at least two dimensions.
        lines: of test.
        model: what the model is called.
        points: so many of the lines at most, the first ones, each once.
        written: so many texts at most, where there is room.

    Raises:
        ConfigError: fewer than three different lines, or a latent of fewer than two dimensions.
    """
    chosen = list(dict.fromkeys(line for line in lines if line))[:points]
    require(len(chosen) >= 3, f"a map is drawn of at least 3 different lines: these are {len(chosen)}")
    z = vae.encode(chosen)  # (N, D)
    require(z.shape[1] >= 2, f"a map is drawn of a latent of at least 2 dimensions: {model} has {z.shape[1]}")
    at, shares = principal_plane(z)
    with picture(folder, name, (11.5, 7.2)) as (figure, axes):
        axes[0, 0].remove()
        parts = figure.add_gridspec(2, 2, width_ratios=(2.1, 1))
        large = figure.add_subplot(parts[:, 0])
        small = [figure.add_subplot(parts[i, 1], sharex=large, sharey=large) for i in range(2)]
        dots = large.scatter(*at.T, c=[len(line) for line in chosen], cmap="cividis", s=16, alpha=0.8, linewidths=0)
        figure.colorbar(dots, ax=large, location="bottom", shrink=0.5, pad=0.01, label="length, characters")
        users = [next(iter(USERS)) if USER in line else "has none" for line in chosen]
        ends = [line[-1] if line[-1] in ENDS else "other" for line in chosen]
        _by_kind(small[0], at, users, USERS, z, f"{USER} in it or not")
        _by_kind(small[1], at, ends, ENDS, z, "how it ends")
        across, up = (f"component {i + 1} of z, in units of z: {share:.0%} of the variance" for i, share in enumerate(shares))
        large.set(
            xlabel=across, ylabel=up, title=f"posterior means of {len(chosen)} test lines, {model}; the texts are what it writes from there"
        )
        large.margins(0.08)
        _write(figure, large, at, vae.decode(z), written)


def principal_plane(vectors: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Vectors (N, D) on their first two principal components, (N, 2), and the share of the variance along each."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, scales, directions = np.linalg.svd(centred, full_matrices=False)
    # A direction and its opposite are equally good: take the one whose largest weight is positive.
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]
    variance = scales**2 / max(float((scales**2).sum()), 1e-300)
    return centred @ directions[:2].T, (float(variance[0]), float(variance[1]))


def neighbours_agree(vectors: np.ndarray, kinds: Sequence[str]) -> tuple[float, float]:
    """The share of vectors (N, D) whose nearest other one is of the same kind, and that share expected of another one at random."""
    squares = (vectors.astype(np.float64) ** 2).sum(1)
    distances = squares[:, None] + squares - 2 * vectors.astype(np.float64) @ vectors.T  # (N, N)
    np.fill_diagonal(distances, np.inf)
    of = np.unique(kinds, return_inverse=True)[1]
    counts = np.bincount(of)
    chance = float((counts * (counts - 1)).sum() / (len(of) * (len(of) - 1)))
    return float((of[distances.argmin(1)] == of).mean()), chance


def _by_kind(axis: Axes, at: np.ndarray, kinds: Sequence[str], looks: dict[str, dict[str, Any]], z: np.ndarray, title: str) -> None:
    for kind in reversed(looks):  # the rest first, below the others
        mine = at[[one == kind for one in kinds]]
        axis.scatter(*mine.T, **looks[kind], label=f"{kind} ({len(mine)})")
    agree, chance = neighbours_agree(z, kinds)
    axis.set_title(f"{title}\nnearest neighbour agrees {agree:.0%}, at random {chance:.0%}", fontsize=9)
    axis.legend(loc="best", handletextpad=0.2, borderpad=0.2, frameon=True, framealpha=0.85, edgecolor="none")
    axis.tick_params(labelbottom=False, labelleft=False)


def _write(figure: Any, axis: Axes, at: np.ndarray, lines: Sequence[str], count: int) -> None:
    """Write lines at their points, far ones from each other first, leaving out what would lie on another or outside."""
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()  # settles the axes, so that texts can be measured
    figure.set_layout_engine("none")
    frame = axis.get_window_extent()
    taken: list[Any] = []
    for i in _spread(at, [j for j, line in enumerate(lines) if len(line) <= WRITTEN and line.isascii()]):
        if len(taken) == count:
            break
        for across, up, aligned in ((5, 0, "left"), (-5, 0, "right"), (0, 7, "center"), (0, -7, "center")):
            text = axis.annotate(
                lines[i], tuple(at[i]), textcoords="offset points", xytext=(across, up), ha=aligned, va="center", fontsize=7.5,
                path_effects=[withStroke(linewidth=2.2, foreground="white")], zorder=4,
            )  # fmt: skip
            box = text.get_window_extent().padded(4)
            inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _spread(at: np.ndarray, among: Sequence[int]) -> list[int]:
    """Rows of (N, 2), each as far as can be from those before it; the first is the outermost."""
    if not among:
        return []
    points = at[list(among)]
    next_one = int(np.linalg.norm(points, axis=1).argmax())
    away = np.full(len(points), np.inf)
    order: list[int] = []
    for _ in points:
        order.append(among[next_one])
        away = np.minimum(away, np.linalg.norm(points - points[next_one], axis=1))
        away[next_one] = -1.0  # taken
        next_one = int(away.argmax())
    return order
