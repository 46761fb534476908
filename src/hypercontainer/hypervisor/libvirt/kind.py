"""The kind ``libvirt``; see ``hypervisor.kinds``."""

from __future__ import annotations

from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.kinds import Host, Settings
from hypercontainer.hypervisor.libvirt.driver import LibvirtDriver
from hypercontainer.hypervisor.libvirt.settings import read


def make(name: str, settings: Settings, host: Host) -> Driver:
    return LibvirtDriver(name, read(settings), host)
