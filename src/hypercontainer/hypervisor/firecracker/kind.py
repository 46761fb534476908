"""The kind ``firecracker`` of drivers."""

from __future__ import annotations

from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.firecracker.vmm import Firecracker
from hypercontainer.hypervisor.kinds import Host, Reading, Settings
from hypercontainer.hypervisor.vmm.driver import VmmDriver


def make(name: str, settings: Settings, host: Host) -> Driver:
    """``program`` is a name in PATH or a path."""
    reading = Reading(settings)
    program = reading.text("program")
    reading.done()
    return VmmDriver(name, Firecracker(), host, binary=program)
