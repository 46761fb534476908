"""A guest that writes where its host has no room: VirtualBox pauses it, and here it is let go on as soon as it can.

See ``qemu.stall``, whose reasons are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.virtualbox.log import Log

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
# What a guest writes again first, it writes within this time.
SETTLED_S = 1.0

log = logging.getLogger(__name__)


class Stall:
    """``go_on`` resumes the VM."""

    def __init__(self, what: str, said: Log, go_on: Callable[[], Awaitable[object]]) -> None:
        self._what = what
        self._said = said
        self._resume = go_on
        self._told: Callable[[bool], None] = lambda full: None
        self._care: asyncio.Task[None] | None = None
        self._free = asyncio.Event()  # nobody has paused it
        self._free.set()

    @property
    def stalled(self) -> bool:
        """It stands still, or goes on and has not yet shown that it does."""
        return self._care is not None

    def tell(self, told: Callable[[bool], None]) -> None:
        """Calls it at once, where the VM stands still, and whenever that changes."""
        self._told = told
        if self.stalled:
            told(True)

    def hold(self, held: bool) -> None:
        """Somebody has paused the VM, and it is not to go on before they let it."""
        if held:
            self._free.clear()
        else:
            self._free.set()

    def look(self) -> None:
        """At what the log says by now."""
        if self._said.told.full and self._care is None:
            log.warning("%s stands still, for there is no room for what its guest writes", self._what)
            self._care = asyncio.create_task(self._go_on(), name="stall")
            self._told(True)

    async def _go_on(self) -> None:
        pause_s = FIRST_PAUSE_S
        while self._said.told.full:
            await asyncio.sleep(pause_s)
            await self._free.wait()
            try:
                await self._resume()
            except HypervisorError as error:
                log.warning("%s still stands still: %s", self._what, error)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SETTLED_S):
                        await self._said.until(lambda: self._said.told.full)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        log.info("%s goes on", self._what)
        self._care = None
        self._told(False)

    async def close(self) -> None:
        if self._care is not None:
            self._care.cancel()
            await asyncio.wait([self._care])
