"""The network that every VM has for itself: a translation to the host's addresses, which no other VM sees.

All of its addresses stand here.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.networks import USER
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network.network import TEMPLATE_MAC, interface_name, mac_bytes
from hypercontainer.engine.state import Attachment
from hypercontainer.errors import HyperError
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import Nic, UserNat

ADDRESS, PREFIX = "10.0.2.15", 24
GATEWAY = "10.0.2.2"  # the host, to the guest
NAME_SERVER = "10.0.2.3"
RESOLVERS = (NAME_SERVER,)


def attachment(mac: str) -> Attachment:
    return Attachment(network=USER, mac_address=mac, address=f"{ADDRESS}/{PREFIX}", gateway=GATEWAY)


class UserNetwork:
    """``Network``; there is nothing to own, since all of it is a process beside the VM's."""

    resolvers = RESOLVERS
    asks = False
    host = GATEWAY
    authority = ""

    def __init__(self, mac: str) -> None:
        self._mac = mac
        self.attachments = (attachment(mac),)

    def nics(self, published: Sequence[PortMapping]) -> tuple[Nic, ...]:
        return (_nic(self._mac, published),)

    def template_nics(self, published: Sequence[PortMapping] = ()) -> tuple[Nic, ...]:
        return (_nic(TEMPLATE_MAC, published),)

    def template_interfaces(self) -> tuple[Interface, ...]:
        return (_interface(TEMPLATE_MAC),)

    def interfaces(self) -> tuple[Interface, ...]:
        return (_interface(self._mac),)

    def renewed(self) -> tuple[Interface, ...]:
        name = interface_name(0)
        return (Interface(mac=mac_bytes(TEMPLATE_MAC), name=name, new_mac=mac_bytes(self._mac)),)

    async def join(self, vm: VM, ports: Sequence[PortMapping], *, ready: bool) -> None:
        """A VM that was started for this pod has published its ports."""
        if ready:
            await self.publish(vm, ports)

    async def publish(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        done: list[PortMapping] = []
        try:
            for port in ports:
                await vm.add_forward(port)
                done.append(port)
        except HyperError:
            await self.withdraw(vm, done)
            raise

    async def withdraw(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        for port in ports:
            await vm.remove_forward(port)


def _nic(mac: str, published: Sequence[PortMapping]) -> Nic:
    guest = f"{ADDRESS}/{PREFIX}"
    return Nic(mac, UserNat(guest_cidr=guest, gateway=GATEWAY, dns=NAME_SERVER, forwards=tuple(published)))


def _interface(mac: str) -> Interface:
    address = f"{ADDRESS}/{PREFIX}"
    return Interface(mac=mac_bytes(mac), name=interface_name(0), addresses=(address,), gateways=(GATEWAY,))
