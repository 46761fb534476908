"""The network that every VM has for itself: the hypervisor's NAT, which no other VM sees.

All of its addresses stand here.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network.network import Attached, mac_bytes
from hypercontainer.errors import HyperError
from hypercontainer.hypervisor.driver import VM, Nic, UserNat

INTERFACE = "eth0"
ADDRESS, PREFIX = "10.0.2.15", 24
GATEWAY = "10.0.2.2"  # the host, to the guest
NAME_SERVER = "10.0.2.3"


class UserNetwork:
    """``Network``; there is nothing to own, since all of it is in the hypervisor's process."""

    def attach(self, mac: str, published: Sequence[PortMapping] = ()) -> Attached:
        backend = UserNat(
            guest_cidr=f"{ADDRESS}/{PREFIX}", gateway=GATEWAY, dns=NAME_SERVER, forwards=tuple(published)
        )
        inside = Interface(
            mac=mac_bytes(mac), name=INTERFACE, addresses=(f"{ADDRESS}/{PREFIX}",), gateways=(GATEWAY,)
        )
        return Attached((Nic(mac, backend),), (inside,), ADDRESS, PREFIX, GATEWAY, (NAME_SERVER,))

    def renewed(self, template_mac: str, mac: str) -> tuple[Interface, ...]:
        return (Interface(mac=mac_bytes(template_mac), name=INTERFACE, new_mac=mac_bytes(mac)),)

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
