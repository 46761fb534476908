"""What a fabric of networks is told, and what it does: values, and its face.

Whoever speaks of networks knows these alone; what makes them is loaded when the first one is wanted.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hypercontainer.contract.networks import Subnet
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Identity

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where pods ask for names, whichever networks they are in: by their gateway, as none of them has an address beside it.
RESOLVER = "169.254.53.53"
TAP = "t-"  # before what else a tap device is called
DEVICE = "br-"  # of a network, before its ID
PROTOCOLS = {"tcp": 6, "udp": 17}
PLACES = 120  # of a service, to be shared among its pods: as many as 1 to 6 have no remainder of
CONNECTIONS = 8192  # of a pod, where nothing is said: the kernel has room for some hundred thousands
# What clouds tell their machines, credentials included, is had at these.
METADATA: tuple[Address, ...] = tuple(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "fd00:ec2::23")
)


@dataclass(frozen=True)
class Bridge:
    """A network, as it stands in the namespace.  ``id``: at least 12 hexadecimal digits."""

    id: str
    subnets: tuple[Subnet, ...]
    mtu: int
    internal: bool = False

    @property
    def what(self) -> str:
        return f"network {self.id[:12]}"

    @property
    def device(self) -> str:
        return DEVICE + self.id[:12]

    @property
    def mac(self) -> str:
        """The gateway's, as stable as the network."""
        return "02:" + ":".join(self.id[place : place + 2] for place in range(0, 10, 2))

    @property
    def gateways(self) -> list[Interface]:
        return [
            ipaddress.ip_interface(f"{each.gateway}/{each.subnet.partition('/')[2]}") for each in self.subnets
        ]

    @property
    def dual(self) -> bool:
        return any(each.version == 6 for each in self.gateways)


@dataclass(frozen=True)
class Guard:
    """What is watched of a pod.  ``policy``: the number of its compiled one, 0: nothing is denied; ``proxied``: what no
    other rule allows of HTTP goes to the proxy; ``secured``: all of it does; ``connections`` that it may have; rates in
    bytes a second, 0: any."""

    policy: int = 0
    proxied: bool = False
    connections: int = CONNECTIONS
    out_rate: int = 0
    in_rate: int = 0
    secured: bool = False


@dataclass(frozen=True)
class Place:
    """A pod's tap device on a network's bridge, and who may speak there."""

    tap: str
    bridge: Bridge
    mac: str
    addresses: tuple[str, ...]
    guard: Guard = Guard()

    @property
    def own(self) -> list[str]:
        """All that it may send from."""
        return [*self.addresses, *([link_local(self.mac)] if self.bridge.dual else [])]


def link_local(mac: str) -> str:
    """The address of IPv6 that an interface gives itself (RFC 4291, appendix A)."""
    first, *rest = bytes.fromhex(mac.replace(":", ""))
    made = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + made))


@dataclass(frozen=True)
class Published:
    """A port of the host that leads to a pod's.  ``host_ip`` "0.0.0.0" or "::": all its addresses of that version."""

    protocol: str
    host_ip: str
    host_port: int
    ip: str
    port: int

    @property
    def element(self) -> tuple[str, tuple[str | int, ...]]:
        """(the name of the map, what it has for this)."""
        host = ipaddress.ip_address(self.host_ip)
        key = (PROTOCOLS[self.protocol], self.host_port)
        if host.is_unspecified:
            return f"any{host.version}", (*key, self.ip, self.port)
        return f"at{host.version}", (self.host_ip, *key, self.ip, self.port)


@dataclass(frozen=True)
class Served:
    """A port of a service's address, and those of pods that stand behind it.  ``sticky``: of one client always the same
    of them, as long as they are the same.  ``client``: the only one that finds it, by its address."""

    protocol: str
    ip: str
    port: int
    behind: tuple[tuple[str, int], ...]
    sticky: bool = False
    client: str = ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.client, self.protocol, self.ip, self.port

    @property
    def map(self) -> str:
        return "own4" if self.client else "sticky4" if self.sticky else "services4"

    @property
    def elements(self) -> set[tuple[str | int, ...]]:
        """What its map has: a place is drawn for each connection, and each pod has as many of them as the others, or
        one less."""
        client, count = (self.client,) if self.client else (), len(self.behind)
        key = (*client, self.ip, PROTOCOLS[self.protocol], self.port)
        return {(*key, place, *self.behind[place % count]) for place in range(PLACES if count else 0)}


@dataclass(frozen=True)
class Opening:
    """A port of the host's loopback address that is open to a pod, by TCP, where the pod calls the host
    (``Fabric.host``)."""

    ip: str
    port: int

    @property
    def element(self) -> tuple[str, tuple[str | int, ...]]:
        """See `Published.element`."""
        return "opened", (self.ip, self.port, "127.0.0.1", self.port)


Led = Published | Opening


class Elements(Protocol):
    """What the kernel is told of a policy: ``policy.compiling.Compiled``."""

    @property
    def number(self) -> int: ...
    @property
    def elements(self) -> Mapping[str, Sequence[tuple[Any, ...]]]:
        """By the set."""


@dataclass(frozen=True)
class Flow:
    """A connection of a pod's to where it wanted; ``proxied``: it was led to the proxy.  The port of ICMP is 0."""

    source: Address
    target: Address
    protocol: int
    port: int
    proxied: bool


@dataclass(frozen=True)
class Lead:
    """By a gate of its policy a pod, by its address of the same version, is let out to ``target``."""

    gate: int
    pod: Address
    target: Address

    @property
    def element(self) -> tuple[str, tuple[Any, ...]]:
        """(the name of the set, what it has for this)."""
        return f"named{self.target.version}", (self.gate, str(self.pod), str(self.target))


class Naming(Protocol):
    """Who tells the kernel where names have led pods: ``policy.naming.KernelNaming``."""

    def lead(self, leads: Iterable[Lead], lifetime_s: float) -> None:
        """From now on, and no longer than that."""

    def forget(self, leads: Iterable[Lead]) -> None:
        """Nothing happens to those that are gone."""

    def close(self) -> None: ...


class Fabric(Protocol):
    """All networks of one hyperd: ``fabric.NamespaceFabric``.  It blocks."""

    @property
    def namespace(self) -> Namespace: ...
    @property
    def is_open(self) -> bool: ...
    def open(
        self,
        bridges: Sequence[Bridge],
        places: Collection[Place],
        ports: Collection[Led],
        subnet: Subnet | None,
        served: Sequence[Served],
        policies: Iterable[Elements] = (),
    ) -> bool:
        """Has the namespace be, with these and nothing else; ``subnet``: of services.  Whether it was there: else
        devices are in none."""

    def make(self, bridge: Bridge) -> None:
        """A new network.  Nothing is left of what fails."""

    def reach(self, bridge: Bridge) -> None:
        """Where somebody else's way to its subnet has kept it from being reached, and is gone; Unavailable while it is
        there."""

    def remove(self, bridge: Bridge) -> None:
        """One with nobody in it; nothing happens where it is gone."""

    def listeners(self) -> tuple[socket.socket, socket.socket]:
        """Where all pods ask for names: a socket of UDP, and one of TCP that listens."""

    def proxy_listeners(self) -> tuple[socket.socket, ...]:
        """Where the HTTP of pods is led whose places are ``proxied``: they listen, and outlive this process."""

    def plug(self, place: Place) -> None:
        """A tap device that is there becomes its network's.  Nothing is left of what fails."""

    def unplug(self, place: Place) -> None:
        """Nothing happens where it is gone."""

    def drop(self, tap: str) -> None:
        """A tap device whose VM is gone; nothing happens where it is gone too."""

    def guard(
        self,
        former: Sequence[Place],
        places: Sequence[Place],
        without: Elements | None = None,
        by: Elements | None = None,
    ) -> None:
        """Places that are there are guarded otherwise than they were; one policy goes with that, another comes."""

    def cut(self, addresses: Iterable[str], stays: Callable[[Flow], bool]) -> int:
        """Connections that these began are forgotten, but those which stay: as if they were new.  How many."""

    def naming(self) -> Naming:
        """Who tells the kernel where names lead; the caller's to close."""

    def denials(self) -> socket.socket:
        """What is denied is told there (`nflog`); the caller's to close."""

    def publish(self, ports: Sequence[Led]) -> None:
        """All or none."""

    def withdraw(self, ports: Sequence[Led]) -> None:
        """Nothing happens where they are gone."""

    def lead(self, subnet: Subnet, *, gone: bool = False) -> None:
        """Services have their addresses in there.  Refused (Unavailable) where somebody else has it."""

    def serve(self, former: Sequence[Served], wanted: Sequence[Served]) -> None:
        """In place of ``former``, which is what there was of these ports.  Datagrams for who is behind them no more
        come to another.  A stream stays with its pod, and is refused when that has gone (``leave``)."""

    def leave(self, former: Sequence[Served], addresses: Collection[str]) -> None:
        """Of streams by ``former`` to pods that have gone: their clients are told at once."""

    def taken(self) -> list[Network]:
        """What this machine has addresses in, or a way to."""

    def mtu(self) -> int:
        """Of the machine's way out."""

    def host(self) -> str:
        """An address by which pods reach the host's own services, those of its loopback address excepted."""

    @property
    def carrier(self) -> Identity | None:
        """The process that carries its way out, while that lives; None where there is none."""

    @property
    def binds(self) -> bool:
        """Whether it has published ports for its own, so that nobody else can keep them."""

    def dissolve(self) -> None:
        """Nothing is left.  Of a pod that still runs nobody hears any more."""

    def close(self) -> None:
        """Lets go of it; it is there for the next."""
