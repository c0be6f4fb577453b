"""Halves of surrogate pairs: Python strings can hold them, UTF-8 cannot.

They come from JSON escapes and from command-line arguments that are not UTF-8. Left alone they crash the
first write to a terminal or a file, far from where they came in.
"""

from __future__ import annotations

from collections.abc import Sequence


def mend_surrogates(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines with surrogate pairs joined and lone halves replaced by U+FFFD; the very same object where there are none."""
    try:
        "".join(lines).encode()
    except UnicodeEncodeError:
        return [line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for line in lines]
    return lines
