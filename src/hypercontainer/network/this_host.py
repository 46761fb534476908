"""What the host's kernel says of the host's own network; anybody may ask."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator

from hypercontainer.network import links
from hypercontainer.network.netlink import Netlink
from hypercontainer.network.parts import Network

MTU = 1500  # where there is no way out whose would count
_LOOPBACK, _UNIVERSE = 1, 0  # an interface's index; an address's scope


@contextlib.contextmanager
def kernel(protocol: int) -> Iterator[Netlink]:
    netlink = Netlink(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))
    try:
        yield netlink
    finally:
        netlink.close()


def taken(host: Netlink) -> list[Network]:
    """An address of its own may have no route but the machine's to itself: as clouds give them, of /32."""
    routes = [
        ipaddress.ip_network(f"{to}/{route['dst_len']}", strict=False)
        for version in (4, 6)
        for route in links.routes(host, version)
        if (to := route.get_attr("RTA_DST"))
    ]
    own = [ipaddress.ip_network(each.get_attr("IFA_ADDRESS")) for each in links.addresses(host)]
    return [*routes, *own]


def mtu(host: Netlink) -> int:
    """Of the way out."""
    ways = _ways_out(host)
    return min(
        (link.get_attr("IFLA_MTU") for link in links.links(host) if link["index"] in ways), default=MTU
    )


def own_address(host: Netlink) -> str:
    """By which others reach it: of the way out, where that has one; "" where there is none but the loopback's."""
    ways = _ways_out(host)
    found = [
        (each["index"] not in ways, each["index"], each.get_attr("IFA_LOCAL"))
        for each in links.addresses(host)
        if each["family"] == socket.AF_INET and each["index"] != _LOOPBACK and each["scope"] == _UNIVERSE
    ]
    return min(found)[2] if found else ""


def _ways_out(host: Netlink) -> list[int]:
    return [route.get_attr("RTA_OIF") for route in links.routes(host, 4) if route["dst_len"] == 0]
