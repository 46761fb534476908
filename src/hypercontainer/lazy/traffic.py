"""Who may use the way to the registry: what somebody waits for first, and the rest when nobody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypercontainer.image.cancel import Guard

QUIET_S = 0.3  # after the last that somebody waited for: more of it is likely


class Traffic:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._urgent = 0
        self._last = time.monotonic()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        with self._changed:
            self._urgent += 1
        try:
            yield
        finally:
            with self._changed:
                self._urgent -= 1
                self._last = time.monotonic()
                self._changed.notify_all()

    def give_way(self, guard: Guard) -> None:
        """Returns when nothing is urgent, and nothing was for a moment."""
        with guard.calling(self._wake), self._changed:
            while True:
                guard.check()
                rest = self._last + QUIET_S - time.monotonic()
                if not self._urgent and rest <= 0:
                    return
                self._changed.wait(None if self._urgent else rest)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
