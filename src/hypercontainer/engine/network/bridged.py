"""A pod in networks of hyperd's: a tap device in each, which is made with the VM and plugged in once that is there."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network.keeping import Kept
from hypercontainer.engine.network.network import TEMPLATE_MAC, interface_name, mac_bytes
from hypercontainer.engine.network.publishing import Publishing
from hypercontainer.engine.state import Attachment
from hypercontainer.errors import HyperError
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import Nic, Tap
from hypercontainer.network.parts import RESOLVER, TAP, Fabric, Led, Place

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Who has the networks: `networks.Networks`."""

    @property
    def control(self) -> Path:
        """Where tap devices are had."""

    @property
    def host(self) -> str: ...

    def authority(self, pod: str) -> str: ...
    def attached(self, pod: str) -> tuple[Attachment, ...]: ...
    async def plug(self, pod: str, taps: Sequence[str]) -> None: ...


class Bridged:
    """``Network`` of the pod with this ID."""

    resolvers = (RESOLVER,)
    asks = True

    def __init__(self, owner: Owner, ports: Publishing, pod: str, template_mtu: int) -> None:
        self._owner, self._ports, self._pod, self._template_mtu = owner, ports, pod, template_mtu

    @property
    def host(self) -> str:
        return self._owner.host

    @property
    def authority(self) -> str:
        return self._owner.authority(self._pod)

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return self._owner.attached(self._pod)

    def nics(self, published: Sequence[PortMapping]) -> tuple[Nic, ...]:
        return tuple(Nic(each.mac_address, self._tap(each.tap)) for each in self.attachments)

    def template_nics(self, published: Sequence[PortMapping] = ()) -> tuple[Nic, ...]:
        return (Nic(TEMPLATE_MAC, self._tap(new_tap())),)

    def template_interfaces(self) -> tuple[Interface, ...]:
        return (Interface(mac=mac_bytes(TEMPLATE_MAC), name=interface_name(0), mtu=self._template_mtu),)

    def interfaces(self) -> tuple[Interface, ...]:
        return tuple(interface(each, way_out=place == 0) for place, each in enumerate(self.attachments))

    def renewed(self) -> tuple[Interface, ...]:
        first, *more = self.attachments
        own = mac_bytes(first.mac_address)
        mtu = first.mtu if first.mtu != self._template_mtu else None
        told = interface(first, way_out=True)
        renewed = replace(told, mac=mac_bytes(TEMPLATE_MAC), new_mac=own, mtu=mtu)
        return (renewed, *(interface(each, way_out=False) for each in more))

    async def join(self, vm: VM, ports: Sequence[PortMapping], *, ready: bool) -> None:
        await self._owner.plug(self._pod, [tap.name for tap in vm.record.taps])
        await self._ports.publish(self._pod, ports)

    async def publish(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        await self._ports.publish(self._pod, ports)

    async def withdraw(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        await self._ports.withdraw(self._pod, ports)

    def _tap(self, name: str) -> Tap:
        return Tap(self._owner.control, name)


def new_tap() -> str:
    """A name that no device has had: one of a VM that is going may still be there."""
    return TAP + secrets.token_hex(6)


def interface(attachment: Attachment, *, way_out: bool) -> Interface:
    """What a guest is told of it; ``way_out``: by this one it reaches what it has no other way to."""
    gateways = (attachment.gateway, attachment.gateway6) if way_out else ()
    return Interface(
        mac=mac_bytes(attachment.mac_address),
        name=attachment.interface,
        addresses=tuple(each for each in (attachment.address, attachment.address6) if each),
        gateways=tuple(each for each in gateways if each),
        mtu=attachment.mtu,
    )


def released(
    fabric: Fabric,
    places: Sequence[Place],
    ports: Sequence[Led] = (),
    kept: Kept | None = None,
    after: Callable[[Fabric], None] | None = None,
) -> None:
    """A pod's places are given up, and then ``after``.  A port is free again once nobody is led from it.  Blocks."""
    try:
        fabric.withdraw(ports)
        for place in places:
            fabric.unplug(place)
            fabric.drop(place.tap)
        if after is not None:
            after(fabric)
    except (HyperError, OSError) as error:
        log.warning("a pod's place in its networks: %s", error)
    finally:
        if kept is not None:
            kept.none()(fabric.namespace)
