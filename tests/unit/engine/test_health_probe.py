"""Thresholds, times and the order of probes; nothing here waits for real time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.contract.probes import Probe, TcpConnect
from hypercontainer.engine.health.probe import Probes, ProbeState, Verdict, watch, watch_container
from hypercontainer.engine.health.result import Result
from hypercontainer.errors import AgentError
from virtual_clock import VirtualClock

CHECK = TcpConnect(port=80)
GOOD, BAD = Result(True, "fine"), Result(False, "no")


def probe(**times: int) -> Probe:
    return Probe(check=CHECK, **times)


def test_thresholds() -> None:
    state = ProbeState(probe(success_threshold=2, failure_threshold=3))
    told = [state.result(ok) for ok in (True, True, True, False, False, True, False, False, False, False)]
    assert told == [None, Verdict.PASSING, None, None, None, None, None, None, Verdict.FAILING, None]


def test_a_first_failure_counts_only_at_its_threshold() -> None:
    state = ProbeState(probe(failure_threshold=1))
    assert state.verdict is Verdict.UNKNOWN
    assert state.result(False) is Verdict.FAILING
    assert state.result(True) is Verdict.PASSING


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_a_verdict_needs_its_number_in_a_row(answers: list[bool], good: int, bad: int) -> None:
    state = ProbeState(probe(success_threshold=good, failure_threshold=bad))
    for count, answer in enumerate(answers, 1):
        changed = state.result(answer)
        threshold = good if answer else bad
        tail = answers[max(0, count - threshold) : count]
        enough = len(tail) == threshold and all(one is answer for one in tail)
        wanted = Verdict.PASSING if answer else Verdict.FAILING
        assert (state.verdict is wanted) or not enough
        if changed is not None:
            assert enough and changed is wanted is state.verdict


class Container:
    """A container whose answers a test decides; keeps what it was asked and what was told of it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.answers: dict[int, Result | None] = {}
        self.lasts: dict[int, float] = {}
        self.asked: list[tuple[float, int]] = []
        self.told: list[tuple[float, str]] = []

    async def ask(self, what: Probe) -> Result | None:
        assert isinstance(what.check, TcpConnect)
        port = what.check.port
        self.asked.append((self.clock.now(), port))
        await self.clock.sleep(self.lasts.get(port, 0))
        return self.answers.get(port, GOOD)

    def times(self, port: int) -> list[float]:
        return [time for time, asked in self.asked if asked == port]

    def started(self) -> None:
        self.told.append((self.clock.now(), "started"))

    def ready(self, ready: bool) -> None:
        self.told.append((self.clock.now(), "ready" if ready else "not ready"))

    def unhealthy(self, kind: str, probe: Probe, detail: str) -> None:
        self.told.append((self.clock.now(), f"{kind}: {detail}"))


Script = Callable[[VirtualClock, Container], Awaitable[None]]


def watched(probes: Probes, script: Script, *, running_for_s: float = 0.0, known: bool = False) -> Container:
    async def main() -> Container:
        clock = VirtualClock()
        container = Container(clock)
        task = asyncio.create_task(
            watch_container(
                probes,
                container.ask,
                container,
                clock=clock,
                running_for_s=running_for_s,
                started=known,
                ready=known,
            )
        )
        await script(clock, container)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return container

    return asyncio.run(main())


def passing(seconds: float) -> Script:
    async def script(clock: VirtualClock, _container: Container) -> None:
        await clock.advance(seconds)

    return script


STARTUP = Probe(check=TcpConnect(port=1), period_s=1, failure_threshold=5)
LIVENESS = Probe(check=TcpConnect(port=2), initial_delay_s=4, period_s=10, failure_threshold=3)
READINESS = Probe(check=TcpConnect(port=3), period_s=5, failure_threshold=1)


def test_asked_at_its_times() -> None:
    container = watched(Probes(liveness=LIVENESS), passing(30))
    assert container.times(2) == [4, 14, 24]
    assert container.told == [(0, "started"), (0, "ready")]


def test_a_slow_answer_does_not_shift_the_times() -> None:
    async def script(clock: VirtualClock, container: Container) -> None:
        container.lasts[3] = 0.75
        await clock.advance(11)
        container.lasts[3] = 7
        await clock.advance(20)

    container = watched(Probes(readiness=READINESS), script)
    assert container.times(3) == [0, 5, 10, 15, 25]


def test_another_hyperd_goes_on() -> None:
    container = watched(Probes(STARTUP, LIVENESS, READINESS), passing(6), running_for_s=3, known=True)
    assert container.times(1) == []
    assert container.times(2) == [1]
    assert container.told == []


def test_startup_holds_the_others_back() -> None:
    async def script(clock: VirtualClock, container: Container) -> None:
        container.answers[1] = BAD
        await clock.advance(2.5)
        container.answers[1] = GOOD
        await clock.advance(10)

    container = watched(Probes(STARTUP, LIVENESS, READINESS), script)
    assert container.times(1) == [0, 1, 2, 3]
    assert container.times(2) == [4]  # four seconds after the container's start
    assert container.times(3) == [3, 8]
    assert container.told == [(3, "started"), (3, "ready")]


def test_startup_that_never_passes_ends_it_once() -> None:
    async def script(clock: VirtualClock, container: Container) -> None:
        container.answers[1] = BAD
        await clock.advance(100)

    container = watched(Probes(STARTUP, LIVENESS, READINESS), script)
    assert container.told == [(4, "startup: no")]
    assert len(container.asked) == 5


def test_liveness_ends_it_once_and_readiness_goes_on() -> None:
    async def script(clock: VirtualClock, container: Container) -> None:
        container.answers[2] = BAD
        await clock.advance(40)

    container = watched(Probes(liveness=LIVENESS, readiness=READINESS), script)
    assert container.told == [(0, "started"), (0, "ready"), (24, "liveness: no")]
    assert container.times(2) == [4, 14, 24]
    assert container.times(3)[-1] == 40


def test_readiness_comes_and_goes() -> None:
    async def script(clock: VirtualClock, container: Container) -> None:
        container.answers[3] = BAD
        await clock.advance(6)
        container.answers[3] = GOOD
        await clock.advance(5)
        container.answers[3] = BAD
        await clock.advance(5)

    container = watched(Probes(readiness=READINESS), script)
    assert container.told == [(0, "started"), (10, "ready"), (15, "not ready")]


def test_nobody_knows() -> None:
    async def script(clock: VirtualClock, container: Container) -> None:
        container.answers[2] = None
        await clock.advance(100)

    container = watched(Probes(liveness=LIVENESS), script)
    assert len(container.times(2)) == 10
    assert container.told == [(0, "started"), (0, "ready")]


def test_a_lost_guest_is_no_failure() -> None:
    async def main() -> None:
        clock = VirtualClock()

        async def ask() -> Result:
            raise AgentError("the guest is gone")

        def told(_verdict: Verdict, _result: Result) -> bool:
            pytest.fail("a verdict")

        task = asyncio.create_task(watch(probe(failure_threshold=1), ask, told, clock=clock))
        await clock.advance(100)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
