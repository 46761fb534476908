"""Pods in a network that their hypervisor has already: libvirt's, a port group, a bridge.

Nothing of it is ours but the addresses that pods are given, which are chosen among those that the driver says are for
them, and each one pod's until its VM is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.networks import HYPERVISOR
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import wishes
from hypercontainer.engine.network.network import TEMPLATE_MAC, interface_name, mac_bytes
from hypercontainer.engine.state import Attachment, PodRecord
from hypercontainer.errors import NotSupported
from hypercontainer.hypervisor.driver import VM, Lan
from hypercontainer.hypervisor.spec import Existing, Nic


class ExistingNetwork:
    """``Network`` of a pod that is in one."""

    asks = False
    host = authority = ""

    def __init__(self, attachment: Attachment) -> None:
        self._own = attachment
        self.attachments = (attachment,)
        self.resolvers = attachment.resolvers

    def nics(self, published: Sequence[PortMapping]) -> tuple[Nic, ...]:
        return (self._nic(self._own.mac_address),)

    def template_nics(self, published: Sequence[PortMapping] = ()) -> tuple[Nic, ...]:
        return (self._nic(TEMPLATE_MAC),)

    def _nic(self, mac: str) -> Nic:
        return Nic(mac, Existing(self._own.lan))

    def template_interfaces(self) -> tuple[Interface, ...]:
        """Nobody's has an address of it."""
        return (Interface(mac=mac_bytes(TEMPLATE_MAC), name=interface_name(0)),)

    def interfaces(self) -> tuple[Interface, ...]:
        own = self._own
        gateways = (own.gateway,) if own.gateway else ()
        mac, name = mac_bytes(own.mac_address), interface_name(0)
        return (Interface(mac=mac, name=name, addresses=(own.address,), gateways=gateways),)

    def renewed(self) -> tuple[Interface, ...]:
        (plain,) = self.interfaces()
        new, mac = mac_bytes(self._own.mac_address), mac_bytes(TEMPLATE_MAC)
        return (
            Interface(
                mac=mac, name=plain.name, new_mac=new, addresses=plain.addresses, gateways=plain.gateways
            ),
        )

    async def join(self, vm: VM, ports: Sequence[PortMapping], *, ready: bool) -> None:
        if ports:
            raise _unpublished()

    async def publish(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        raise _unpublished()

    async def withdraw(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        pass


def _unpublished() -> NotSupported:
    return NotSupported(
        f"in the network {HYPERVISOR!r} a pod is reached by its own address, and publishes nothing"
    )


class Elsewhere:
    """Of all such pods the places, by pod."""

    def __init__(self) -> None:
        self._places: dict[str, Attachment] = {}

    def found(self, pods: Iterable[PodRecord]) -> None:
        """Those whose VMs run."""
        for pod in pods:
            if is_existing(pod) and pod.attachments:
                self._places[pod.id] = pod.attachments[0]

    def allot(self, pod: PodRecord, lan: Lan) -> None:
        """Unavailable where no address is free, Conflict where the one that is wished is not."""
        (join,) = pod.networks
        taken = {place.host4 for place in self._places.values() if place.lan == lan.network} | {*lan.dns}
        mac = join.mac_address or pod.mac
        plain = Attachment(network=HYPERVISOR, lan=lan.network, mac_address=mac, resolvers=lan.dns)
        self._places[pod.id] = wishes.placed(plain, [lan.subnet], join, taken)

    def of(self, pod: PodRecord) -> ExistingNetwork:
        """Of one that was allotted its place."""
        return ExistingNetwork(self._places[pod.id])

    def release(self, pod: str) -> None:
        self._places.pop(pod, None)


def is_existing(pod: PodRecord) -> bool:
    return bool(pod.networks) and pod.networks[0].name == HYPERVISOR
