"""Makes a driver of Xen from the configuration: ``type`` is pvh or pv, or what the processor can."""

from __future__ import annotations

from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.kinds import Host, Reading, Settings
from hypercontainer.hypervisor.xen.config import Mode
from hypercontainer.hypervisor.xen.driver import XenDriver

AUTO = "auto"


def make(name: str, settings: Settings, host: Host) -> Driver:
    reading = Reading(settings)
    kind = reading.one_of("type", AUTO, AUTO, *Mode)
    reading.done()
    return XenDriver(name, host.facts, None if kind == AUTO else Mode(kind))
