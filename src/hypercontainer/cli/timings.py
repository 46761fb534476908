"""``--timings``: where the time of a run went, from this process's beginning on.

The stages of this side are measured here, those of the run are hyperd's (docs/api.md, "Timings"); what is left
of the total went by between the two: frames, and waking up.  Loaded only where it is asked for.
"""

from __future__ import annotations

import os
import time

from hypercontainer.cli.session import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Timings:
    """``age_s``: how long ago the first stage began."""

    def __init__(self, age_s: float) -> None:
        self._last_s = time.monotonic() - age_s
        self._stages_ms: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """The time since the last lap was ``name``'s; a stage that is entered again is added to."""
        now_s = time.monotonic()
        self._stages_ms[name] = self._stages_ms.get(name, 0.0) + (now_s - self._last_s) * 1000
        self._last_s = now_s

    def tell(self, answer: Mapping[str, Any] | None) -> None:
        """``answer``: what hyperd says of the run that has just ended, None where it said nothing."""
        if answer is None:
            tell("hyper: no timings: the process goes on, or hyperd is of an older version")
            return
        after_ms = (time.monotonic() - self._last_s) * 1000
        tell(table(str(answer["vm"]), self._stages_ms, answer["stages_ms"], after_ms))


def table(vm: str, own_ms: Mapping[str, float], run_ms: Mapping[str, float], after_ms: float) -> str:
    """``after_ms``: how long the run took, as this side saw it."""
    between_ms = max(
        0.0, after_ms - sum(run_ms.values())
    )  # two processes' clocks are not read at the same moment
    rows = {**own_ms, **run_ms, "between": between_ms, "total": sum(own_ms.values()) + after_ms}
    width = max(map(len, rows))
    lines = [f"  {name:<{width}} {ms:>9.1f}" for name, ms in rows.items()]
    return "\n".join([f"{vm} start, in milliseconds:", *lines])


def process_age_s() -> float:
    """Since this process was forked.

    The kernel tells that moment in ticks of its clock, of 10 ms mostly.  Within the tick it is taken from the time
    that the process has computed, which is its age where nothing held it up.
    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    at_most_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) * tick_s
    return min(max(time.process_time(), at_most_s - tick_s), at_most_s)
