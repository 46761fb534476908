"""``[hypervisor.virtualbox]``."""

from __future__ import annotations

from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.kinds import Host, Reading, Settings
from hypercontainer.hypervisor.virtualbox.argv import existing
from hypercontainer.hypervisor.virtualbox.driver import VirtualBoxDriver
from hypercontainer.hypervisor.virtualbox.guests import reliable, write_disc
from hypercontainer.hypervisor.virtualbox.manage import Installation


def make(name: str, settings: Settings, host: Host) -> Driver:
    """See ``hypervisor.kinds``."""
    reading = Reading(settings)
    installation = Installation(
        manage=reading.text("manage", "VBoxManage"),
        home=reading.path("home"),
        driverless=reading.truth("driverless", False),
        display=reading.text("display", "", r"[A-Za-z0-9.-]*:[0-9]{1,5}(\.[0-9]{1,2})?"),
    )
    lan = reading.lan()
    reading.done()
    if lan is not None:
        existing(lan.network)
    return VirtualBoxDriver(host.facts, write_disc, reliable, name=name, installation=installation, lan=lan)
