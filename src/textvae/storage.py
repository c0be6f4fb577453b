"""Writing files so that nothing is ever half-written (temporary file, fsync, rename), and where downloads and builds are kept."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from textvae.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step; after a crash the path holds the old content or the new, whole.

    Raises `RunError` where the disk is full or the folder cannot be written.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise RunError(_cannot_write(path, error)) from error
        raise


def write_json(path: Path, data: Any) -> None:
    """Write plain data as indented JSON, atomically."""
    write_atomically(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def append_line(path: Path, line: str) -> None:
    """Add one line to a file."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise RunError(_cannot_write(path, error)) from error


def lock(handle: int, wait: bool = True) -> None:
    """Hold an open file for this process alone, until it is closed; the system lets go of it however the process dies.

    Raises:
        BlockingIOError: another process holds it, and it is not waited for.
        RunError: files cannot be locked here.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except (ImportError, OSError) as error:
        raise RunError(f"files cannot be locked here ({error}): use another disk") from None


def _cannot_write(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: the disk is full; what stood there before is untouched: free some space and run again (training with --resume)"
    there = next((folder for folder in path.parents if folder.exists()), path.parent)
    return f"{path} cannot be written, for {there} does not allow it ({error.strerror}): choose another --out, or change its permissions"


def cache_folder() -> Path:
    """Return $TEXTVAE_CACHE, or `textvae` in the user's cache folder ($XDG_CACHE_HOME, ~/.cache)."""
    own = os.environ.get("TEXTVAE_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "textvae"
