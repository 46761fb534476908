"""Plugs devices into a running QEMU's slots, and out of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from hypercontainer.errors import HypervisorError, NotFound, Unavailable
from hypercontainer.hypervisor.qemu.argv import slot_id
from hypercontainer.hypervisor.qemu.machines import Bus
from hypercontainer.hypervisor.qemu.qmp import Event, Qmp, QmpError

ASKED_AGAIN_S = 1.0


class Slots:
    """Needs every event of its ``Qmp``; ``bus``: of its VM."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._unplugs: dict[str, asyncio.Future[bool]] = {}

    def on_event(self, event: Event) -> None:
        if event.name in ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"):
            waiter = self._unplugs.get(str(event.data.get("device")))
            if waiter is not None and not waiter.done():
                waiter.set_result(event.name == "DEVICE_DELETED")

    async def plug(self, qmp: Qmp, device: Mapping[str, object], count: int, what: str) -> None:
        """Into the first slot of so many that takes it: QEMU knows best which are free.

        A slot has one place, 0; left to itself, QEMU 7.2 would use another, where no guest looks.
        """
        if count == 0:
            raise Unavailable(f"{what}: this VM was started without slots for more")
        numbers = range(1, count + 1)
        slots: list[dict[str, object]] = [{"bus": slot_id(number), "addr": "0x0"} for number in numbers]
        for slot in (places := slots if self.bus.slots else [{}]):
            try:
                await qmp.execute("device_add", {**device, **slot})
            except QmpError as error:
                if slot is places[-1]:
                    hint = f"is one of the {count} slots free?"
                    raise Unavailable(f"{what}: {error.description}", hint=hint) from error
            else:
                return

    async def unplug(self, qmp: Qmp, device: str, timeout_s: float, what: str) -> None:
        """Returns once the guest has given the device of this name up."""
        gone = self._unplugs[device] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                deleted = await self._given_up(qmp, device, gone)
        except QmpError as error:
            if error.kind == "DeviceNotFound":
                raise NotFound(f"no {what} is attached") from error
            raise
        except TimeoutError:
            raise HypervisorError(f"the guest did not give up {what} within {timeout_s:g} s") from None
        finally:
            del self._unplugs[device]
        if not deleted:
            raise HypervisorError(f"the guest refused to give up {what}")

    async def _given_up(self, qmp: Qmp, device: str, gone: asyncio.Future[bool]) -> bool:
        """A guest that is still taking the device in does not hear that it is to give it up: it is asked again."""
        while True:
            try:
                await qmp.execute("device_del", {"id": device})
            except QmpError as error:
                if not gone.done() and "in the process of unplug" not in error.description:
                    raise
            await asyncio.wait([gone], timeout=ASKED_AGAIN_S)
            if gone.done():
                return gone.result()
