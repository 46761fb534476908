"""The way between the namespace of networks and the host, of an ordinary user: a tap device, which a process carries.

That process is one of the user's like any other, so that on the host there is nothing: no interface, no rule, no route.
It listens on published ports and brings what comes to them to a port of the device's address, the same number where
that is free; rules in the namespace lead on from there, and a pod sees its client's address.  Process and device
outlive hyperd; a process that was killed is started anew when the fabric is opened again, and has its ports again.

The device's subnet is seen by nobody but these two.  IPv6 has no way out.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from hypercontainer.contract.networks import Subnet
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HyperError
from hypercontainer.linux import netns
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Identity
from hypercontainer.network import addresses, flows, links, nft, this_host, way_out_rules
from hypercontainer.network.netlink import NETFILTER, ROUTE, Netlink, NetlinkError
from hypercontainer.network.parts import PROTOCOLS, Interface, Led, Network, Opening, Published
from hypercontainer.network.rules import UPLINK
from hypercontainer.network.uplink import index_in

PORT_MAX = 65535
UDP_S = 240  # for how long libslirp keeps a socket of datagrams, and so what is counted of a pod's
_WHAT = "the way out of networks"
_EVERYWHERE = ipaddress.ip_network("0.0.0.0/0")
_Key = tuple[str, str, int]  # protocol, address and port of the host

log = logging.getLogger(__name__)


class Carrier(Protocol):
    """The process: `hypervisor.carrier.Carrier`.  A port's ``container_port`` is one of the device's address."""

    @property
    def identity(self) -> Identity | None: ...
    def start(self, tap: int, guest_cidr: str, gateway: str, dns: str) -> None: ...
    def end(self) -> None: ...
    def forwards(self) -> list[PortMapping]: ...
    def add(self, ports: Sequence[PortMapping]) -> None: ...
    def remove(self, ports: Iterable[PortMapping]) -> None: ...
    def offer(self, ports: Collection[int]) -> None: ...


class WayOut:
    """``Uplink``."""

    binds = True

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._namespace: Namespace | None = None
        self._own: Interface | None = None  # the device's address; before it in its subnet are its two peers'
        self._led: dict[_Key, tuple[Published, PortMapping]] = {}
        self._opened: set[Opening] = set()
        self._host = ""  # as pods call it

    @property
    def carrier(self) -> Identity | None:
        """The process, while it lives."""
        return self._carrier.identity

    def open(self, namespace: Namespace, inside: Netlink) -> None:
        self._namespace = namespace
        with this_host.kernel(ROUTE) as host:
            self._host = this_host.own_address(host)
        tap = namespace.take(UPLINK)
        if tap is None:  # the carrier's, if there is one, is of a namespace whose keeper has died
            self._carrier.end()
            tap = netns.tap(namespace.control, UPLINK)
        try:
            self._own = self._furnished(namespace, inside)
            for kind in ("", "_stream"):
                namespace.set(f"netfilter/nf_conntrack_udp_timeout{kind}", UDP_S)
            if self._carrier.identity is None:
                gateway, name_server = self._peers()
                self._carrier.start(tap, str(self._own), gateway, name_server)
        finally:
            os.close(tap)

    def _furnished(self, namespace: Namespace, inside: Netlink) -> Interface:
        """The device's address; what it has already it keeps."""
        index = index_in(namespace, UPLINK)
        for each in links.addresses(inside):
            if each["index"] == index and each["family"] == socket.AF_INET:
                own = ipaddress.IPv4Interface(f"{each.get_attr('IFA_LOCAL')}/{each['prefixlen']}")
                break
        else:
            with this_host.kernel(ROUTE) as host:
                subnet = addresses.chosen(addresses.WAY_OUT_POOL, this_host.taken(host))
            own = ipaddress.IPv4Interface(f"{subnet[3]}/{subnet.prefixlen}")
        inside.do(_WHAT, [links.up(index), links.address(index, own)])
        try:
            inside.do(_WHAT, [links.route(index, _EVERYWHERE, own.network[1])])
        except NetlinkError as error:
            if error.number != errno.EEXIST:
                raise
        return own

    def _peers(self) -> tuple[str, str]:
        """Its gateway, which is the host, and who answers for the host's name server."""
        assert self._own is not None
        return str(self._own.network[1]), str(self._own.network[2])

    # ------------------------------------------------------------------------------------- ports

    def reset(self, subnets: Iterable[Subnet], ports: Iterable[Led]) -> list[Subnet]:
        wishes = list(ports)
        there = {_key_of(each): each for each in self._carrier.forwards()}
        wanted = {_key(each): each for each in _carried(wishes)}
        self._carrier.remove([each for key, each in there.items() if key not in wanted])
        self._led = {key: (wanted[key], each) for key, each in there.items() if key in wanted}
        self._open_to(set(_opened(wishes)))
        table = way_out_rules.table()
        with self._change() as batch:
            batch.make(table)
            batch.put(table, way_out_rules.OPENED.name, self._openings(self._opened))
            batch.put(table, way_out_rules.SHUT.name, [(each,) for each in self._peers()])
            batch.put(table, way_out_rules.LED.name, [_element(*each) for each in self._led.values()])
        for key, port in wanted.items():
            if key not in there:
                try:
                    self.publish([port])
                except (HyperError, OSError) as error:
                    log.error("a published port is lost: %s", error)
        return []

    def lead(self, subnets: Iterable[Subnet], *, gone: bool = False) -> None:
        """By the way out everything is reached, and by no other way anything."""

    def publish(self, ports: Sequence[Led]) -> None:
        new = [each for each in _carried(ports) if not self._is_led(each)]
        made, opened = dict(self._numbered(new)), set(_opened(ports))
        if not made and not opened:
            return
        elements = [_element(*each) for each in made.values()]
        with self._change() as batch:
            batch.put(way_out_rules.table(), way_out_rules.LED.name, elements)
            batch.put(way_out_rules.table(), way_out_rules.OPENED.name, self._openings(opened))
        try:
            self._carrier.add([forward for _, forward in made.values()])
        except BaseException:
            self._forget(elements, opened)
            raise
        self._led |= made
        if opened:
            self._open_to(self._opened | opened)
        self._forget_flows(made.values())

    def withdraw(self, ports: Sequence[Led]) -> None:
        gone = [self._led.pop(_key(each)) for each in _carried(ports) if self._is_led(each)]
        shut = self._opened & set(_opened(ports))
        if not gone and not shut:
            return
        self._carrier.remove([forward for _, forward in gone])
        if shut:
            self._open_to(self._opened - shut)
        self._forget([_element(*each) for each in gone], shut)
        self._forget_flows(gone)

    def _is_led(self, port: Published) -> bool:
        key = _key(port)
        return key in self._led and self._led[key][0] == port

    def _numbered(self, ports: Iterable[Published]) -> Iterator[tuple[_Key, tuple[Published, PortMapping]]]:
        """Each with the port of the device's address that it goes by, which it has alone."""
        used = {(forward.protocol, forward.container_port) for _, forward in self._led.values()}
        for each in ports:
            free = (each.host_port, *range(PORT_MAX, 0, -1))
            number = next(one for one in free if (each.protocol, one) not in used)
            used.add((each.protocol, number))
            yield _key(each), (each, PortMapping(number, each.host_port, each.host_ip, each.protocol))

    def _forget(self, led: Iterable[tuple[str | int, ...]], opened: Iterable[Opening]) -> None:
        with self._change() as batch:
            batch.forget(way_out_rules.table(), way_out_rules.LED.name, led)
            batch.forget(way_out_rules.table(), way_out_rules.OPENED.name, self._openings(opened))

    def _open_to(self, opened: set[Opening]) -> None:
        self._opened = opened
        self._carrier.offer({each.port for each in opened})

    def _openings(self, opened: Iterable[Opening]) -> list[tuple[str | int, ...]]:
        gateway, _ = self._peers()
        return [(each.ip, self.host(), each.port, gateway, each.port) for each in opened]

    def _forget_flows(self, led: Iterable[tuple[Published, PortMapping]]) -> None:
        with self._kernel() as kernel:
            flows.forget(kernel, [replace(port, host_port=by.container_port) for port, by in led])

    @contextlib.contextmanager
    def _change(self) -> Iterator[nft.Batch]:
        batch = nft.Batch()
        yield batch
        with self._kernel() as kernel:
            batch.commit(kernel, "the rules of the way out")

    @contextlib.contextmanager
    def _kernel(self) -> Iterator[Netlink]:
        assert self._namespace is not None
        netlink = Netlink(self._namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER))
        try:
            yield netlink
        finally:
            netlink.close()

    # ------------------------------------------------------------------------------------- the host

    @property
    def own(self) -> str:
        return str(self._own.ip) if self._own else ""

    def aliases(self, protocol: str, ip: str, port: int) -> list[tuple[str, int]]:
        wanted = (protocol, ip, port)
        led = [by for to, by in self._led.values() if (to.protocol, to.ip, to.port) == wanted]
        return [(self.own, by.container_port) for by in led]

    def taken(self) -> list[Network]:
        with this_host.kernel(ROUTE) as host:
            return [*this_host.taken(host), *([self._own.network] if self._own else [])]

    def mtu(self) -> int:
        with this_host.kernel(ROUTE) as host:
            return this_host.mtu(host)

    def host(self) -> str:
        return self._host or self._peers()[0]

    def close(self) -> None:
        self._carrier.end()
        self._led, self._opened = {}, set()


def _carried(ports: Iterable[Led]) -> list[Published]:
    """Of IPv6 none is, and who named no address has it on those of IPv4."""
    of_host = [each for each in ports if isinstance(each, Published)]
    return [each for each in of_host if ipaddress.ip_address(each.host_ip).version == 4]


def _opened(ports: Iterable[Led]) -> list[Opening]:
    return [each for each in ports if isinstance(each, Opening)]


def _key(port: Published) -> _Key:
    return port.protocol, port.host_ip, port.host_port


def _key_of(forward: PortMapping) -> _Key:
    return forward.protocol, forward.host_ip, forward.host_port


def _element(port: Published, forward: PortMapping) -> tuple[str | int, ...]:
    return PROTOCOLS[port.protocol], forward.container_port, port.ip, port.port
