"""Work beside the training, in a thread of its own: no step waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import final


@final
class Background:
    """One piece of work at a time; what goes wrong in it is raised where it is waited for.

    What is waited for is an event of its own: a thread's `join` that Ctrl-C has interrupted takes the thread for ended.
    """

    def __init__(self) -> None:
        self._done: threading.Event | None = None
        self._error: BaseException | None = None
        self._cancelled = False

    def start(self, work: Sequence[Callable[[], None]]) -> None:
        """Do these, in order, none after one that fails. What was begun before has been waited for."""
        assert self._done is None, "one piece of work at a time"
        done = threading.Event()
        thread = threading.Thread(target=self._do, args=(work, done), name="textvae-background")
        self._done = done  # before it starts: Ctrl-C may come as soon as it has
        try:
            thread.start()
        except BaseException as error:
            if thread.ident is None:  # it does nothing: the system gives no thread, or it finds itself cancelled
                self._cancelled, self._done = isinstance(error, KeyboardInterrupt), None
            raise

    def _do(self, work: Sequence[Callable[[], None]], done: threading.Event) -> None:
        try:
            for call in work:
                if self._cancelled:
                    break
                call()
        except BaseException as error:  # raised in the thread that waits
            self._error = error
        finally:
            done.set()

    @property
    def is_over(self) -> bool:
        """Whether something was begun, is done or has failed, and was not waited for yet."""
        return self._done is not None and self._done.is_set()

    def wait(self) -> bool:
        """Wait until it is done; whether there was anything. Raises what the work raised, once."""
        if self._done is None:
            return False
        self._done.wait()
        error, self._done, self._error = self._error, None, None
        if error is not None:
            raise error
        return True

    def settle(self) -> None:
        """`wait`, and not leave before the work has ended, so that nothing is written later: Ctrl-C ends it after the call at hand."""
        while self._done is not None:
            try:
                self.wait()
            except KeyboardInterrupt:
                if self._done is None:  # of the work itself
                    raise
                self._cancelled = True
        if self._cancelled:
            raise KeyboardInterrupt
