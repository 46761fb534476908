"""Plugs what is behind a NIC of the specification into a QEMU that has not begun, into the port that waits for it."""

from __future__ import annotations

from hypercontainer.hypervisor.libvirt.domain import wire_port
from hypercontainer.hypervisor.qemu.argv import netdev, nic_device
from hypercontainer.hypervisor.qemu.machines import PCI
from hypercontainer.hypervisor.qemu.qmp import Qmp
from hypercontainer.hypervisor.spec import Nic, Tap


async def plug(qmp: Qmp, nic: Nic, place: int, fd: int) -> None:
    """``fd``: the VM's end of ``nics.Wire``.  QEMU has a copy of it afterwards."""
    name = netdev(place)
    await qmp.execute("getfd", {"fdname": name}, fds=[fd])
    if isinstance(nic.backend, Tap):
        backend: dict[str, object] = {"type": "tap", "fd": name, "vhost": False}
    else:
        backend = {"type": "dgram", "local": {"type": "fd", "str": name}}
    await qmp.execute("netdev_add", {"id": name, **backend})
    await qmp.execute("device_add", {**nic_device(nic, name, PCI), "bus": wire_port(place), "addr": "0x0"})
