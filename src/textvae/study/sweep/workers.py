"""Which processes of a sweep are alive. Each holds a lock on a file of its own: the kernel lets go of it however the process dies.

No heartbeat has to be written or waited for, and no process number is taken for another's. Several machines see each other
where their shared file system knows locks, as NFS on Linux does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final
from uuid import uuid4

from textvae.errors import ConfigError, RunError
from textvae.storage import lock


@final
class Workers:
    """The processes that share a sweep's file, this one among them while the block lasts."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.folder = Path(f"{storage}.workers")
        self.name = uuid4().hex
        self._own = -1

    def __enter__(self) -> Workers:
        with self.alone():
            self.folder.mkdir(exist_ok=True)
            self._own = os.open(self.folder / self.name, os.O_RDWR | os.O_CREAT)
            lock(self._own)
        return self

    def __exit__(self, *_: object) -> None:
        with self.alone():
            os.close(self._own)
            (self.folder / self.name).unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process of the sweep is in such a block."""
        with self.storage.open("rb+") as file:
            try:
                lock(file.fileno())
            except RunError as error:
                raise ConfigError(f"{self.storage}: {error}, for --storage") from None
            yield

    def alive(self, name: str) -> bool:
        """Whether the process of a name still runs; the file of one that does not is removed. To be asked `alone`."""
        path = self.folder / name
        if name == self.name:
            return True
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            lock(handle, wait=False)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        path.unlink()
        return False
