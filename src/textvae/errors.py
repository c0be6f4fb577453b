"""The mistakes a person can mend, each told in one line: what was wrong, where, and what to do.

The command line turns a `UserError` into exit code 2 and one line on stderr; anything else is a defect
of ours, exits with 1 and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import final


class UserError(Exception):
    """A mistake the user can mend. The message is one line: what was wrong, where, and what to do."""


@final
class ConfigError(UserError):
    """A setting that is unknown, out of range, or at odds with another."""


@final
class CorpusError(UserError):
    """A corpus that is missing, empty, or not readable as lines of text."""


@final
class RunError(UserError):
    """A run folder that is missing, damaged, from a newer schema, or about to be overwritten."""


@final
class TrainingError(UserError):
    """Training that cannot go on: a loss that is not a number, memory or disk that ran out."""


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known word, or the known words where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
