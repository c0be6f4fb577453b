"""What every picture is drawn on: its colours, its type, its files, which are whole or not there."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.errors import extra
from textvae.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8C8C8C"
"""Okabe and Ito's colours without their yellow, which is lost on white, and a grey for what stands behind."""

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
"""In the order in which lines of one picture take them."""

NATS = "nats a sequence"
"""The unit on every axis of a cost."""

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


def pyplot() -> Any:
    """matplotlib.pyplot, drawing to files only; raises `PackageError` where matplotlib is not installed."""
    with extra("plots", "a picture"):
        import matplotlib as mpl
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


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
        PackageError: matplotlib is not installed.
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


def legend_below(figure: Figure) -> None:
    """The names of all that is drawn, under the panels, where they lie on nothing: in as many columns as have room side by side."""
    names = {name: handle for axis in figure.axes for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    longest = max(map(len, names))
    columns = int(figure.get_figwidth() / (0.5 + 0.062 * longest))  # inches: a sample of the line, and a letter of the legend's size
    figure.legend(list(names.values()), list(names), loc="outside lower center", ncols=max(1, min(4, columns)))


def _rendered(figure: Figure, suffix: str) -> bytes:
    content = io.BytesIO()
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
    figure.savefig(content, format=suffix.removeprefix("."), dpi="figure", metadata=undated)
    return content.getvalue()
