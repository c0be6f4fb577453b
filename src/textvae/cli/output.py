"""What people see: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from textvae.data.printable import shown
from textvae.errors import is_ours

if TYPE_CHECKING:
    from rich.table import Table

    from textvae.evaluation.bounds import Progress

PIPED_WIDTH = 160
"""Columns of a table that no terminal shows."""


@contextmanager
def notes() -> Iterator[None]:
    """Inside the block each warning of this package is one line `note: ...` on stderr, told once; others stay Python's."""
    told = set[str]()
    pythons = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
    ) -> None:
        if not is_ours(filename):
            pythons(message, category, filename, lineno, file, line)
        elif str(message) not in told:
            told.add(str(message))
            note(str(message))

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? rather than a traceback
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def note(message: str) -> None:
    """Tell the user something on stderr, in one line."""
    print(f"note: {' '.join(message.split())}", file=sys.stderr)


def print_json(data: Any) -> None:
    """Print plain data as JSON, in one piece; where stdout is not UTF-8, other characters escaped rather than lost."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(data, indent=2, ensure_ascii=not utf8))


def print_lines(strings: Iterable[str]) -> None:
    """Print strings, one a line, as they come."""
    for text in strings:
        print(shown(text))


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal, or as what is in it where the output goes elsewhere."""
    from rich.console import Console

    # rich itself takes $COLUMNS where it is set
    Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH).print(table)


def print_columns(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and what they are, in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}".rstrip())


@contextmanager
def progress() -> Iterator[Progress]:
    """Return a function that shows on a terminal's stderr what is being measured, how much is done and how long it takes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=None)
        yield lambda what, done, total: bar.update(task, description=f"measuring {what}", completed=done, total=total)
