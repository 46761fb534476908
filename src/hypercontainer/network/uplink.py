"""The way between the namespace of networks and the host, as root: a pair of interfaces, and translation on the host.

On the host are one interface, one table, a route for each network, and, where somebody else's rules let nothing through
that is forwarded, two rules of ours among them (``foreign``).  Interface and routes go with the namespace; the table is
taken away, and made anew whenever hyperd begins.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import logging
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from hypercontainer.contract.networks import Subnet
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Identity
from hypercontainer.network import addresses, flows, foreign, links, nft, rules, this_host
from hypercontainer.network.netlink import ABSENT, NETFILTER, ROUTE, Netlink, NetlinkError, nothing_there
from hypercontainer.network.parts import Address, Interface, Led, Network

log = logging.getLogger(__name__)

_SETTINGS = Path("/proc/sys/net")
_LEADS_ELSEWHERE = (errno.EEXIST, errno.EBUSY)  # says one kernel or another of a port that has other data
_WHAT = "the link between the host and the networks"
# Of IPv6 the link's own addresses do: its ends need no others.
OURS6, THEIRS6 = (ipaddress.IPv6Interface(f"fe80::{end}/64") for end in (1, 2))


class Uplink(Protocol):
    """What a fabric has of the host."""

    def open(self, namespace: Namespace, inside: Netlink) -> None:
        """Has the way be; ``inside`` speaks of the namespace's interfaces."""

    def reset(self, subnets: Iterable[Subnet], ports: Iterable[Led]) -> list[Subnet]:
        """These and no others are led to.  Those to which somebody else has a way, so that there is none of ours."""

    def lead(self, subnets: Iterable[Subnet], *, gone: bool = False) -> None:
        """There is a way to them; ``gone``: there is none any more.  Refused (EEXIST) where somebody else has one."""

    def publish(self, ports: Sequence[Led]) -> None: ...
    def withdraw(self, ports: Sequence[Led]) -> None:
        """Nothing happens to those that are gone, or lead elsewhere."""

    def taken(self) -> list[Network]:
        """What this machine has addresses in, or a way to."""

    def mtu(self) -> int:
        """Of the machine's way out."""

    def host(self) -> str:
        """An address by which pods reach the host's own services, those of its loopback address excepted."""

    @property
    def carrier(self) -> Identity | None:
        """The process that it is carried by, while that lives; None where it needs none."""

    def aliases(self, protocol: str, ip: str, port: int) -> list[tuple[str, int]]:
        """By which addresses and ports in the namespace comes what is published of this one."""

    @property
    def own(self) -> str:
        """Whose these addresses are; "" where there are none."""

    @property
    def binds(self) -> bool:
        """Whether it has published ports for its own, so that nobody else can keep them."""

    def close(self) -> None:
        """Nothing is left of it."""


class HostLink:
    """``Uplink`` of root.  ``mark`` makes its names, which are this hyperd's alone."""

    carrier: Identity | None = None
    binds = False
    own = ""

    def __init__(self, mark: str) -> None:
        self.mark = hashlib.sha256(mark.encode()).hexdigest()[:8]
        self._name = f"hyp-{self.mark}"
        self._table = rules.host(f"hyper_{self.mark}", self._name)

    def open(self, namespace: Namespace, inside: Netlink) -> None:
        if not self._leads_to(namespace, inside):
            self._remove()  # one that leads to a namespace whose keeper has died
            with contextlib.ExitStack() as undo, this_host.kernel(ROUTE) as host:
                undo.callback(self._remove)
                self._make(host, inside, namespace)
                undo.pop_all()
        _set("ipv4/ip_forward")
        _set(f"ipv4/conf/{self._name}/route_localnet")

    def _leads_to(self, namespace: Namespace, inside: Netlink) -> bool:
        """Whether it is there as ``_make`` leaves it, whose last is the ways out."""
        if not _index(self._name):
            return False
        uplink = index_in(namespace, rules.UPLINK)
        ways = [each for each in links.routes(inside, 4) if each["dst_len"] == 0]
        return bool(uplink) and any(each.get_attr("RTA_OIF") == uplink for each in ways)

    def _remove(self) -> None:
        if index := _index(self._name):
            with this_host.kernel(ROUTE) as host, nothing_there():
                host.do(_WHAT, [links.delete(index)])

    def _make(self, host: Netlink, inside: Netlink, namespace: Namespace) -> None:
        subnet = addresses.chosen(addresses.LINK_POOL, this_host.taken(host))
        host.do(_WHAT, [links.veth(self._name, rules.UPLINK, namespace.pid, this_host.mtu(host))])
        uplink = index_in(namespace, rules.UPLINK)
        ours, theirs = (ipaddress.ip_interface(f"{each}/{subnet.prefixlen}") for each in subnet.hosts())
        pairs: list[tuple[Interface, Interface, str]] = [(ours, theirs, "0.0.0.0/0")]
        with contextlib.suppress(FileNotFoundError):  # a kernel may have no IPv6
            _set(f"ipv6/conf/{self._name}/disable_ipv6", "0")
            namespace.set(f"ipv6/conf/{rules.UPLINK}/disable_ipv6", 0)
            pairs.insert(0, (OURS6, THEIRS6, "::/0"))
        host.do(_WHAT, [links.address(_index(self._name), each) for each, _, _ in pairs])
        inside.do(_WHAT, [links.up(uplink), *(links.address(uplink, each) for _, each, _ in pairs)])
        for gateway, _, everywhere in pairs:
            inside.do(_WHAT, [links.route(uplink, ipaddress.ip_network(everywhere), gateway.ip)])

    def reset(self, subnets: Iterable[Subnet], ports: Iterable[Led]) -> list[Subnet]:
        wanted, lost = list(subnets), []
        self._lead_nowhere_else(wanted)
        for subnet in wanted:
            try:
                self.lead([subnet])
            except NetlinkError as error:
                if error.number != errno.EEXIST:
                    raise
                log.error("%s: somebody else's way there stays, and the network is not reached", error)
                lost.append(subnet)
        with self._change() as batch:
            batch.make(self._table)
            batch.put(self._table, rules.WAYS_OUT.name, [(name,) for name in self._ways_out()])
            self._put(batch, ports)
        with this_host.kernel(NETFILTER) as host:
            foreign.let_through(host, self._name)
        return lost

    def lead(self, subnets: Iterable[Subnet], *, gone: bool = False) -> None:
        with this_host.kernel(ROUTE) as host:
            index = _index(self._name)
            gateways = {4: _beside(host, index), 6: THEIRS6.ip}
            for each in subnets:
                network = ipaddress.ip_network(each.subnet)
                route = links.route(index, network, gateways[network.version], gone=gone)
                try:
                    host.do(f"the way to {network}", [route])
                except NetlinkError as error:
                    if error.number not in (ABSENT if gone else (errno.EEXIST,)):
                        raise
                    if not gone and not self._leads(host, index, network):
                        raise
                if network.version == 6 and not gone:
                    _forward6()

    def _lead_nowhere_else(self, wanted: Iterable[Subnet]) -> None:
        """Networks that are gone have no way to them any more."""
        named = {ipaddress.ip_network(each.subnet) for each in wanted}
        with this_host.kernel(ROUTE) as host:
            index = _index(self._name)
            ours = [
                ipaddress.ip_network(f"{each.get_attr('RTA_DST')}/{each['dst_len']}")
                for version in (4, 6)
                for each in links.routes(host, version)
                if each.get_attr("RTA_OIF") == index and each.get_attr("RTA_GATEWAY")
            ]
        self.lead([Subnet(str(each)) for each in ours if each not in named], gone=True)

    def _ways_out(self) -> set[str]:
        with this_host.kernel(ROUTE) as host:
            ways = {
                route.get_attr("RTA_OIF")
                for version in (4, 6)
                for route in links.routes(host, version)
                if route["dst_len"] == 0
            }
            return {each.get_attr("IFLA_IFNAME") for each in links.links(host) if each["index"] in ways}

    def _leads(self, host: Netlink, index: int, network: Network) -> bool:
        return any(
            (each.get_attr("RTA_DST"), each["dst_len"], each.get_attr("RTA_OIF"))
            == (str(network.network_address), network.prefixlen, index)
            for each in links.routes(host, network.version)
        )

    def publish(self, ports: Sequence[Led]) -> None:
        with self._change() as batch:
            self._put(batch, ports)
        with this_host.kernel(NETFILTER) as host:
            flows.forget(host, ports)

    def withdraw(self, ports: Sequence[Led]) -> None:
        self._withdraw(ports)
        with this_host.kernel(NETFILTER) as host:
            flows.forget(host, ports)

    def _withdraw(self, ports: Sequence[Led]) -> None:
        try:
            self._forget(ports)
        except NetlinkError as error:
            if error.number not in _LEADS_ELSEWHERE:
                raise
            if len(ports) > 1:
                for each in ports:
                    self._withdraw([each])

    def _forget(self, ports: Sequence[Led]) -> None:
        with self._change() as batch:
            for name, elements in _by_map(ports).items():
                batch.forget(self._table, name, elements)

    def _put(self, batch: nft.Batch, ports: Iterable[Led]) -> None:
        for name, elements in _by_map(ports).items():
            batch.put(self._table, name, elements)

    def aliases(self, protocol: str, ip: str, port: int) -> list[tuple[str, int]]:
        return []

    def taken(self) -> list[Network]:
        with this_host.kernel(ROUTE) as host:
            return this_host.taken(host)

    def mtu(self) -> int:
        with this_host.kernel(ROUTE) as host:
            return this_host.mtu(host)

    def host(self) -> str:
        with this_host.kernel(ROUTE) as host:
            return str(_beside(host, _index(self._name)) - 1)

    def close(self) -> None:
        with this_host.kernel(NETFILTER) as host:
            foreign.forget(host, self._name)
        with self._change() as batch:
            batch.remove(self._table)
        self._remove()

    @contextlib.contextmanager
    def _change(self) -> Iterator[nft.Batch]:
        batch = nft.Batch()
        yield batch
        with this_host.kernel(NETFILTER) as host:
            batch.commit(host, "the host's rules for networks")


def _by_map(ports: Iterable[Led]) -> dict[str, list[tuple[str | int, ...]]]:
    made: dict[str, list[tuple[str | int, ...]]] = {}
    for port in ports:
        name, element = port.element
        made.setdefault(name, []).append(element)
    return made


def index_in(namespace: Namespace, device: str) -> int:
    with contextlib.closing(namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        return links.index(probe, device)


def _index(device: str) -> int:
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


def _set(name: str, value: str = "1") -> None:
    (_SETTINGS / name).write_text(value)


def _forward6() -> None:
    """Who forwards IPv6 heeds no router any more, unless told to (ip-sysctl, ``accept_ra``): the host keeps its own
    way out."""
    if (_SETTINGS / "ipv6/conf/all/forwarding").read_text().strip() == "1":
        return
    for setting in _SETTINGS.glob("ipv6/conf/*/accept_ra"):
        if setting.read_text().strip() == "1":
            setting.write_text("2")
    _set("ipv6/conf/all/forwarding")


def _beside(host: Netlink, index: int) -> Address:
    """The address at the other end of our link."""
    for each in links.addresses(host):
        if each["index"] == index and each["family"] == socket.AF_INET:
            return ipaddress.IPv4Address(each.get_attr("IFA_LOCAL")) + 1
    raise NetlinkError(_WHAT, errno.EADDRNOTAVAIL)
