"""Looking at a container: what it is, what runs in it, what it uses, what it has written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from hypercontainer.contract.answers import Inspect, Process, Sample
from hypercontainer.engine import times, views
from hypercontainer.engine.container import observe
from hypercontainer.engine.container.observe import Measured
from hypercontainer.engine.container.visits import Visited
from hypercontainer.engine.log.container_log import ContainerLog
from hypercontainer.engine.sandbox.execs import Execs
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.errors import Conflict
from hypercontainer.linux import waiting

FRESH_S = 0.5  # who looks every second sees two readings that differ


@dataclass
class _Reading:
    """``askers``: how many wait for it; when all of them have left it is given up."""

    live: Live
    until: float
    task: asyncio.Future[Measured]
    askers: int = 0
    given_up: bool = False

    def serves(self, live: Live, now: float) -> bool:
        if self.live is not live or self.given_up:
            return False
        return not self.task.done() or (self.task.exception() is None and now < self.until)

    async def taken(self) -> Measured:
        self.askers += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.askers -= 1
            if not self.askers and not self.task.done():
                self.given_up = True
                self.task.cancel()
                await waiting.ended(self.task)


class Looked(Visited):
    execs: Execs
    log: ContainerLog
    _reading: _Reading | None = None  # the last one

    async def inspect(self) -> Inspect:
        return views.inspect(
            self.record,
            self.sandbox.record.value,
            places=self._ties.places,
            execs=self.execs.running(),
        )

    async def top(self) -> list[Process]:
        self._running()
        return await observe.top(self.sandbox.running(), self.id)

    async def stats(self) -> Sample:
        if (measured := await self.measured()) is None:
            raise Conflict(f"{self.what} is not running")
        return measured.sample

    async def measured(self) -> Measured | None:
        """None while it does not run.  Who comes within `FRESH_S` of another is given the same: its guest is not asked
        for each of many who look."""
        if not self.alive or (live := self.sandbox.live) is None:
            return None
        now, last = asyncio.get_running_loop().time(), self._reading
        if last is None or not last.serves(live, now):
            task = asyncio.ensure_future(observe.measured(live, self.record, self.sandbox.record.value))
            last = self._reading = _Reading(live, now + FRESH_S, task)
        return await last.taken()

    def logs(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
        details: bool = False,
    ) -> AsyncIterator[tuple[int, bytes]]:
        """(channel, bytes) in the order of writing; ``follow`` ends with the run that is going on, as `docker logs -f`
        does.  ``details``: in front of each line those of its log driver, which has none, and a blank."""
        self._check_log()
        return self.log.read(
            follow=follow and self.alive,
            since_ns=times.moment_ns(since, field="since"),
            until_ns=times.moment_ns(until, field="until"),
            tail=tail,
            timestamps=timestamps,
            details=details,
        )

    def _check_log(self) -> None:
        if self.record.spec.log.driver == "none":
            raise Conflict(f"{self.what} keeps no log (its log driver is none)")
