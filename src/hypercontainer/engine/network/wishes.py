"""What is wished of a network, and of a place in one: checked, and completed.  Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import replace

from hypercontainer.contract.networks import (
    DEFAULT,
    HYPERVISOR,
    MTU_MAX,
    MTU_MIN,
    NONE,
    PEERS_MAX,
    SERVICES_MAX,
    USER,
    Join,
    NetworkSpec,
    PodService,
    Subnet,
)
from hypercontainer.engine import names
from hypercontainer.engine.state import Attachment
from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.spec import NAT, TAP
from hypercontainer.network import addresses
from hypercontainer.network.parts import PROTOCOLS, Network

SPECIAL = (USER, NONE, HYPERVISOR)  # of a pod the only one
MEANT = (*SPECIAL, "host", "default")  # what means something else than a network of this name
PORT_MAX = 65535
ALIAS_MAX = 63  # characters: a label of DNS


def check(spec: NetworkSpec) -> None:
    names.check_name(spec.name, kind="network")
    if spec.name in MEANT:
        raise InvalidArgument(
            f"{spec.name!r} is no name for a network: it means something else", field="name"
        )
    if spec.mtu is not None and not MTU_MIN <= spec.mtu <= MTU_MAX:
        raise InvalidArgument(f"an MTU of {spec.mtu} is out of range", hint=f"from {MTU_MIN} to {MTU_MAX}")


def check_aliases(aliases: Iterable[str]) -> None:
    for alias in aliases:
        if not names.NAME.fullmatch(alias) or len(alias) > ALIAS_MAX:
            raise InvalidArgument(
                f"{alias[:80]!r} is no name", field="networks", takes="letters, digits, _, . and -"
            )


def subnets(spec: NetworkSpec, taken: Sequence[Network]) -> tuple[Subnet, ...]:
    """Those of a new network, of which there is one of IPv4 at least."""
    wished = [addresses.checked(each, taken) for each in spec.subnets]
    if addresses.doubled(wished):
        raise InvalidArgument("a network has one subnet of each version of IP", field="subnets")
    versions = {ipaddress.ip_network(each.subnet).version for each in wished}
    if 4 not in versions:
        pool = addresses.LARGE_POOL if spec.name == DEFAULT else addresses.POOL
        wished.insert(0, addresses.checked(Subnet(str(addresses.chosen(pool, taken))), ()))
    if spec.ipv6 and 6 not in versions:
        wished.append(addresses.checked(Subnet(str(addresses.chosen6())), ()))
    return tuple(wished)


def has6(wished: Iterable[Subnet]) -> bool:
    return any(ipaddress.ip_network(each.subnet).version == 6 for each in wished)


def check_static(spec: NetworkSpec, version: int, text: str, taken: set[str]) -> None:
    """An address that a pod wishes in a network in which these are ``taken``."""
    for subnet in spec.subnets:
        if ipaddress.ip_network(subnet.subnet).version == version:
            addresses.check_static(text, subnet, taken)
            return
    raise InvalidArgument(f"network {spec.name} has no addresses of IPv{version}", field="networks")


def check_services(services: Sequence[PodService], subnets: Sequence[Subnet]) -> None:
    """Of a pod in networks with these ``subnets``."""
    if services and not subnets:
        raise InvalidArgument(
            "a pod with services is in networks that hyperd makes", field="services", takes="a network"
        )
    if len(services) > SERVICES_MAX:
        raise InvalidArgument(f"{len(services)} services", field="services", takes=f"{SERVICES_MAX} at most")
    for service in services:
        for text, port in ((service.ip, service.port), *((peer.ip, peer.port) for peer in service.peers)):
            _check_end(text, port, service.protocol)
        address = ipaddress.ip_address(service.ip)
        if any(address in ipaddress.ip_network(each.subnet) for each in subnets):
            raise InvalidArgument(
                f"{address} is an address of the pod's own network", field="services", takes="another one"
            )
        if not 0 < len(service.peers) <= PEERS_MAX:
            raise InvalidArgument(
                f"{len(service.peers)} stand behind {address}", field="services", takes=f"1 to {PEERS_MAX}"
            )


def _check_end(text: str, port: int, protocol: str) -> None:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise InvalidArgument(f"{text[:60]!r} is no address of IPv4", field="services") from None
    if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
        raise InvalidArgument(f"{address} is not for services", field="services", takes="such as 10.254.0.1")
    if not 1 <= port <= PORT_MAX or protocol not in PROTOCOLS:
        raise InvalidArgument(
            f"{port}/{protocol} is no port", field="services", takes="1 to 65535, tcp or udp"
        )


def check_alone(joins: Sequence[Join]) -> None:
    named = [join.name for join in joins]
    for special in SPECIAL:
        if special in named and len(named) > 1:
            raise InvalidArgument(f"{special} is a pod's only network", field="networks")


def placed(plain: Attachment, subnets: Iterable[Subnet], join: Join, taken: set[str]) -> Attachment:
    """With the pod's addresses in a network in which these are ``taken``, and its gateways."""
    facts: dict[str, str] = {}
    for subnet in subnets:
        network = ipaddress.ip_network(subnet.subnet)
        wish, end = (join.ip, "") if network.version == 4 else (join.ip6, "6")
        text = addresses.check_static(wish, subnet, taken) if wish else addresses.free(subnet, taken)
        facts |= {f"address{end}": f"{text}/{network.prefixlen}", f"gateway{end}": subnet.gateway}
    return replace(plain, **facts)


def possible(default: str, nics: Collection[str]) -> str:
    """The network of a pod that names none, whose VM can have these kinds of ``nics``."""
    if default == NONE or TAP in nics:
        return default
    return USER if NAT in nics else HYPERVISOR


def rank(network: NetworkSpec, priority: int) -> tuple[bool, int, str]:
    """By which a pod's networks are ordered: it has its way out by the first, so one without any comes last."""
    return network.internal, -priority, network.name
