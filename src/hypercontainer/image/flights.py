"""Sharing of downloads between the threads of one process.

Whoever asks first for a blob flies it; who asks while it flies is a passenger: sees the same progress and
waits for the landing.  When the pilot fails or is cancelled, one of its passengers takes over with its own
source and credentials, from where the bytes ended; so no pull fails because of another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from hypercontainer.image.cancel import Guard

Report = Callable[[str, int], None]  # status, bytes so far


class _Flight:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.landed = False
        self.succeeded = False
        self.state: tuple[str, int] = ("waiting", 0)

    def report(self, status: str, current: int) -> None:
        with self.changed:
            self.state = (status, current)
            self.changed.notify_all()

    def wake(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def land(self, succeeded: bool) -> None:
        with self.changed:
            self.landed, self.succeeded = True, succeeded
            self.changed.notify_all()


class Flights:
    """The downloads under way, by digest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}

    def run(self, digest: str, work: Callable[[Report], None], report: Report, guard: Guard) -> None:
        """Have ``work`` done for ``digest``, by this thread or by another one that is at it already.

        ``report`` is called in this thread.  Raises what this thread's own ``work`` raises.
        """
        while True:
            guard.check()
            with self._lock:
                flight = self._flights.get(digest)
                pilot = flight is None
                if flight is None:
                    flight = self._flights[digest] = _Flight()
            if pilot:
                self._fly(digest, flight, work, report)
                return
            if self._ride(flight, report, guard):
                return

    def _fly(self, digest: str, flight: _Flight, work: Callable[[Report], None], report: Report) -> None:
        def both(status: str, current: int) -> None:
            flight.report(status, current)
            report(status, current)

        succeeded = False
        try:
            work(both)
            succeeded = True
        finally:
            with self._lock:
                del self._flights[digest]
            flight.land(succeeded)

    @staticmethod
    def _ride(flight: _Flight, report: Report, guard: Guard) -> bool:
        seen = None
        with guard.calling(flight.wake):
            while True:
                with flight.changed:
                    while not flight.landed and flight.state == seen and not guard.stopped:
                        flight.changed.wait()
                    landed, succeeded, seen = flight.landed, flight.succeeded, flight.state
                guard.check()
                if landed:
                    return succeeded
                report(*seen)
