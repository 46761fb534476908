"""Where the time of a run goes: consecutive stages, each from the end of the one before it.

The stages of a run never overlap, so their sum is the time from the stopwatch's making to its last lap.
They are, in this order (docs/api.md, "Timings"): prepare, vm, guest, configure, root, process, run, end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from hypercontainer.contract.answers import Exit, Timings


class Stopwatch:
    """``kind``: how the VM came to be ("cold", "clone", "warm", or "shared" where it ran already), set by whoever
    starts it; "" where it was not started under this watch, which then has nothing to tell.  ``clock_ns`` never goes
    back."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.kind = ""
        self._clock_ns = clock_ns
        self._last_ns = clock_ns()
        self._stages_ns: dict[str, int] = {}

    def lap(self, name: str, _: object = None) -> None:
        """The time since the last lap was ``name``'s; a stage that is entered again is added to.  With the name
        bound it is the callback of a future that ends the stage."""
        now_ns = self._clock_ns()
        self._stages_ns[name] = self._stages_ns.get(name, 0) + now_ns - self._last_ns
        self._last_ns = now_ns

    def timings(self) -> Timings | None:
        """What has been measured so far."""
        if not self.kind:
            return None
        return Timings(self.kind, {name: round(ns / 1e6, 3) for name, ns in self._stages_ns.items()})


def attributes(timings: Timings | None) -> dict[str, str]:
    """As an event has them; none where there is nothing to tell."""
    return {} if timings is None else {"vm": timings.vm, "timings": text(timings.stages_ms)}


def text(stages_ms: Mapping[str, float]) -> str:
    """ "prepare=1.2 vm=52.0": milliseconds."""
    return " ".join(f"{name}={ms:.1f}" for name, ms in stages_ms.items())


def timed(result: Exit, stopwatch: Stopwatch, tell: Callable[..., None]) -> Exit:
    """``result`` with where the run's time went, which is told to those who follow events too."""
    stopwatch.lap("end")
    measured = stopwatch.timings()
    if measured is not None:
        tell("timings", **attributes(measured))
    return msgspec.structs.replace(result, timings=measured)
