"""Network interfaces for tests, with the addresses that a VM of ours has."""

from __future__ import annotations

from typing import Any

from hypercontainer.contract.spec import PortMapping
from hypercontainer.hypervisor.spec import Nic, UserNat

MAC = "52:54:00:12:34:56"


def nat(*forwards: PortMapping, **changes: Any) -> UserNat:
    addresses = {"guest_cidr": "10.0.2.15/24", "gateway": "10.0.2.2", "dns": "10.0.2.3"}
    return UserNat(**{**addresses, "forwards": forwards, **changes})


def nat_nic(*forwards: PortMapping, mac: str = MAC, **changes: Any) -> Nic:
    return Nic(mac, nat(*forwards, **changes))
