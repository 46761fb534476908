"""What a network is to the engine: it gives VMs their NICs, and publishes ports of theirs."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.hypervisor.driver import VM, Nic

MAC = re.compile(r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}")  # a unicast one


@dataclass(frozen=True)
class Attached:
    """What a VM has of its network: the host's side, the guest's, and what containers are told of it.  ``address``
    and ``gateway`` are "" where there is none."""

    nics: tuple[Nic, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    address: str = ""
    prefix: int = 0
    gateway: str = ""
    resolvers: tuple[str, ...] = ()


class Network(Protocol):
    def attach(self, mac: str, published: Sequence[PortMapping] = ()) -> Attached:
        """Pure.  ``published``: with chosen ports of the host."""

    def renewed(self, template_mac: str, mac: str) -> tuple[Interface, ...]:
        """What a clone's guest is told, whose template was attached with ``template_mac``."""

    async def publish(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        """Of a VM that runs; all or none."""

    async def withdraw(self, vm: VM, ports: Sequence[PortMapping]) -> None: ...


class NoNetwork:
    """``Network`` of a VM that has none."""

    def attach(self, mac: str, published: Sequence[PortMapping] = ()) -> Attached:
        return Attached()

    def renewed(self, template_mac: str, mac: str) -> tuple[Interface, ...]:
        return ()

    async def publish(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        raise Conflict("a VM without a network publishes nothing")

    async def withdraw(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        pass


def new_mac() -> str:
    """A unicast, locally administered address."""
    return "02:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(5))


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def check_mac(mac: str | None) -> None:
    if mac is not None and not MAC.fullmatch(mac):
        raise InvalidArgument(
            f"{mac!r} is no MAC address of one device", field="mac_address", takes="as 02:42:ac:11:00:02"
        )
