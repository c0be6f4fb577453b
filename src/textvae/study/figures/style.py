"""The one style of the study's pictures. Whatever is told apart by colour is told apart by its marker or its line as well."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.plots import pyplot
from textvae.storage import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8C8C8C"
"""Okabe and Ito's colours without their yellow, which is lost on white, and a grey for what stands behind."""

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
FAMILIES = {
    "rnn": BLUE,
    "cnn": ORANGE,
    "hybrid": GREEN,
    "ladder": VERMILION,
    "ladder-cnn": PURPLE,
    "ladder-rnn": SKY,
    "lm": BLACK,
}
"""The colour of a row's architecture, by what its name begins with."""

KINDS = {"dense": "o", "map": "s", "3": "^", "5": "D", "dense-mixture": "P", "": "X"}
"""The marker of its latent, by what its name ends with."""

LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))

NATS = "nats a sequence"
RATE_AXIS = f"rate KL[q‖p], {NATS}"
DISTORTION_AXIS = f"distortion −log p(x|z), {NATS}"

EQUAL_ELBO: dict[str, Any] = {"color": "#B4B4B4", "linewidth": 0.8, "linestyle": ":", "zorder": 1}

FORMATS = (".png", ".svg")

STYLE: dict[str, Any] = {
    "figure.dpi": 150,  # that of the files: a text's width depends on it
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.parse_math": False,  # a tweet's dollars are no formula
    "svg.hashsalt": "textvae",  # the same picture is the same file
}


@contextmanager
def picture(folder: Path, name: str, size: tuple[float, float], rows: int = 1, columns: int = 1, **layout: Any) -> Iterator[Any]:
    """Open a picture of the study, written as `figures/NAME.png` and `.svg` of its folder; more as `drawing`."""
    with drawing(paths(folder, name), size, rows, columns, **layout) as opened:
        yield opened


@contextmanager
def drawing(files: Sequence[Path], size: tuple[float, float], rows: int = 1, columns: int = 1, **layout: Any) -> Iterator[Any]:
    """Open a picture, and write it to files where it is drawn without a mistake.

    Args:
        files: .png (150 dots an inch), .svg or .pdf.
        size: width and height, inches.
        rows: of panels.
        columns: of panels.
        layout: more for `pyplot.subplots`, such as `sharey=True`.

    Yields the figure and its axes, an array (rows, columns).

    Raises:
        ConfigError: matplotlib is not installed.
        RunError: a file cannot be written.
    """
    plt = pyplot()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **layout)
        try:
            yield figure, axes
            figure.draw_without_rendering()  # lays it out, once for all files
            figure.set_layout_engine("none")
            for path in files:
                write_atomically(path, _rendered(figure, path.suffix))
        finally:
            plt.close(figure)


def paths(folder: Path, name: str) -> list[Path]:
    """The files of a picture."""
    return [folder / "figures" / f"{name}{suffix}" for suffix in FORMATS]


def _rendered(figure: Figure, suffix: str) -> bytes:
    content = io.BytesIO()
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
    figure.savefig(content, format=suffix.removeprefix("."), dpi="figure", metadata=undated)
    return content.getvalue()


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The look of each row by its name, the same in every picture: the architecture's colour, the latent's marker."""
    return {name: _look(name) for name in dict.fromkeys(names)}


def _look(name: str) -> dict[str, Any]:
    family = max((family for family in FAMILIES if f"{name}-".startswith(f"{family}-")), key=len, default=None)
    if family is None:
        return {"color": GREY, "marker": "*"}
    return {"color": FAMILIES[family], "marker": KINDS.get(name.removeprefix(family).removeprefix("-"), "*")}


def equal_elbo(axis: Axes, across: tuple[float, float], up: tuple[float, float]) -> None:
    """Set the limits of a plane of distortion against rate, and draw lines of equal ELBO, each named where it enters the picture."""
    from matplotlib.ticker import MaxNLocator

    axis.set(xlim=across, ylim=up)
    axis.grid(False)
    axis.plot([], [], **EQUAL_ELBO, label="equal ELBO, named")
    for total in MaxNLocator(9).tick_values(across[0] + up[0], across[1] + up[1]):
        axis.plot(across, [total - rate for rate in across], **EQUAL_ELBO)
        at = (across[0], total - across[0]) if total - across[0] <= up[1] else (total - up[1], up[1])
        if across[0] <= at[0] < 0.95 * across[1] and up[0] < at[1] <= up[1]:  # a name has room only so far to the right
            axis.annotate(
                f"{-total:g}".replace("-", "−"),
                at,
                textcoords="offset points",
                xytext=(3, -8),
                fontsize=7,
                color="#777777",
                zorder=1,
                annotation_clip=True,
            )


def panels(count: int, columns: int = 3) -> tuple[int, int]:
    """Rows and columns that hold so many panels."""
    columns = min(columns, count)
    return -(-count // columns), columns


def hide_rest(axes: np.ndarray, used: int) -> None:
    """Take away the panels of a grid that hold nothing."""
    for empty in axes.flat[used:]:
        empty.remove()


def in_thousands(axis: Axes) -> None:
    """Name steps on the horizontal axis as 2k, 4k …, from 0."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_xlim(0, None)


def plain_ticks(axis: Axes) -> None:
    """0.1, 0.2, 0.5, 1, 2 … on a logarithmic vertical axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())
