"""Writing files so that nothing is ever half-written (temporary file, fsync, rename), and where downloads and builds are kept."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from textvae.errors import ConfigError, RunError

NAMED = 32
"""Characters of a file's name that its temporary file is called by: a name may be as long as the system allows."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step; after a crash the path holds the old content or the new, whole.

    A file that was there keeps its permissions, a new one gets what the user's mask allows.

    Raises `RunError` where the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name[:NAMED]}.{token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            if path.exists():
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            _to_disk(file)
        os.replace(temporary, path)
        _names_to_disk(path.parent)
    except BaseException as error:
        with suppress(OSError):  # it was not made
            temporary.unlink()
        if isinstance(error, OSError):
            raise RunError(_cannot_write(path, error)) from error
        raise


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _names_to_disk(folder: Path) -> None:
    """That a file now has its new content's name outlives a power cut too; where folders cannot be opened, the system sees to it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as indented JSON, atomically."""
    write_atomically(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def append_line(path: Path, line: str) -> None:
    """Add one line to a file, whole or not at all. Raises `RunError` as `write_atomically` does."""
    try:
        with open(path, "ab", buffering=0) as file:  # nothing is left in a buffer to be written after a mistake
            before, content = file.tell(), f"{line}\n".encode()
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, "only a part was written")
                _to_disk(file)
            except OSError:
                os.truncate(path, before)
                raise
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


def require_writable(path: Path) -> None:
    """Raise `ConfigError` for a file that could not be written: told before the work whose result it is to hold."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not os.access(path if path.exists() else there, os.W_OK):
        raise ConfigError(f"{path} cannot be written, for {there} does not allow it: choose another place, or change its permissions")


@contextmanager
def alone_in(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Inside the block this process alone writes files of these names into a folder, which is made where there is none.

    What processes that were killed have left half-written of them is removed; so is a folder that was made and stays empty. On a disk
    without locks nobody is held back, and nothing removed.

    Raises:
        RunError: another process writes there, or the folder cannot be made.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(_cannot_write(folder, error)) from error
    handle = os.open(folder, os.O_RDONLY) if hasattr(os, "O_DIRECTORY") else None
    held = False
    try:
        held = handle is not None and _locked(handle, folder)
        if held:  # else they may be those of a process that writes now
            begun = "|".join(re.escape(name[:NAMED]) for name in names)
            for path in folder.iterdir():
                if re.fullmatch(rf"\.({begun})\.[0-9a-f]{{8}}", path.name):
                    path.unlink(missing_ok=True)
        yield
    finally:
        if made and held:
            with suppress(OSError):  # it holds something now
                folder.rmdir()
        if handle is not None:
            os.close(handle)


def _locked(handle: int, folder: Path) -> bool:
    """Whether this process holds an open folder from now on; not on a disk without locks. Raises `RunError` where another one does."""
    try:
        lock(handle, wait=False)
    except BlockingIOError:
        raise RunError(f"another process is at work in {folder}: wait for it, or choose another folder with --out") from None
    except RunError:
        return False
    return True


def _cannot_write(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: the disk is full; what stood there before is untouched: free some space and go on"
    there = next((folder for folder in path.parents if folder.exists()), path.parent)
    return f"{path} cannot be written, for {there} does not allow it ({error.strerror}): choose another place, or change its permissions"


def cache_folder() -> Path:
    """Return $TEXTVAE_CACHE, or `textvae` in the user's cache folder ($XDG_CACHE_HOME, ~/.cache)."""
    own = os.environ.get("TEXTVAE_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "textvae"
