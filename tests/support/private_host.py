"""A host of a test's own: a network namespace, which the test's thread is in for as long as it looks after networks.

Beyond it is the world: another namespace, at the other end of a pair of interfaces.  Sockets, ``/proc/sys/net`` and
the programs that the thread starts are the private host's; the machine's own network is out of reach.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.linux.netns import Namespace
from hypercontainer.network import links
from hypercontainer.network.netlink import ROUTE, Netlink

CLONE_NEWNET = 0x40000000
DEADLINE_S = 30.0
WAY_OUT, WAY_IN = "eth0", "world0"  # the pair: the host's end, the world's
HOST, WORLD = ipaddress.ip_interface("192.0.2.2/24"), ipaddress.ip_interface("192.0.2.1/24")
HOST6, WORLD6 = ipaddress.ip_interface("2001:db8::2/64"), ipaddress.ip_interface("2001:db8::1/64")
LINK_LOCAL = "fe80::"

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def entered(namespace: Namespace) -> Iterator[None]:
    """This thread is in the namespace, and then where it was (setns(2))."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/proc/{namespace.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)
        os.close(there)


def _enter(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def netlink(protocol: int = ROUTE, namespace: Namespace | None = None) -> Iterator[Netlink]:
    """Of the namespace; None: of where this thread is."""
    family, kind = socket.AF_NETLINK, socket.SOCK_RAW
    sock = namespace.socket(family, kind, protocol) if namespace else socket.socket(family, kind, protocol)
    with contextlib.closing(Netlink(sock)) as made:
        yield made


def said(*argv: str) -> str:
    """What a program says, which runs where this thread is."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    assert not done.stderr, f"{argv}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class PrivateHost:
    """``world``: what is beyond its way out."""

    namespace: Namespace
    world: Namespace

    def remote(self, kind: socket.SocketKind, *, version: int = 4) -> socket.socket:
        """A socket of the world's, at its address and any port."""
        address, family = (WORLD, socket.AF_INET) if version == 4 else (WORLD6, socket.AF_INET6)
        made = self.world.socket(family, kind)
        made.settimeout(DEADLINE_S)
        made.bind((str(address.ip), 0))
        return made


@contextlib.contextmanager
def private_host(folder: Path) -> Iterator[PrivateHost]:
    """This thread is in it, and at the end nothing is left of either, and the thread is where it was."""
    before = os.readlink("/proc/thread-self/ns/net")
    with contextlib.ExitStack() as undo:
        spaces = []
        for name in ("host", "world"):
            spaces.append(Namespace.start(folder / name, user=False))
            undo.callback(_end, spaces[-1])
        made = PrivateHost(*spaces)
        undo.enter_context(entered(made.namespace))
        _join(made)
        yield made
    assert os.readlink("/proc/thread-self/ns/net") == before


def _end(namespace: Namespace) -> None:
    namespace.end()
    assert not namespace.alive()
    assert not namespace.folder.exists()


def _join(made: PrivateHost) -> None:
    with netlink() as route, netlink(namespace=made.world) as far:
        route.do("the way out", [links.veth(WAY_OUT, WAY_IN, made.world.pid, 1500)])
        own = socket.if_nametoindex(WAY_OUT)
        with contextlib.closing(made.world.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            other = links.index(probe, WAY_IN)
        route.do("the way out", [links.address(own, each) for each in (HOST, HOST6)])
        far.do("the world", [links.up(other), *(links.address(other, each) for each in (WORLD, WORLD6))])
        for everywhere, gateway in (("0.0.0.0/0", WORLD.ip), ("::/0", WORLD6.ip)):
            route.do("the way out", [links.route(own, ipaddress.ip_network(everywhere), gateway)])


@dataclass(frozen=True)
class Footprint:
    """What networks may leave on a host."""

    links: frozenset[str]
    routes: frozenset[str]
    tables: str
    forward: str


def footprint() -> Footprint:
    """Of where this thread is."""
    with netlink() as route:
        names = frozenset(str(each.get_attr("IFLA_IFNAME")) for each in links.links(route))
        index = {str(each["index"]): str(each.get_attr("IFLA_IFNAME")) for each in links.links(route)}
        routes = frozenset(
            f"{each.get_attr('RTA_DST') or 'default'}/{each['dst_len']} {index[str(each.get_attr('RTA_OIF'))]}"
            for version in (4, 6)
            for each in links.routes(route, version)
            if each.get_attr("RTA_DST") != LINK_LOCAL  # comes a little after its interface
        )
    tables = said("nft", "list", "tables")
    chains = [line for line in tables.splitlines() if line.split()[-1] == "filter"]
    forward = "".join(said("nft", "list", *line.split()) for line in chains)
    return Footprint(names, routes, tables, forward)
