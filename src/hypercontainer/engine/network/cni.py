"""A pod in networks of CNI: what its VM and its guest have of the interfaces that plugins have made for it."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.networks import CNI, Join
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network.bridged import new_tap
from hypercontainer.engine.network.network import TEMPLATE_MAC, Network, interface_name, mac_bytes
from hypercontainer.engine.state import Attachment, PodRecord
from hypercontainer.errors import Conflict
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import Nic, Tap
from hypercontainer.network.cni import config, requests, results
from hypercontainer.network.cni.config import NetworkConfig, Tree
from hypercontainer.network.cni.device import Device
from hypercontainer.network.dns.host_servers import HostServers

MIXED = "networks of CNI are a pod's only ones: its other networks would be in another namespace"
_WHEN = "ports in a network of CNI are published when the pod starts"


class Member(Struct, frozen=True, kw_only=True):
    """A pod's place in one network, as it is written down from before ADD until DEL is done: the whole
    ``configuration``, what the plugins were told of this pod, and what they made of it."""

    join: Join
    configuration: Tree
    interface: str
    tap: str
    capabilities: Tree
    arguments: dict[str, str]
    result: Tree | None = None
    device: Device | None = None

    @property
    def config(self) -> NetworkConfig:
        return config.parse(msgspec.json.encode(self.configuration), self.join.name)

    @property
    def attachment(self) -> Attachment:
        """Of one that is there."""
        device, gateways = self.made, results.gateways(self.result or {})
        return Attachment(
            network=self.join.name,
            network_id=identifier(self.join.name),
            mac_address=device.mac,
            address=device.address(4),
            address6=device.address(6),
            gateway=device.gateway(4) or gateways.get(4, ""),
            gateway6=device.gateway(6) or gateways.get(6, ""),
            aliases=self.join.aliases,
            interface=self.interface,
            tap=self.tap,
            mtu=device.mtu,
            priority=self.join.priority,
        )

    @property
    def made(self) -> Device:
        assert self.device is not None
        return self.device


class Owner(Protocol):
    """Who has the pods' places: `cni_pods.CniPods`."""

    def members(self, pod: str) -> tuple[Member, ...]: ...
    def attached(self, pod: str) -> tuple[Attachment, ...]: ...
    def control(self, pod: str) -> Path:
        """Where tap devices of its namespace are had."""

    async def join(self, pod: str, taps: Sequence[Tap]) -> None: ...


class CniNetwork:
    """``Network`` of the pod with this ID.  ``anybody``: the network whose devices VMs have that are nobody's yet."""

    asks = False
    authority = ""

    def __init__(self, owner: Owner, pod: str, anybody: Network, template_mtu: int) -> None:
        self._owner, self._pod, self._anybody, self._template_mtu = owner, pod, anybody, template_mtu

    @property
    def _members(self) -> tuple[Member, ...]:
        return self._owner.members(self._pod)

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return self._owner.attached(self._pod)

    @property
    def resolvers(self) -> tuple[str, ...]:
        """Those that a plugin names, else the host's that are to be had from elsewhere."""
        named = [server for each in self._members for server in results.name_servers(each.result or {})]
        return tuple(dict.fromkeys(named)) or _hosts_servers()

    @property
    def host(self) -> str:
        return next((each.gateway for each in self.attachments if each.gateway), "")

    def nics(self, published: Sequence[PortMapping]) -> tuple[Nic, ...]:
        control = self._owner.control(self._pod)
        return tuple(Nic(each.mac_address, Tap(control, each.tap)) for each in self.attachments)

    def template_nics(self, published: Sequence[PortMapping] = ()) -> tuple[Nic, ...]:
        return self._anybody.template_nics(published)

    def template_interfaces(self) -> tuple[Interface, ...]:
        return self._anybody.template_interfaces()

    def interfaces(self) -> tuple[Interface, ...]:
        return interfaces(self._members)

    def renewed(self) -> tuple[Interface, ...]:
        first, *more = self.interfaces()
        mtu = first.mtu if first.mtu != self._template_mtu else None
        return (replace(first, mac=mac_bytes(TEMPLATE_MAC), new_mac=first.mac, mtu=mtu), *more)

    async def join(self, vm: VM, ports: Sequence[PortMapping], *, ready: bool) -> None:
        """Its ports were published by the plugins."""
        await self._owner.join(self._pod, vm.record.taps)

    async def publish(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        if ports:
            raise Conflict(_WHEN, hint="say them of a new one")

    async def withdraw(self, vm: VM, ports: Sequence[PortMapping]) -> None:
        if ports:
            raise Conflict(_WHEN, hint="they go when it ends")


def is_cni(joins: Sequence[Join]) -> bool:
    return any(join.name.startswith(CNI) for join in joins)


def identifier(name: str) -> str:
    """Of a network, whose configuration has none: the same at every start, and on every machine."""
    return hashlib.sha256(name.encode()).hexdigest()


def rank(join: Join) -> tuple[int, str]:
    """The lower, the earlier among a pod's interfaces."""
    return -join.priority, join.name


def planned(
    pod: PodRecord, join: Join, network: NetworkConfig, place: int, ports: Sequence[PortMapping]
) -> Member:
    """What is written down before anything is made."""
    return Member(
        join=join,
        configuration=network.tree,
        interface=interface_name(place),
        tap=new_tap(),
        capabilities=capabilities(pod, join, ports),
        arguments=arguments(pod, join),
    )


def interfaces(members: Sequence[Member]) -> tuple[Interface, ...]:
    """What a guest is told; of several ways to everywhere the first one's, of each version of IP."""
    told, led = [], set[int]()
    for member in members:
        device = member.made
        gateways = [text for text in device.gateways if ipaddress.ip_address(text).version not in led]
        led |= {ipaddress.ip_address(text).version for text in gateways}
        told.append(
            Interface(
                mac=mac_bytes(device.mac),
                name=member.interface,
                addresses=device.told,
                gateways=tuple(gateways),
                mtu=device.mtu,
                routes=device.routes,
            )
        )
    return tuple(told)


def capabilities(pod: PodRecord, join: Join, ports: Sequence[PortMapping]) -> dict[str, Any]:
    """What plugins are told that declare that they hear of it; ``ports`` are chosen."""
    made: dict[str, Any] = {
        "portMappings": requests.port_mappings(ports),
        "ips": [text for text in (join.ip, join.ip6) if text],
        "mac": join.mac_address,
        "aliases": list(join.aliases),
    }
    if pod.spec.dns:
        made["dns"] = {"servers": list(pod.spec.dns), "searches": list(pod.spec.dns_search)}
    return {name: value for name, value in made.items() if value}


def arguments(pod: PodRecord, join: Join) -> dict[str, str]:
    """CNI_ARGS, as kubelets and podman say them."""
    made = {
        "K8S_POD_NAMESPACE": "default",
        "K8S_POD_NAME": pod.name or pod.hostname,
        "K8S_POD_INFRA_CONTAINER_ID": pod.id,
        "K8S_POD_UID": pod.id,
        "IP": join.ip or join.ip6,  # one, to who reads that
        "MAC": join.mac_address,
    }
    return {name: text for name, text in made.items() if text}


def _hosts_servers() -> tuple[str, ...]:
    return tuple(text for text, _ in HostServers()() if not ipaddress.ip_address(text).is_loopback)
