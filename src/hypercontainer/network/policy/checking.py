"""What a policy says of a URL: pure.

A name is what name servers have led the pod to by it; of one that has led nowhere yet it is told what would be.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from hypercontainer.errors import InvalidArgument
from hypercontainer.network.egress import rules as http
from hypercontainer.network.parts import Address
from hypercontainer.network.policy import deciding
from hypercontainer.network.policy.deciding import Verdict
from hypercontainer.network.policy.language import ICMP, ICMP6, PORT_MAX, TCP, UDP, Meaning

_SCHEMES = {"http": (TCP, 80), "https": (TCP, 443), "tcp": (TCP, 0), "udp": (UDP, 0), "icmp": (ICMP, 0)}


@dataclass(frozen=True)
class Place:
    """What a URL says.  The port of ICMP is 0."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def protocol(self) -> int:
        return _SCHEMES[self.scheme][0]

    @property
    def address(self) -> Address | None:
        """None where the host is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


@dataclass(frozen=True)
class Led:
    """Where names have led a pod: the names of an address, the addresses of a name."""

    names: Callable[[Address], Sequence[str]] = lambda address: ()
    addresses: Callable[[str], Sequence[Address]] = lambda name: ()


def parsed(url: str) -> Place:
    """InvalidArgument."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise _no_url(url, str(error)) from None
    if parts.scheme not in _SCHEMES or not host:
        raise _no_url(url, "a scheme and a host are wanted")
    usual = _SCHEMES[parts.scheme][1]
    if parts.scheme != "icmp" and not 0 < (port or usual) <= PORT_MAX:
        raise _no_url(url, "a port is wanted")
    query = f"?{parts.query}" if parts.query else ""
    return Place(parts.scheme, host, port or usual, (parts.path or "/") + query)


def check(meaning: Meaning, place: Place, method: str, led: Led) -> tuple[Verdict, tuple[Address, ...]]:
    """With what the host's name has led to."""
    address = place.address
    targets = (address,) if address is not None else tuple(led.addresses(place.host))
    verdict = _by_name(meaning, place) if not targets else Verdict(False, "")
    for each in targets:
        names = led.names(each) if address is not None else (place.host,)
        protocol = ICMP6 if place.protocol == ICMP and each.version == 6 else place.protocol
        verdict = deciding.decide(meaning, protocol, place.port, each, names)
        if verdict.allowed:
            break
    proxied = meaning.proxied and http.PORTS.get(place.scheme) == place.port
    if proxied and not verdict.allowed:
        verdict = deciding.decide_request(meaning, place.host, method, place.path)
    return verdict, () if address is not None else targets


def _by_name(meaning: Meaning, place: Place) -> Verdict:
    """Of a name that has led the pod nowhere yet."""
    if not meaning.restricted:
        return Verdict(True, "the policy denies nothing")
    for way in meaning.ways:
        if way.names_host(place.host) and way.speaks_of(place.protocol, place.port):
            why = f"rule {way.number} allows {place.host}, once a name server has led the pod to it"
            return Verdict(True, why, way.number)
    if not deciding.may_ask(meaning, place.host):
        return Verdict(False, "no rule speaks of the name, and name servers are not asked for it")
    return Verdict(False, "no rule allows the name; of where it leads, ask by the address")


def _no_url(url: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"{url[:120]!r}: {why}",
        field="url",
        takes="https://HOST/PATH, tcp://HOST:PORT, udp://HOST:PORT or icmp://HOST",
    )
