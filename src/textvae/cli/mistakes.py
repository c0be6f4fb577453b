"""What can go wrong while a command runs, and the exit code it ends with.

0: done. 2: a mistake the user can mend, told in one line on stderr. 1: anything else; a defect of ours keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Callable

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

from textvae.errors import UserError

DONE, DEFECT, MISTAKE = 0, 1, 2


def exit_code(command: Callable[[], object]) -> int:
    """Run a command, tell on stderr what went wrong, and return the exit code."""
    try:
        command()
        sys.stdout.flush()  # what a full disk or a closed pipe has against the last lines is told here, not by the interpreter
    except BrokenPipeError:  # `| head` has read all it wanted
        _drop_output()
    except KeyboardInterrupt as stop:
        return _told(str(stop) or "interrupted", DEFECT)
    except (UserError, CycloptsError) as error:
        return _told(_message(error), MISTAKE)
    except Exception as error:
        mendable = _of_the_machine(error)
        if mendable is None:
            traceback.print_exc()
            return DEFECT
        return _told(mendable, MISTAKE)
    return DONE


def _told(message: str, code: int) -> int:
    print(f"textvae: {' '.join(message.split())}", file=sys.stderr)
    return code


def _message(error: UserError | CycloptsError) -> str:
    """Return the message; of an error in the command line itself, with where to read on."""
    if isinstance(error, UserError):
        return str(error)
    error.verbose = False
    words = ["textvae", *(error.command_chain or ())]
    told = str(error).rstrip()
    if isinstance(error, UnusedCliTokensError):
        more = " ".join(map(shlex.quote, error.unused_tokens or ()))
        told = f"{more}: more than `{' '.join(words)}` takes (a name with spaces stands in quotes)."
    elif isinstance(error, MissingArgumentError):
        told = told.replace("requires an argument", "is missing, or has no value")
    return f"{told} See `{' '.join(words)} --help`."


def _of_the_machine(error: Exception) -> str | None:
    """Return what to do about a disk or memory that ran out, or a name that is too long; None for anything else."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _drop_output()
        return "the disk is full: free some space and run again"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{str(error.filename)[:60]}…: the name is longer than the system allows: choose a shorter one"
    from textvae.training.memory import is_out_of_memory

    if is_out_of_memory(error):
        return "not enough memory: give fewer or shorter lines, fewer --importance-samples, or train a smaller model"
    return None


def _drop_output() -> None:
    """Send what is left in stdout's buffer nowhere, so that the interpreter does not fail on it at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:  # stdout is no file: nothing is left in a buffer
        return
