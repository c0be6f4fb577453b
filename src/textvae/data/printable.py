"""A string as people see it."""

from __future__ import annotations

CONTROLS = {code: 0x2400 + code for code in (*range(9), *range(10, 32))} | {0x7F: 0x2421}
"""Pictures of the control characters, but for the tab."""


SPACE = "\N{SYMBOL FOR SPACE}"
"""The picture of a space that nobody would see."""


def shown(text: str) -> str:
    """Return a string as people see it: on one line, a control character by its picture, so that it does nothing to a terminal."""
    return text.translate(CONTROLS)


def shown_whole(text: str) -> str:
    """As `shown`, with pictures for the spaces at both ends too: where what is odd of a string may be they."""
    body = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    return shown(f"{SPACE * before}{body}{SPACE * (len(text) - before - len(body))}")
