"""Plugs network interfaces, which are taps, into a running QEMU."""

from __future__ import annotations

import contextlib

from hypercontainer.errors import Conflict
from hypercontainer.hypervisor import nics
from hypercontainer.hypervisor.qemu.argv import nic_device, nic_id
from hypercontainer.hypervisor.qemu.qmp import Qmp, QmpError
from hypercontainer.hypervisor.qemu.slots import Slots
from hypercontainer.hypervisor.spec import Nic, Tap


async def attach(qmp: Qmp, slots: Slots, nic: Nic, tap: Tap, count: int) -> None:
    """Raises ``Conflict`` where the address is taken; a failure takes back what it has done."""
    name = _backend(nic.mac)
    if await _is_there(qmp, nic_id(nic.mac)):
        raise Conflict(f"network interface {nic.mac} is attached already")
    with contextlib.ExitStack() as fds:
        fd = nics.opened(tap, fds)
        async with contextlib.AsyncExitStack() as undo:
            await qmp.execute("getfd", {"fdname": name}, fds=[fd])
            try:
                await qmp.execute("netdev_add", {"type": "tap", "id": name, "fd": name, "vhost": False})
            except QmpError:
                with contextlib.suppress(QmpError):  # it may have taken it
                    await qmp.execute("closefd", {"fdname": name})
                raise
            undo.push_async_callback(qmp.execute, "netdev_del", {"id": name})
            await slots.plug(qmp, nic_device(nic, name, slots.bus), count, f"network interface {nic.mac}")
            undo.pop_all()


async def detach(qmp: Qmp, slots: Slots, mac: str, timeout_s: float) -> None:
    await slots.unplug(qmp, nic_id(mac), timeout_s, f"network interface {mac}")
    await qmp.execute("netdev_del", {"id": _backend(mac)})


def _backend(mac: str) -> str:
    return f"tap-{nic_id(mac)}"


async def _is_there(qmp: Qmp, device: str) -> bool:
    try:
        await qmp.execute("qom-get", {"path": device, "property": "type"})
    except QmpError:
        return False
    return True
