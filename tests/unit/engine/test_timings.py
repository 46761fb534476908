"""The stopwatch of a run, on a clock of the test's own."""

from __future__ import annotations

import asyncio
from functools import partial

from hypercontainer.contract.answers import Timings
from hypercontainer.engine.timings import Stopwatch, attributes, text

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = 17 * MS

    def __call__(self) -> int:
        return self.now_ns

    def go(self, ms: float) -> None:
        self.now_ns += round(ms * MS)


def test_stages_follow_each_other_and_add_up() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    watch.kind = "cold"
    for name, ms in (("prepare", 1.25), ("vm", 0), ("guest", 50), ("vm", 2)):
        clock.go(ms)
        watch.lap(name)
    measured = watch.timings()
    # What is entered again keeps its place: a clone that failed, and the VM that was booted in its stead.
    assert measured == Timings("cold", {"prepare": 1.25, "vm": 2.0, "guest": 50.0})
    assert list(measured.stages_ms) == ["prepare", "vm", "guest"]
    assert sum(measured.stages_ms.values()) == (clock.now_ns - 17 * MS) / MS
    clock.go(9)
    assert watch.timings() == measured  # what is under way is nobody's yet


def test_what_was_not_started_under_it_has_no_timings() -> None:
    watch = Stopwatch(Clock())
    watch.lap("run")
    assert watch.timings() is None
    assert attributes(watch.timings()) == {}


def test_as_events_have_them() -> None:
    measured = Timings("clone", {"prepare": 1.25, "vm": 52.0, "guest": 0.04})
    assert attributes(measured) == {"vm": "clone", "timings": "prepare=1.2 vm=52.0 guest=0.0"}
    assert text({}) == ""


def test_a_lap_is_the_callback_of_a_future() -> None:
    async def story() -> list[str]:
        clock = Clock()
        watch = Stopwatch(clock)
        watch.kind = "cold"
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(partial(watch.lap, "configure"))
        answer.set_result(None)
        await asyncio.gather(answer)  # which waits for the callbacks that were there before
        measured = watch.timings()
        assert measured is not None
        return list(measured.stages_ms)

    assert asyncio.run(story()) == ["configure"]
