"""Cancellation of work that blocks in other threads.

An operation takes any ``threading.Event``.  A plain one is looked at between reads and during waits; a
`Cancellation` also runs callbacks the moment it is set, which shut down the sockets that threads block on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from hypercontainer.errors import Cancelled


class Cancellation(threading.Event):
    """An event that calls back, once, in the thread that sets it."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next_key = 0

    def set(self) -> None:
        with self._lock:
            super().set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """While entered, setting this calls ``callback``; at once, when it is set already."""
        with self._lock:
            key = self._next_key
            self._next_key += 1
            late = self.is_set()
            if not late:
                self._callbacks[key] = callback
        if late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)


class Guard:
    """One operation's view of being cancelled: by its caller, or by the failure of one of its own threads."""

    def __init__(self, what: str, cancelled: threading.Event | None = None) -> None:
        self._what = what
        self._outer = cancelled
        self._inner = Cancellation()

    @contextmanager
    def active(self) -> Iterator[Guard]:
        """While entered, the caller's `Cancellation` reaches this operation's sockets."""
        if isinstance(self._outer, Cancellation):
            with self._outer.calling(self.abort):
                yield self
        else:
            yield self

    def abort(self) -> None:
        """Stop what the other threads of this operation do."""
        self._inner.set()

    @property
    def stopped(self) -> bool:
        return self._inner.is_set() or (self._outer is not None and self._outer.is_set())

    def check(self) -> None:
        if self.stopped:
            raise Cancelled(f"{self._what}: cancelled")

    def wait(self, seconds: float) -> None:
        """Let time pass; Cancelled as soon as the operation is."""
        plain = self._outer if self._outer is not None and not isinstance(self._outer, Cancellation) else None
        (plain or self._inner).wait(seconds)
        self.check()

    def calling(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """While entered, being cancelled or aborted calls ``callback``."""
        return self._inner.calling(callback)
