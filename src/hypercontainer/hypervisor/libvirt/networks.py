"""Networks that libvirt has: which addresses in one are free for pods.  Pure, but for asking libvirt.

What dnsmasq gives away for libvirt, or has reserved for somebody, is not for pods: the largest block of the subnet
beside that is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from xml.etree import ElementTree

from hypercontainer.contract.networks import Subnet
from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor.driver import Lan
from hypercontainer.hypervisor.libvirt import markup

LEAST = 4  # addresses

Span = tuple[int, int]  # first and last


def asked(name: str, addresses: str) -> Callable[[Any], Lan]:
    """What asks a connection, in a thread, for the network of this name; that raises ``libvirtError`` and
    ``Unavailable``."""

    def ask(connection: Any) -> Lan:
        network = connection.networkLookupByName(name)
        if not network.isActive():
            raise Unavailable(f"network {name} of libvirt is not started", hint=f"virsh net-start {name}")
        return lan(name, network.XMLDesc(), addresses)

    return ask


def lan(name: str, xml: str, addresses: str = "") -> Lan:
    """From a network's XML; ``addresses``: a block of it that is for pods, "" for the largest that is free.

    Raises ``Unavailable`` where there is none, or somebody else gives it away.
    """
    try:
        tree = markup.read(xml)
        subnet, gateway, taken = _read(tree)
        block = IPv4Network(addresses) if addresses else _largest(subnet, taken)
    except ValueError as error:
        raise Unavailable(f"network {name} of libvirt: {error}") from error
    if block is None or not block.subnet_of(subnet) or _overlaps(block, taken):
        what = f"{block} is not free" if addresses else "no addresses are free"
        raise Unavailable(
            f"network {name} of libvirt: {what} for pods in {subnet}",
            hint="make room: narrow the <range> of its <dhcp> (virsh net-edit), and start it anew",
        )
    dns = tree.find("dns")
    serves = dns is None or dns.get("enable", "yes") == "yes"
    return Lan(name, Subnet(str(subnet), gateway, str(block)), (gateway,) if serves else ())


def _read(tree: ElementTree.Element) -> tuple[IPv4Network, str, list[Span]]:
    """The subnet, the gateway, and what of the addresses is given away.  Raises ``ValueError``."""
    for ip in tree.iterfind("ip"):
        if ip.get("family", "ipv4") != "ipv4":
            continue
        address = ip.get("address", "")
        subnet = IPv4Network(f"{address}/{ip.get('prefix') or ip.get('netmask')}", strict=False)
        spans = [
            (int(IPv4Address(each.get("start", ""))), int(IPv4Address(each.get("end", ""))))
            for each in ip.iterfind("dhcp/range")
        ]
        spans += [(int(IPv4Address(each.get("ip", ""))),) * 2 for each in ip.iterfind("dhcp/host")]
        return subnet, str(IPv4Address(address)), spans
    raise ValueError("it says no IPv4 addresses of its own; name one that does")


def _largest(subnet: IPv4Network, taken: list[Span]) -> IPv4Network | None:
    blocks = [block for first, last in _gaps(subnet, taken) for block in _blocks(first, last)]
    largest = max(blocks, key=lambda block: block.num_addresses, default=None)
    return largest if largest is not None and largest.num_addresses >= LEAST else None


def _gaps(subnet: IPv4Network, taken: list[Span]) -> Iterator[Span]:
    free, end = int(subnet.network_address), int(subnet.broadcast_address)
    for first, last in sorted(taken):
        if first > free:
            yield free, min(first - 1, end)
        free = max(free, last + 1)
    if free <= end:
        yield free, end


def _blocks(first: int, last: int) -> Iterator[IPv4Network]:
    yield from ipaddress.summarize_address_range(IPv4Address(first), IPv4Address(last))


def _overlaps(block: IPv4Network, taken: list[Span]) -> bool:
    first, last = int(block.network_address), int(block.broadcast_address)
    return any(first <= end and begin <= last for begin, end in taken)
