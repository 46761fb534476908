"""All networks of one hyperd: a namespace with a bridge for each, and the way from there to the host.

Owner of the namespace and of everything in it.  What is there is made of what it is told: ``open`` brings it to that,
whatever an earlier hyperd has left, without a packet lost.  A pod's tap device goes with its VM and needs nobody; what
is left of its place are rules, which let nobody through who has not its name.

Everything blocks, for a millisecond or so, and is not for two threads at once.  ``NetlinkError`` and ``OSError``, where
the machine refuses.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hypercontainer.contract.networks import Subnet
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Identity
from hypercontainer.network import flows, links, nflog, nft, rules, shaping
from hypercontainer.network.netlink import NETFILTER, ROUTE, Netlink, NetlinkError, nothing_there
from hypercontainer.network.parts import (
    DEVICE,
    RESOLVER,
    TAP,
    Bridge,
    Elements,
    Flow,
    Led,
    Network,
    Place,
    Published,
    Served,
)
from hypercontainer.network.policy import applying, cutting
from hypercontainer.network.policy.kernel import LOG_GROUP, PROXY_PORT
from hypercontainer.network.policy.naming import KernelNaming
from hypercontainer.network.uplink import Uplink

BACKLOG = 64  # of those who ask for names by TCP
PROXY_BACKLOG = 512
RESOLVER_PLACE = ipaddress.ip_interface(f"{RESOLVER}/32")
LOOPBACK = 1  # the index of a namespace's first interface


class _Inside:
    """The namespace, and who speaks to the kernel of it."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        with contextlib.ExitStack() as undo:
            self.route = Netlink(namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE))
            undo.callback(self.route.close)
            self.rules = Netlink(namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER))
            undo.callback(self.rules.close)
            self._probe = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
            undo.pop_all()

    def close(self) -> None:
        self.route.close()
        self.rules.close()
        self._probe.close()

    def index(self, device: str) -> int:
        """0 where there is none of this name."""
        return links.index(self._probe, device)


class NamespaceFabric:
    """``folder`` says where the namespace is found; ``user``: it is of an ordinary user, in a user namespace."""

    def __init__(self, folder: Path, uplink: Uplink, *, user: bool) -> None:
        self._folder, self._uplink, self._user = folder, uplink, user
        self._bridged, self._routed = rules.bridged(), rules.routed(masquerade=user)
        self._open: _Inside | None = None
        self._lost: list[Subnet] = []  # to which somebody else on the host has a way
        self._served: Sequence[Served] = ()

    @property
    def _inside(self) -> _Inside:
        assert self._open is not None
        return self._open

    @property
    def namespace(self) -> Namespace:
        return self._inside.namespace

    @property
    def is_open(self) -> bool:
        """Also of what carries its way out."""
        alive = self._open is not None and self.namespace.alive()
        return alive and not (self._uplink.binds and self._uplink.carrier is None)

    def open(
        self,
        bridges: Sequence[Bridge],
        places: Collection[Place],
        ports: Collection[Led],
        subnet: Subnet | None = None,
        served: Sequence[Served] = (),
        policies: Iterable[Elements] = (),
    ) -> bool:
        """See `Fabric.open`."""
        self.close()
        namespace = found = Namespace.find(self._folder)
        with contextlib.ExitStack() as undo:
            if namespace is None:
                namespace = Namespace.start(self._folder, user=self._user)
                undo.callback(self.dissolve)
                _settle(namespace)
            self._open = _Inside(namespace)
            undo.callback(self.close)
            self._inside.route.do("the name server", [links.address(LOOPBACK, RESOLVER_PLACE)])
            self._uplink.open(namespace, self._inside.route)
            self._set_rules(bridges, places, ports, subnet, served, policies)
            _harden(namespace)
            self._set_bridges(bridges, {place.tap for place in places})
            subnets = [one for each in bridges for one in each.subnets] + ([subnet] if subnet else [])
            self._lost = self._uplink.reset(subnets, ports)
            self._take_in(served)
            undo.pop_all()
        return found is not None

    def _set_rules(
        self,
        bridges: Sequence[Bridge],
        places: Iterable[Place],
        ports: Iterable[Led],
        subnet: Subnet | None,
        served: Sequence[Served],
        policies: Iterable[Elements],
    ) -> None:
        with self._change("the rules of networks") as batch:
            batch.make(self._bridged)
            batch.make(self._routed)
            batch.put(self._routed, "internal", [(each.device,) for each in bridges if each.internal])
            batch.put(self._routed, "same", [(each.device, each.device) for each in bridges])
            if subnet is not None:
                batch.put(self._routed, "services", [(subnet.subnet,)])
            for name, elements in _by_map(served).items():
                batch.put(self._routed, name, elements)
            for each in policies:
                applying.policy(batch, self._routed, each)
            for each in policies:
                applying.policy(batch, self._routed, each)
            self._put(batch, places)
            self._doors(batch, ports)

    def _set_bridges(self, bridges: Sequence[Bridge], taps: Collection[str]) -> None:
        """``taps``: those that are somebody's."""
        route = self._inside.route
        there = {link.get_attr("IFLA_IFNAME"): link["index"] for link in links.links(route)}
        wanted = {each.device for each in bridges}
        gone = [index for name, index in there.items() if name.startswith(DEVICE) and name not in wanted]
        route.do("networks that are gone", [links.delete(index) for index in gone])
        for name in there:
            if name.startswith(TAP) and name not in taps:
                self.namespace.drop(name)
        for each in bridges:
            if each.device not in there:
                self._make_bridge(each)
            else:
                self._furnish(each)

    # ------------------------------------------------------------------------------------- networks

    def make(self, bridge: Bridge) -> None:
        """A new network.  Nothing is left of what fails."""
        try:
            with self._change(bridge.what) as batch:
                batch.put(self._routed, "same", [(bridge.device, bridge.device)])
                if bridge.internal:
                    batch.put(self._routed, "internal", [(bridge.device,)])
            self._make_bridge(bridge)
            self._uplink.lead(bridge.subnets)
        except BaseException:
            self.remove(bridge)
            raise

    def reach(self, bridge: Bridge) -> None:
        """Nothing happens where it is reached.  ``NetlinkError`` where somebody else still has what leads to it."""
        for subnet in [each for each in bridge.subnets if each in self._lost]:
            self._uplink.lead([subnet])
            self._lost.remove(subnet)

    def remove(self, bridge: Bridge) -> None:
        """One with nobody in it; nothing happens where it is gone."""
        self._uplink.lead(bridge.subnets, gone=True)
        if index := self._inside.index(bridge.device):
            self._inside.route.do(bridge.what, [links.delete(index)])
        with self._change(bridge.what) as batch:
            batch.forget(self._routed, "same", [(bridge.device, bridge.device)])
            if bridge.internal:
                batch.forget(self._routed, "internal", [(bridge.device,)])

    def _make_bridge(self, bridge: Bridge) -> None:
        self._inside.route.do(bridge.what, [links.bridge(bridge.device, bridge.mtu, bridge.mac)])
        self._furnish(bridge)

    def _furnish(self, bridge: Bridge) -> None:
        """What it has already it keeps."""
        if bridge.dual:
            self.namespace.set(f"ipv6/conf/{bridge.device}/disable_ipv6", 0)
        index = self._inside.index(bridge.device)
        self._inside.route.do(bridge.what, [links.address(index, each) for each in bridge.gateways])

    def listeners(self) -> tuple[socket.socket, socket.socket]:
        """Where all pods ask for names: a socket of UDP, and one of TCP that listens.  They outlive this process: who
        asks meanwhile is answered by the next."""
        return self._listener(socket.SOCK_DGRAM), self._listener(socket.SOCK_STREAM)

    def _listener(self, kind: socket.SocketKind) -> socket.socket:
        name = f"dns-{int(kind)}"
        if (kept := self.namespace.take(name)) is not None:
            made = socket.socket(socket.AF_INET, kind, fileno=kept)
        else:
            made = self.namespace.socket(socket.AF_INET, kind)
            made.bind((RESOLVER, rules.DNS_PORT))
            if kind == socket.SOCK_STREAM:
                made.listen(BACKLOG)
            self.namespace.keep(name, made.fileno())
        made.setblocking(False)
        return made

    def proxy_listeners(self) -> tuple[socket.socket, ...]:
        """See `Fabric.proxy_listeners`."""
        made = [self._proxy_listener(socket.AF_INET, "0.0.0.0")]  # noqa: S104 - of the namespace, behind its rules
        with contextlib.suppress(OSError):  # a kernel may have no IPv6
            made.append(self._proxy_listener(socket.AF_INET6, "::"))
        return tuple(made)

    def _proxy_listener(self, family: socket.AddressFamily, address: str) -> socket.socket:
        name = f"proxy-{int(family)}"
        if (kept := self.namespace.take(name)) is not None:
            return socket.socket(family, socket.SOCK_STREAM, fileno=kept)
        made = self.namespace.socket(family, socket.SOCK_STREAM)
        try:
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((address, PROXY_PORT))
            made.listen(PROXY_BACKLOG)
            self.namespace.keep(name, made.fileno())
        except BaseException:
            made.close()
            raise
        return made

    # ------------------------------------------------------------------------------------- pods

    def plug(self, place: Place) -> None:
        """A tap device that is there becomes its network's.  Nothing is left of what fails."""
        with self._change(place.bridge.what) as batch:
            self._put(batch, [place])
        try:
            tap, bridge = (self._inside.index(each) for each in (place.tap, place.bridge.device))
            if place.guard.in_rate:
                self._shape(place)
            self._inside.route.do(place.bridge.what, [links.port(tap, bridge, place.bridge.mtu)])
        except BaseException:
            self.unplug(place)
            raise

    def unplug(self, place: Place) -> None:
        """Nothing happens where it is gone."""
        with self._change(place.bridge.what) as batch:
            self._put(batch, [place], gone=True)
        if index := self._inside.index(place.tap):
            with contextlib.suppress(NetlinkError):  # its VM is going
                self._inside.route.do(place.bridge.what, links.alone(index))

    def drop(self, tap: str) -> None:
        """A tap device whose VM is gone; nothing happens where it is gone too."""
        self.namespace.drop(tap)

    def _put(self, batch: nft.Batch, places: Iterable[Place], *, gone: bool = False) -> None:
        places = list(places)
        elements: dict[str, list[tuple[str, str]]] = {"macs": [], "addresses4": [], "addresses6": []}
        for place in places:
            elements["macs"].append((place.tap, place.mac))
            for each in place.own:
                elements[f"addresses{ipaddress.ip_address(each).version}"].append((place.tap, each))
        for name, those in elements.items():
            (batch.forget if gone else batch.put)(self._bridged, name, those)
        applying.guard(batch, self._bridged, self._routed, places, gone=gone)

    def guard(
        self,
        former: Sequence[Place],
        places: Sequence[Place],
        without: Elements | None = None,
        by: Elements | None = None,
    ) -> None:
        """See `Fabric.guard`."""
        with self._change("the policy of pods") as batch:
            if by is not None:
                applying.policy(batch, self._routed, by)
            applying.guard(batch, self._bridged, self._routed, former, gone=True)
            applying.guard(batch, self._bridged, self._routed, places)
            if without is not None:
                applying.policy(batch, self._routed, without, gone=True)
        for before, place in zip(former, places, strict=True):
            if before.guard.in_rate != place.guard.in_rate:
                self._shape(place)

    def _shape(self, place: Place) -> None:
        index = self._inside.index(place.tap)
        with nothing_there():  # no device: its VM is going; or no rate to be taken away
            self._inside.route.do(place.bridge.what, [shaping.queue(index, place.guard.in_rate)])

    def naming(self) -> KernelNaming:
        """See `Fabric.naming`."""
        kernel = Netlink(self.namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER))
        return KernelNaming(kernel, self._routed)

    def denials(self) -> socket.socket:
        """See `Fabric.denials`."""
        made = self.namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        nflog.listen(made, LOG_GROUP)
        return made

    def cut(self, addresses: Iterable[str], stays: Callable[[Flow], bool]) -> int:
        """See `Fabric.cut`."""
        return cutting.cut(self._inside.rules, addresses, stays)

    # ------------------------------------------------------------------------------------- services

    def lead(self, subnet: Subnet, *, gone: bool = False) -> None:
        """Services have their addresses in there."""
        self._uplink.lead([subnet], gone=gone)
        with self._change("the subnet of services") as batch:
            batch.put(self._routed, "services", [(subnet.subnet,)], gone=gone)

    def serve(self, former: Sequence[Served], wanted: Sequence[Served]) -> None:
        """In place of ``former``; see `Fabric.serve`."""
        self._served, former, wanted = wanted, self._known(former), self._known(wanted)
        self._replace(former, wanted)
        there = {each.key: each.behind for each in wanted}
        for each in former:
            gone = set(each.behind) - set(there.get(each.key, ()))
            if gone and each.protocol == "udp":
                flows.leave(self._inside.rules, each, {address for address, _ in gone})

    def leave(self, former: Sequence[Served], addresses: Collection[str]) -> None:
        """See `Fabric.leave`."""
        for each in self._known(former):
            if each.protocol == "tcp" and not {address for address, _ in each.behind}.isdisjoint(addresses):
                flows.leave(self._inside.rules, each, addresses)

    def _take_in(self, served: Sequence[Served]) -> None:
        """What is published of them is theirs too, by whichever address it comes."""
        self._served = served
        if self._uplink.own:
            with self._change("services") as batch:
                batch.put(self._routed, "services", [(f"{self._uplink.own}/32",)])
        self._replace(list(served), self._known(served))

    def _known(self, served: Iterable[Served]) -> list[Served]:
        """With the other addresses that they have."""
        known = list(served)
        aliases = self._uplink.aliases
        return known + [
            replace(each, ip=ip, port=port)
            for each in known
            for ip, port in aliases(each.protocol, each.ip, each.port)
        ]

    def _replace(self, former: Sequence[Served], wanted: Sequence[Served]) -> None:
        if former == wanted:
            return
        had, has = _by_map(former), _by_map(wanted)
        with self._change("services") as batch:
            for name in {*had, *has}:
                batch.put(self._routed, name, had.get(name, set()) - has.get(name, set()), gone=True)
                batch.put(self._routed, name, has.get(name, set()) - had.get(name, set()))

    # ------------------------------------------------------------------------------------- published ports

    def publish(self, ports: Sequence[Led]) -> None:
        """All or none."""
        former = self._known(self._served)
        with self._change("published ports") as batch:
            self._doors(batch, ports)
        self._uplink.publish(ports)
        self._replace(former, self._known(self._served))

    def withdraw(self, ports: Sequence[Led]) -> None:
        """Nothing happens where they are gone."""
        former = self._known(self._served)
        with self._change("published ports") as batch:
            self._doors(batch, ports, gone=True)
        self._uplink.withdraw(ports)
        self._replace(former, self._known(self._served))

    def _doors(self, batch: nft.Batch, ports: Iterable[Led], *, gone: bool = False) -> None:
        for port in ports:
            if isinstance(port, Published) and port.protocol == "udp":
                name = f"doors{ipaddress.ip_address(port.ip).version}"
                (batch.forget if gone else batch.put)(self._routed, name, [(port.ip, port.port)])

    # ------------------------------------------------------------------------------------- the host

    def taken(self) -> list[Network]:
        """See `Uplink.taken`."""
        return self._uplink.taken()

    def mtu(self) -> int:
        """See `Uplink.mtu`."""
        return self._uplink.mtu()

    def host(self) -> str:
        """See `Uplink.host`."""
        return self._uplink.host()

    @property
    def carrier(self) -> Identity | None:
        """See `Uplink.carrier`."""
        return self._uplink.carrier

    @property
    def binds(self) -> bool:
        """See `Uplink.binds`."""
        return self._uplink.binds

    # ------------------------------------------------------------------------------------- its life

    def dissolve(self) -> None:
        """Nothing is left.  Of a pod that still runs nobody hears any more."""
        namespace = self._open.namespace if self._open else Namespace.find(self._folder)
        self.close()
        self._uplink.close()
        if namespace is not None:
            namespace.end()

    def close(self) -> None:
        """Lets go of it; it is there for the next."""
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextlib.contextmanager
    def _change(self, what: str) -> Iterator[nft.Batch]:
        batch = nft.Batch()
        yield batch
        batch.commit(self._inside.rules, what)


def _by_map(served: Iterable[Served]) -> dict[str, set[tuple[str | int, ...]]]:
    made: dict[str, set[tuple[str | int, ...]]] = {}
    for each in served:
        made.setdefault(each.map, set()).update(each.elements)
    return made


def _harden(namespace: Namespace) -> None:
    """Once there are rules.  Of what no connection is known none begins in its middle: one that was cut stays so."""
    namespace.set("netfilter/nf_conntrack_tcp_loose", 0)


def _settle(namespace: Namespace) -> None:
    namespace.set("ipv4/ip_forward", 1)
    for which in ("all", "default"):  # by a service it may go back to where it came from
        namespace.set(f"ipv4/conf/{which}/send_redirects", 0)
    with contextlib.suppress(FileNotFoundError):  # a kernel may have no IPv6
        namespace.set("ipv6/conf/all/forwarding", 1)
        # Bridges' ports have no addresses, and need not ask around for them.
        namespace.set("ipv6/conf/default/disable_ipv6", 1)
        # Nobody else has a gateway's addresses: they count at once, and not a second later.
        namespace.set("ipv6/conf/default/accept_dad", 0)
    for family in ("ip", "ip6", "arp"):
        with contextlib.suppress(FileNotFoundError):
            # What stays on a bridge is no affair of the rules for what is led between networks.
            namespace.set(f"bridge/bridge-nf-call-{family}tables", 0)
