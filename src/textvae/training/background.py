"""Work beside the training, in a thread of its own: no step waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import final


@final
class Background:
    """One piece of work at a time; what goes wrong in it is raised where it is waited for."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Sequence[Callable[[], None]]) -> None:
        """Do these, in order, none after one that fails. What was begun before has been waited for."""
        assert self._thread is None, "one piece of work at a time"
        self._thread = threading.Thread(target=self._do, args=(work,), name="textvae-background")
        self._thread.start()

    def _do(self, work: Sequence[Callable[[], None]]) -> None:
        try:
            for call in work:
                call()
        except BaseException as error:  # raised in the thread that waits
            self._error = error

    @property
    def is_over(self) -> bool:
        """Whether something was begun, is done or has failed, and was not waited for yet."""
        return self._thread is not None and not self._thread.is_alive()

    def wait(self) -> bool:
        """Wait until it is done; whether there was anything. Raises what the work raised, once."""
        if self._thread is None:
            return False
        self._thread.join()
        error, self._thread, self._error = self._error, None, None
        if error is not None:
            raise error
        return True

    def settle(self) -> None:
        """Wait until it is done, where an error would hide a greater one."""
        if self._thread is not None:
            self._thread.join()
