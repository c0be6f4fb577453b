"""A string as people see it."""

from __future__ import annotations

CONTROLS = {code: 0x2400 + code for code in (*range(9), *range(10, 32))} | {0x7F: 0x2421}
"""Pictures of the control characters, but for the tab."""


def shown(text: str) -> str:
    """Return a string as people see it: on one line, a control character by its picture, so that it does nothing to a terminal."""
    return text.translate(CONTROLS)
