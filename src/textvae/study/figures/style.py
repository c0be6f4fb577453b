"""The one style of the study's pictures. Whatever is told apart by colour is told apart by its marker or its line as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.plots.canvas import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, drawing

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

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


FORMATS = (".png", ".svg")


@contextmanager
def picture(folder: Path, name: str, size: tuple[float, float], rows: int = 1, columns: int = 1, **layout: Any) -> Iterator[Any]:
    """Open a picture of the study, written as `figures/NAME.png` and `.svg` of its folder; more as `drawing`."""
    with drawing(paths(folder, name), size, rows, columns, **layout) as opened:
        yield opened


def paths(folder: Path, name: str) -> list[Path]:
    """The files of a picture."""
    return [folder / "figures" / f"{name}{suffix}" for suffix in FORMATS]


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The look of each row by its name, the same in every picture: the architecture's colour, the latent's marker."""
    return {name: _look(name) for name in dict.fromkeys(names)}


def _look(name: str) -> dict[str, Any]:
    family = max((family for family in FAMILIES if f"{name}-".startswith(f"{family}-")), key=len, default=None)
    if family is None:
        return {"color": GREY, "marker": "*"}
    return {"color": FAMILIES[family], "marker": KINDS.get(name.removeprefix(family).removeprefix("-"), "*")}


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
