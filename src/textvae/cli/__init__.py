"""The command line: `textvae COMMAND ...`. Every command is a few lines over the public API."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from textvae.heap import collect_seldom, keep_freed_memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default this process's own) and return its exit code: 0, 2 for a user's mistake, or 1."""
    collect_seldom()
    try:
        from textvae.cli.commands import app
        from textvae.cli.mistakes import exit_code
        from textvae.cli.output import notes
    except KeyboardInterrupt:  # what tells of one is not imported yet
        print("textvae: interrupted", file=sys.stderr)
        return 1
    keep_freed_memory()
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    with notes():
        return exit_code(lambda: app(tokens, exit_on_error=False, print_error=False, result_action="return_value"))
