"""Saves a running QEMU's devices and loads them into another: migration, to and from a descriptor.

Guest memory that is shared does not travel with it (``x-ignore-shared``): it is in its file already.  A clone has a
private mapping of that file, so it reads on where the saved VM stopped, and writes for itself alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.qemu.qmp import Event, QmpClient

TIMEOUT_S = 30.0
_NAME = "state"
_CAPABILITIES = {
    "capabilities": [
        {"capability": "x-ignore-shared", "state": True},
        {"capability": "events", "state": True},
    ]
}
_ENDS = {"completed": True, "failed": False, "cancelled": False}


class Migration:
    """One migration's end; needs every event of its ``QmpClient``."""

    def __init__(self) -> None:
        self._ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def on_event(self, event: Event) -> None:
        done = _ENDS.get(str(event.data.get("status"))) if event.name == "MIGRATION" else None
        if done is not None and not self._ended.done():
            self._ended.set_result(done)

    async def save(self, qmp: QmpClient, fd: int) -> None:
        """Stops the guest and writes its devices to ``fd``."""
        await qmp.execute("stop")
        await self._migrate(qmp, "migrate", fd, "save")

    async def load(self, qmp: QmpClient, fd: int) -> None:
        """Reads devices from ``fd``, whose offset is nobody else's, in a QEMU that waits for them; it stays paused."""
        await self._migrate(qmp, "migrate-incoming", fd, "load")

    async def _migrate(self, qmp: QmpClient, command: str, fd: int, what: str) -> None:
        await qmp.execute("migrate-set-capabilities", _CAPABILITIES)
        await qmp.execute("getfd", {"fdname": _NAME}, fds=[fd])
        await qmp.execute(command, {"uri": f"fd:{_NAME}"})
        closed: asyncio.Future[None] = asyncio.ensure_future(qmp.wait_closed())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                waits: set[asyncio.Future[Any]] = {self._ended, closed}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise HypervisorError(f"QEMU did not {what} the VM within {TIMEOUT_S:g} s") from None
        finally:
            closed.cancel()
        if not self._ended.done():
            raise HypervisorError(f"QEMU ended while it should {what} the VM")
        if not self._ended.result():
            answer = await qmp.execute("query-migrate")
            reason = answer.get("error-desc") if isinstance(answer, Mapping) else None
            raise HypervisorError(f"QEMU could not {what} the VM: {reason or 'it gives no reason'}")


def own_offset(fd: int) -> int:
    """The same file from its beginning; the caller closes it."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
