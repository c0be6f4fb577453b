"""Markdown tables and figures with their spread."""

from __future__ import annotations

from collections.abc import Sequence

MINUS = "−"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is no border."""
    lines = [" | ".join(cell.replace("|", "&#124;") for cell in row) for row in (head, *rows)]
    return "\n".join(["| " + lines[0] + " |", "|" + "---|" * len(head), *(f"| {line} |" for line in lines[1:])]) + "\n"


def number(value: float | None, digits: int = 2, sd: float | None = None) -> str:
    """A figure with a real minus, its standard deviation behind it where there is one; a dash where it is not known."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}".replace("-", MINUS)
    return text if sd is None else f"{text} ± {sd:.{digits}f}"


def numbers(values: Sequence[float], digits: int = 2) -> str:
    """Figures of the rungs, bottom first."""
    return " + ".join(number(value, digits) for value in values) if values else "–"
