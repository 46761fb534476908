"""The fabric of networks, and the one thread that changes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypercontainer.engine.network.carried import Watch
from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.network.parts import Fabric

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Maker:
    """``make`` loads what fabrics are made with, and makes one that is found in ``folder``."""

    folder: Path
    make: Callable[[], Fabric]


class Worker:
    """Owner of the fabric, which is made when one is wanted first.  ``maker`` None: hyperd makes none here, because of
    ``why``.  ``opening`` fills one that was not open."""

    def __init__(self, maker: Maker | None, why: str, opening: Callable[[Fabric], Awaitable[None]]) -> None:
        self._maker, self.why, self._fill = maker, why, opening
        self._fabric: Fabric | None = None
        self._thread = ThreadPoolExecutor(1, "networks")
        self._opening = asyncio.Lock()
        self._releasing: set[Future[None]] = set()
        self._watch = Watch(self._mend)

    @property
    def makes(self) -> bool:
        return self._maker is not None

    @property
    def made(self) -> Fabric | None:
        return self._fabric

    async def ready(self) -> Fabric:
        """The fabric, which is there.  Unavailable, with the reason."""
        if self._maker is None:
            raise Unavailable(f"there are no networks here: {self.why}", hint="the network 'user' is there")
        async with self._opening:
            if self._fabric is None:
                self._fabric = await self.do(self._maker.make)
            if not self._fabric.is_open:
                await self._fill(self._fabric)
                self._watch.follow(self._fabric.carrier)
        return self._fabric

    async def _mend(self) -> None:
        log.error("the process that carries the networks' way out was killed: it is made anew")
        try:
            await self.ready()
        except HyperError as error:
            log.error("the networks have no way out: %s", error)

    async def do(self, call: Callable[[], T]) -> T:
        """What was begun is ended."""
        try:
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, call))
        except OSError as error:
            raise Unavailable(f"networks: {error.strerror or error}") from error

    def release(self, call: Callable[[], None]) -> None:
        """Nobody waits for it but those who want what it frees (``settled``)."""
        work = self._thread.submit(call)
        self._releasing.add(work)
        work.add_done_callback(self._releasing.discard)

    async def settled(self) -> None:
        """What was released is free."""
        while self._releasing:
            await asyncio.gather(*map(asyncio.wrap_future, self._releasing), return_exceptions=True)

    async def close(self, *, used: bool) -> None:
        """``used``: somebody still is in it, so that it is left to the next hyperd."""
        await self._watch.close()
        if self._fabric is None and self._maker is not None and self._maker.folder.exists():
            self._fabric = await self.do(self._maker.make)  # an earlier hyperd's is there
        if self._fabric is not None:
            with contextlib.suppress(HyperError):
                await self.do(self._fabric.close if used else self._fabric.dissolve)
        self._thread.shutdown()
