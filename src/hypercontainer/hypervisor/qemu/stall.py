"""A guest that writes where its host has no room: QEMU stops it, and here it is let go on as soon as it can.

Told of an error, a guest would make its file systems read-only for good.  Nobody tells when a disk has room again, so
the VM is let go on after ever longer pauses: what it could not write is tried again then, and stops it where it fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.qemu.qmp import Event, Qmp, QmpDisconnected

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
# What a guest writes again first, it writes within this time.
SETTLED_S = 1.0
STOPPED = "io-error"  # QEMU's run state

log = logging.getLogger(__name__)


class Stall:
    """Needs every event of a ``Qmp``, and that client once there is one (``watch``)."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._qmp: Qmp | None = None
        self._told: Callable[[bool], None] = lambda full: None
        self._stopped = asyncio.Event()
        self._free = asyncio.Event()  # nobody has paused it
        self._free.set()
        self._care: asyncio.Task[None] | None = None

    @property
    def stalled(self) -> bool:
        """It stands still, or goes on and has not yet shown that it does."""
        return self._care is not None

    @property
    def stands_still(self) -> bool:
        """QEMU is to be told to go on, and will be from here as soon as nobody holds the VM."""
        return self._stopped.is_set()

    def watch(self, qmp: Qmp) -> None:
        self._qmp = qmp
        if self._stopped.is_set():
            self._begin()

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

    def on_event(self, event: Event) -> None:
        if event.name == "BLOCK_IO_ERROR" and event.data.get("action") == "stop":
            self.found(str(event.data.get("node-name")), str(event.data.get("reason")))

    def found(self, disk: str, reason: str) -> None:
        """It has stopped."""
        if not self._stopped.is_set() and not self.stalled:
            log.warning(
                "%s stands still, for there is no room for what its guest writes: %s: %s",
                self._what,
                disk,
                reason,
            )
        self._stopped.set()
        self._begin()

    def _begin(self) -> None:
        if self._qmp is not None and self._care is None:
            self._care = asyncio.create_task(self._go_on(self._qmp), name="stall")
            self._told(True)

    async def _go_on(self, qmp: Qmp) -> None:
        pause_s = FIRST_PAUSE_S
        with contextlib.suppress(QmpDisconnected):  # it has ended
            while self._stopped.is_set():
                await asyncio.sleep(pause_s)
                await self._free.wait()
                await self._try(qmp)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            log.info("%s goes on", self._what)
        self._care = None
        self._told(False)

    async def _try(self, qmp: Qmp) -> None:
        self._stopped.clear()
        try:
            await qmp.execute("cont")
        except QmpDisconnected:
            raise
        except HypervisorError as error:  # refused, or not in time
            log.warning("%s still stands still: %s", self._what, error)
            self._stopped.set()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S):
                await self._stopped.wait()

    async def close(self) -> None:
        if self._care is not None:
            self._care.cancel()
            await asyncio.wait([self._care])
