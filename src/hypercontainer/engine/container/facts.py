"""What is known of a container, written down as it changes, and waited for."""

from __future__ import annotations

import asyncio
from typing import Any

from hypercontainer.contract.answers import Exit
from hypercontainer.contract.states import ALIVE, State, moved
from hypercontainer.engine.container.ties import Ties
from hypercontainer.engine.health.healthcheck import HEALTHY
from hypercontainer.engine.record import Kept
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import Conflict, Remedy


class Facts:
    """Of one container, whose record nobody else changes.  ``removed`` is set by its owner."""

    def __init__(self, record: Kept[ContainerRecord], ties: Ties) -> None:
        self.removed = asyncio.Event()
        self._kept = record
        self._ties = ties
        self._changed = asyncio.Event()

    @property
    def record(self) -> ContainerRecord:
        return self._kept.value

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def what(self) -> str:
        return f"container {self.record.name}"

    @property
    def alive(self) -> bool:
        return self.record.state in ALIVE

    @property
    def reaches_host(self) -> bool:
        """As of ``Contents``."""
        return self._ties.contents().reaches_host

    @property
    def restarting(self) -> bool:
        return self.record.state is State.RESTARTING

    def remedy(self, method: str, **options: object) -> Remedy:
        """What may be asked of it."""
        return Remedy(f"containers.{method}", self.record.name, options=options)

    def change(self, action: str = "", /, **changes: Any) -> None:
        """Writes down new facts; ``action`` is told to those who follow events."""
        if "state" in changes:
            moved(self.record.state, changes["state"], what=self.what)
        self._kept.change(**changes)
        self._changed.set()
        self._ties.news()
        if action:
            self.tell(action)

    def tell(self, action: str, /, **attributes: str) -> None:
        record = self.record
        told = {**record.labels, "name": record.name, "image": record.image, **attributes}
        self._ties.events.publish("container", action, record.id, **told)

    # ------------------------------------------------------------------------------------- waited for

    async def wait(self, condition: str = "not-running") -> Exit:
        if condition == "removed":
            await self.removed.wait()
        elif condition == "healthy":
            return await self._healthy()
        elif condition == "next-exit":
            run = self.record.run + (0 if self.alive else 1)
            while (self.record.run < run or self.alive) and not self.removed.is_set():
                await self._change()
        else:
            while self.alive or self.restarting:
                await self._change()
        return Exit(self.record.exit_status, self.record.error)

    async def _healthy(self) -> Exit:
        """Conflict where nobody asks for its health, or it ends before."""
        while self.alive or self.restarting:
            health = self.record.health
            if health is None:
                raise Conflict(f"{self.what} has no health check")
            if self.alive and health.status == HEALTHY:
                return Exit(0)
            await self._change()
        raise Conflict(f"{self.what} is not running")

    async def next_run(self, after: int, pods: asyncio.Future[None]) -> bool:
        """Waits for the run that follows that one; False where there will be none.  ``pods`` is done when its pod,
        which might start it, has come to its end."""
        while self.record.run <= after and self.record.state is not State.REMOVING:
            changed = asyncio.ensure_future(self._change())
            if not pods.done():
                await asyncio.wait([changed, pods], return_when=asyncio.FIRST_COMPLETED)
            elif self.alive or self.restarting:
                await asyncio.wait([changed])
            changed.cancel()
            if pods.done() and not (self.alive or self.restarting):
                break
        return self.record.run > after

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
