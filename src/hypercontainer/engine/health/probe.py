"""When a probe's answers count: thresholds without I/O, and the loop that asks.

A verdict changes where enough answers in a row say the same.  ``watch`` asks on a grid of times that is laid when it
begins, so that it does not drift; a moment that an answer took too long for is left out.  ``watch_container`` puts
the three probes together: nothing else is asked before the startup probe has passed.
"""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hypercontainer.contract.probes import Probe
from hypercontainer.engine.health.clock import MONOTONIC, Clock
from hypercontainer.engine.health.result import Result
from hypercontainer.errors import AgentError


class Verdict(enum.Enum):
    UNKNOWN = "unknown"  # too few answers yet
    PASSING = "passing"
    FAILING = "failing"


class ProbeState:
    """One probe of one run of a container."""

    def __init__(self, probe: Probe, verdict: Verdict = Verdict.UNKNOWN) -> None:
        self.verdict = verdict
        self._probe = probe
        self._last: bool | None = None
        self._in_a_row = 0

    def result(self, ok: bool) -> Verdict | None:
        """Takes one answer; the new verdict, where it has changed it."""
        self._in_a_row = self._in_a_row + 1 if ok is self._last else 1
        self._last = ok
        said = Verdict.PASSING if ok else Verdict.FAILING
        threshold = self._probe.success_threshold if ok else self._probe.failure_threshold
        if said is self.verdict or self._in_a_row < threshold:
            return None
        self.verdict = said
        return said


# None: nobody knows (the container is paused, say), which counts for nothing.
Ask = Callable[[], Awaitable[Result | None]]
R = TypeVar("R")


async def ask_again(
    due: Callable[[], float],
    ask: Callable[[], Awaitable[R | None]],
    take: Callable[[R], bool],
    clock: Clock,
) -> None:
    """Asks at the time that ``due`` gives for the next, until ``take`` says False of an answer."""
    while True:
        await clock.sleep(due() - clock.now())
        try:
            answer = await ask()
        except AgentError:
            continue  # a guest that is out of reach says nothing about the container
        if answer is not None and not take(answer):
            return


async def watch(
    probe: Probe,
    ask: Ask,
    on_change: Callable[[Verdict, Result], bool],
    *,
    clock: Clock = MONOTONIC,
    running_for_s: float = 0.0,
    verdict: Verdict = Verdict.UNKNOWN,
) -> None:
    """Asks, first ``initial_delay_s`` after the container's start, until ``on_change`` says False or for ever.

    ``running_for_s``: since that start; ``verdict``: where an earlier hyperd had got to.
    """
    state = ProbeState(probe, verdict)
    period_s = max(1, probe.period_s)
    first = clock.now() + max(0.0, probe.initial_delay_s - running_for_s)
    turn = -1

    def due() -> float:
        nonlocal turn
        turn = max(turn + 1, math.ceil((clock.now() - first) / period_s))
        return first + turn * period_s

    def take(result: Result) -> bool:
        changed = state.result(result.ok)
        return changed is None or on_change(changed, result)

    await ask_again(due, ask, take, clock)


@dataclass(frozen=True, slots=True)
class Probes:
    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None


class Listener(Protocol):
    """Called on the event loop; may not block."""

    def started(self) -> None:
        """Once: the startup probe has passed, or there is none."""

    def ready(self, ready: bool) -> None:
        """At every change; a container is not ready before the first call."""

    def unhealthy(self, kind: str, probe: Probe, detail: str) -> None:
        """Once: ``kind``, "startup" or "liveness", has failed, and the container shall end."""


async def watch_container(
    probes: Probes,
    ask: Callable[[Probe], Awaitable[Result | None]],
    listener: Listener,
    *,
    clock: Clock = MONOTONIC,
    running_for_s: float = 0.0,
    started: bool = False,
    ready: bool = False,
) -> None:
    """From the start of a container's run until it is cancelled, or until nothing is left to ask.

    ``started`` and ``ready``: what an earlier hyperd knew of this run; neither is told again.
    """
    begun = clock.now() - running_for_s
    if probes.startup is not None and not started:
        started_ok = await _passes_startup(probes.startup, ask, listener, clock, running_for_s)
        if not started_ok:
            return
    if not started:
        listener.started()
    async with asyncio.TaskGroup() as group:
        if probes.liveness is not None:
            group.create_task(_watch_liveness(probes.liveness, ask, listener, clock, clock.now() - begun))
        if probes.readiness is not None:
            group.create_task(
                _watch_readiness(probes.readiness, ask, listener, clock, clock.now() - begun, ready=ready)
            )
        elif not ready:
            listener.ready(True)


async def _passes_startup(
    probe: Probe,
    ask: Callable[[Probe], Awaitable[Result | None]],
    listener: Listener,
    clock: Clock,
    running_for_s: float,
) -> bool:
    passed = False

    def decided(verdict: Verdict, result: Result) -> bool:
        nonlocal passed
        passed = verdict is Verdict.PASSING
        if not passed:
            listener.unhealthy("startup", probe, result.detail)
        return False

    await watch(probe, lambda: ask(probe), decided, clock=clock, running_for_s=running_for_s)
    return passed


async def _watch_liveness(
    probe: Probe,
    ask: Callable[[Probe], Awaitable[Result | None]],
    listener: Listener,
    clock: Clock,
    running_for_s: float,
) -> None:
    def changed(verdict: Verdict, result: Result) -> bool:
        if verdict is Verdict.FAILING:
            listener.unhealthy("liveness", probe, result.detail)
        return verdict is not Verdict.FAILING

    await watch(probe, lambda: ask(probe), changed, clock=clock, running_for_s=running_for_s)


async def _watch_readiness(
    probe: Probe,
    ask: Callable[[Probe], Awaitable[Result | None]],
    listener: Listener,
    clock: Clock,
    running_for_s: float,
    *,
    ready: bool,
) -> None:
    told = ready

    def changed(verdict: Verdict, _result: Result) -> bool:
        nonlocal told
        if told is not (verdict is Verdict.PASSING):
            told = verdict is Verdict.PASSING
            listener.ready(told)
        return True

    verdict = Verdict.PASSING if ready else Verdict.UNKNOWN
    await watch(probe, lambda: ask(probe), changed, clock=clock, running_for_s=running_for_s, verdict=verdict)
