"""The kind ``cloud-hypervisor`` of drivers."""

from __future__ import annotations

from hypercontainer.hypervisor.cloudhypervisor.vmm import CloudHypervisor
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.kinds import Host, Reading, Settings
from hypercontainer.hypervisor.vmm.driver import VmmDriver


def make(name: str, settings: Settings, host: Host) -> Driver:
    """``program`` is a name in PATH or a path."""
    reading = Reading(settings)
    program = reading.text("program")
    reading.done()
    return VmmDriver(name, CloudHypervisor(), host, binary=program)
