"""A domain's devices, as both sides find them in Xen's store: a directory of the guest's (front), which it owns, and
one of the host's (back).  Pure.

Whoever has one looks once its ``state`` is there, which is therefore written last (xenbus.h has the numbers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypercontainer.hypervisor.xen.config import disk_name, disk_number

INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED = (str(number) for number in range(1, 7))
STATE = "state"
PLACED = ("hotplug-status", "connected")
CONSOLE, DISK, NIC = "console", "vbd", "vif"
BACKS = "/local/domain/0/backend/"
LINE_NUMBER = 1  # of the console that is the agent's; 0 is xenconsoled's


@dataclass(frozen=True)
class Device:
    """``front`` and ``back`` are what the two sides are told, besides what every device is."""

    kind: str
    domain: int
    number: int
    front: Mapping[str, str]
    back: Mapping[str, str]

    @property
    def front_path(self) -> str:
        return f"/local/domain/{self.domain}/device/{self.kind}/{self.number}"

    @property
    def back_path(self) -> str:
        return f"{backs(self.kind, self.domain)}/{self.number}"

    def front_entries(self) -> dict[str, str]:
        return {"backend": self.back_path, "backend-id": "0", **self.front, STATE: INITIALISING}

    def back_entries(self) -> dict[str, str]:
        common = {"frontend": self.front_path, "frontend-id": str(self.domain), "online": "1"}
        return {**common, **self.back, STATE: INITIALISING}


def backs(kind: str, domain: int) -> str:
    """Above all of this kind that a domain has."""
    return f"{BACKS}{kind}/{domain}"


def line(domain: int) -> Device:
    return Device(CONSOLE, domain, LINE_NUMBER, {"type": "hyper"}, {"type": "hyper"})


def disk(domain: int, place: int, device: tuple[int, int], *, read_only: bool) -> Device:
    """``device``: the host's block device by its numbers."""
    number = disk_number(place)
    return Device(
        DISK,
        domain,
        number,
        {"virtual-device": str(number), "device-type": "disk"},
        {
            "dev": disk_name(place),
            "device-type": "disk",
            "type": "phy",
            "mode": "r" if read_only else "w",
            "physical-device": f"{device[0]:x}:{device[1]:x}",
            PLACED[0]: PLACED[1],
        },
    )


def nic(domain: int, place: int, mac: str) -> Device:
    """The host's kernel makes an interface of it (``interface``), and waits until that is said to be where it belongs
    (``PLACED``).  It takes none without the name of a script, which nobody runs."""
    both = {"handle": str(place), "mac": mac}
    return Device(NIC, domain, place, both, {**both, "type": "vif", "script": "/bin/true"})


def interface(domain: int, place: int) -> str:
    """Its name, as the host's kernel gives it."""
    return f"vif{domain}.{place}"
