"""The mistakes a person can mend, each told in one line: what was wrong, where, and what to do.

The command line turns a `UserError` into exit code 2 and one line on stderr; anything else is a defect
of ours, exits with 1 and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final


class UserError(Exception):
    """A mistake the user can mend. The message is one line: what was wrong, where, and what to do."""


@final
class ConfigError(UserError):
    """A setting or an argument that is unknown, out of range, or at odds with another."""


@final
class CorpusError(UserError):
    """A corpus that is missing, empty, or not readable as lines of text."""


@final
class RunError(UserError):
    """A run folder that is missing, damaged, from a newer schema, or about to be overwritten."""


@final
class TrainingError(UserError):
    """Training that cannot go on: a loss that is not a number, memory or disk that ran out."""


@final
class PackageError(UserError, ImportError):
    """A package that is not installed, or not whole."""


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Inside the block packages of an extra are imported; where one is missing, `PackageError` says what needs it and what to install."""
    try:
        yield
    except ImportError as error:
        raise PackageError(
            f"{what} needs a package that is not installed ({error.name or error}); install the extra: "
            f"pip install '.[{name}]' in textvae's folder"
        ) from error


def is_ours(filename: str) -> bool:
    """Whether a warning that Python places in a file is this package's own: a line for the user, not a library's for its programmer."""
    return Path(filename).is_relative_to(Path(__file__).parent)


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known word, or the known words where none is near."""
    names = sorted(known)
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(got.casefold(), folded, n=1)
    if near:
        return f" Did you mean {folded[near[0]]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
