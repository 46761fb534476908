"""Looking at a container: what it is, what runs in it, what it uses, what it has written."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypercontainer.contract.answers import Inspect, Process, Sample
from hypercontainer.engine import times, views
from hypercontainer.engine.container import observe
from hypercontainer.engine.container.observe import Measured
from hypercontainer.engine.container.visits import Visited
from hypercontainer.engine.log.container_log import ContainerLog
from hypercontainer.engine.sandbox.execs import Execs
from hypercontainer.errors import Conflict


class Looked(Visited):
    execs: Execs
    log: ContainerLog

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
        """None while it does not run."""
        if not self.alive or self.sandbox.live is None:
            return None
        return await observe.measured(self.sandbox.live, self.record, self.sandbox.record.value)

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
