"""An interface that a plugin has made in a pod's namespace, and the tap device of the pod's VM: joined, frame by frame.

What comes in by the one goes out by the other, before the namespace's own kernel sees it: a filter of traffic control
each way.  So the guest has the interface's MAC address, and plugins find the interface as they left it (CHECK).  What
the guest is told is what stands in the namespace, whatever a result says of it: plugins leave routes out there.

Everything blocks, for a millisecond or so.  ``NetlinkError`` and ``OSError``, where the kernel refuses.

Sources: tc-mirred(8), tc-u32(8), rtnetlink(7), linux/pkt_cls.h.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypercontainer.linux import netns
from hypercontainer.linux.netns import Namespace
from hypercontainer.network import links
from hypercontainer.network.cni import filters
from hypercontainer.network.cni.device import Device
from hypercontainer.network.netlink import ROUTE, Message, Netlink, NetlinkError

KERNEL = 2  # RTPROT_KERNEL: a route that came with an address
ROUTES = 256


def seen(namespace: Namespace, interface: str, what: str) -> Device | None:
    """None where the namespace has no such interface."""
    with _inside(namespace) as route:
        found = [link for link in links.links(route) if link.get_attr("IFLA_IFNAME") == interface]
        if not found:
            return None
        (link,) = found
        held = [each for each in links.addresses(route) if each["index"] == link["index"]]
        ways = [
            way
            for version in (4, 6)
            for way in links.routes(route, version)
            if way.get_attr("RTA_OIF") == link["index"] and way["type"] == links.UNICAST
        ]
    return described(link, held, ways)


def described(link: Message, addresses: Sequence[Message], routes: Sequence[Message]) -> Device:
    """An address's own subnet is on the link where a route says so; else a guest is told of the address alone."""
    near = {_destination(way) for way in routes if way["proto"] == KERNEL}
    places = [_place(each) for each in addresses]
    own = [each for each in places if not each.is_link_local]
    told = tuple(str(each) if each.network in near else f"{each.ip}/{each.max_prefixlen}" for each in own)
    ways, gateways = [], []
    for way in routes[:ROUTES]:
        to, gateway = _destination(way), way.get_attr("RTA_GATEWAY")
        if way["proto"] == KERNEL or to.is_link_local or to.is_multicast:
            continue
        if to.prefixlen == 0 and gateway:
            gateways.append(str(gateway))
        else:
            ways.append(f"{to} {gateway}" if gateway else str(to))
    return Device(
        mac=str(link.get_attr("IFLA_ADDRESS")),
        mtu=int(link.get_attr("IFLA_MTU")),
        addresses=tuple(map(str, own)),
        told=told,
        gateways=tuple(gateways),
        routes=tuple(ways),
    )


def _place(address: Message) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    text = address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS")
    return ipaddress.ip_interface(f"{text}/{address['prefixlen']}")


def _destination(way: Message) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    nowhere = "::" if way["family"] == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - of a default route
    return ipaddress.ip_network(f"{way.get_attr('RTA_DST') or nowhere}/{way['dst_len']}")


def join(namespace: Namespace, interface: str, tap: str, mtu: int, what: str) -> None:
    """The device ``tap``, which is there, takes the place of any that was joined before."""
    with contextlib.suppress(FileNotFoundError):  # a kernel may have no IPv6
        namespace.set(f"ipv6/conf/{tap}/disable_ipv6", 1)  # the namespace itself says nothing there
    with _inside(namespace) as route:
        own, theirs = _indexes(namespace, interface, tap)
        with contextlib.suppress(NetlinkError):  # there is none yet
            route.do(what, [filters.ingress(own, gone=True)])
        route.do(what, [filters.ingress(theirs), *filters.from_guest(theirs, own)])
        route.do(what, [filters.ingress(own), *filters.to_guest(own, theirs)])
        route.do(what, [links.sized(theirs, mtu), links.up(own)])  # from here on frames come, and are led


def move(control: Path, tap: str, namespace: Namespace, what: str) -> None:
    """From the namespace whose keeper is at ``control``; whoever keeps it there does so all the same."""
    with contextlib.closing(Netlink(netns.make_socket(control, *_ROUTING))) as there:
        with contextlib.closing(netns.make_socket(control, socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            index = links.index(probe, tap)
        there.do(what, [links.moved(index, namespace.pid)])


_ROUTING = (socket.AF_NETLINK, socket.SOCK_RAW, ROUTE)


@contextlib.contextmanager
def _inside(namespace: Namespace) -> Iterator[Netlink]:
    with contextlib.closing(Netlink(namespace.socket(*_ROUTING))) as made:
        yield made


def _indexes(namespace: Namespace, *devices: str) -> list[int]:
    with contextlib.closing(namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        return [links.index(probe, each) for each in devices]
