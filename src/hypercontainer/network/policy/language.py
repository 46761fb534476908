"""A policy as it is written, and what it means: pure.

What is refused is an ``InvalidArgument`` with the field as a path: "egress[2].ports[0]".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hypercontainer.contract.policies import EgressRule, NetworkPolicy
from hypercontainer.errors import InvalidArgument
from hypercontainer.network import addresses
from hypercontainer.network.egress import rules as http
from hypercontainer.network.egress.rules import HttpRule
from hypercontainer.network.parts import Network

MAX_RULES, MAX_TARGETS, MAX_PORTS = 64, 512, 64  # of a policy; of a rule; of a rule
MAX_CONNECTIONS = 65535
LEAST_RATE, MOST_RATE = 8_000, 1_000_000_000_000  # bits a second
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
PORT_MAX = 65535
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp))?")
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)([KMGT]?)bit", re.IGNORECASE)
_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Ports:
    """Of a protocol of IP by its number, from ``first`` to ``last``; of ICMP there are none, and all are meant."""

    protocol: int
    first: int = 0
    last: int = PORT_MAX


PING = (Ports(ICMP), Ports(ICMP6))
EVERYTHING = (Ports(TCP), Ports(UDP), *PING)


@dataclass(frozen=True)
class Way:
    """A rule with ``to``; ``number``: its place in the policy."""

    number: int
    networks: tuple[Network, ...]
    names: tuple[str, ...]
    excepted: tuple[Network, ...]
    ports: tuple[Ports, ...]

    def speaks_of(self, protocol: int, port: int) -> bool:
        return any(each.protocol == protocol and each.first <= port <= each.last for each in self.ports)

    def names_host(self, name: str) -> bool:
        return any(is_name(pattern, name) for pattern in self.names)


@dataclass(frozen=True)
class Request:
    """A rule with ``http``."""

    number: int
    rule: HttpRule


@dataclass(frozen=True)
class Meaning:
    """``restricted``: what no rule allows is denied.  Rates in bytes a second, 0: none."""

    restricted: bool = False
    ways: tuple[Way, ...] = ()
    requests: tuple[Request, ...] = ()
    out_rate: int = 0
    in_rate: int = 0
    connections: int = 0

    @property
    def proxied(self) -> bool:
        return bool(self.requests)


def is_name(pattern: str, name: str) -> bool:
    """Both in small letters, without the last dot."""
    if pattern.startswith(http.ANY_SUBDOMAIN):
        return name.endswith(pattern[1:]) and len(name) >= len(pattern)
    return name == pattern


def meaning(policy: NetworkPolicy) -> Meaning:
    limits, rules = policy.limits, policy.egress or ()
    if policy.egress is None and not (limits.out or limits.in_ or limits.connections):
        raise _refused(
            "egress", "the policy says nothing", "egress: [] to deny everything, or limits to bound it"
        )
    if len(rules) > MAX_RULES:
        raise _refused("egress", f"{len(rules)} rules are too many", f"at most {MAX_RULES}")
    ways, requests = [], []
    for number, rule in enumerate(rules):
        if bool(rule.to) == bool(rule.http):
            raise _refused(f"egress[{number}]", "a rule has either to or http", "to: [10.0.0.0/8]")
        if rule.to:
            ways.append(_way(number, rule))
        else:
            requests.append(_request(number, rule))
    if not 0 <= limits.connections <= MAX_CONNECTIONS:
        raise _refused(
            "limits.connections", f"{limits.connections} is out of range", f"1 to {MAX_CONNECTIONS}"
        )
    return Meaning(
        policy.egress is not None,
        tuple(ways),
        tuple(requests),
        rate(limits.out, "limits.out"),
        rate(limits.in_, "limits.in"),
        limits.connections,
    )


def rate(text: str, field: str) -> int:
    """Bytes a second of "10Mbit"; 0 of ""."""
    if not text:
        return 0
    found = _RATE.fullmatch(text)
    bits = int(float(found[1]) * _FACTORS[found[2].upper()]) if found else 0
    if not LEAST_RATE <= bits <= MOST_RATE:
        raise _refused(field, f"{text[:40]!r} is no rate", "8Kbit to 1Tbit, such as 10Mbit")
    return bits // 8


def _way(number: int, rule: EgressRule) -> Way:
    where = f"egress[{number}]"
    for field in ("methods", "paths"):
        if getattr(rule, field):
            raise _refused(f"{where}.{field}", "only requests of HTTP have these", "http in place of to")
    if len(rule.to) + len(rule.except_) > MAX_TARGETS or len(rule.ports) > MAX_PORTS:
        raise _refused(where, "it names too much", f"at most {MAX_TARGETS} subnets and {MAX_PORTS} ports")
    networks: list[Network] = []
    names: list[str] = []
    for place, text in enumerate(rule.to):
        found = _target(text, f"{where}.to[{place}]")
        if isinstance(found, str):
            names.append(found)
        else:
            networks.append(found)
    excepted = [_network(text, f"{where}.except[{place}]") for place, text in enumerate(rule.except_)]
    return Way(number, tuple(networks), tuple(names), tuple(excepted), tuple(_ports(rule.ports, where)))


def _request(number: int, rule: EgressRule) -> Request:
    where = f"egress[{number}]"
    for field, value in (("except", rule.except_), ("ports", rule.ports)):
        if value:
            raise _refused(f"{where}.{field}", "a rule with http has none: it is of ports 80 and 443", "to")
    try:
        return Request(number, http.check(HttpRule(rule.http, rule.methods, rule.paths)))
    except http.Refused as error:
        raise _refused(where, str(error), "http: [api.example.com]") from None


def _target(text: str, where: str) -> Network | str:
    if "/" in text or ":" in text or text.replace(".", "").isdigit():
        return _network(text, where)
    try:
        name = http.pattern(text)
    except http.Refused as error:
        raise _refused(where, str(error), "10.0.0.0/8, api.example.com, or *.example.com") from None
    if name == "*":
        raise _refused(where, "'*' is no name", "0.0.0.0/0 and ::/0 for all addresses")
    return name


def _network(text: str, where: str) -> Network:
    try:
        network = addresses.parsed(text)
    except ValueError as error:
        raise _refused(where, str(error), "such as 10.0.0.0/8") from None
    if getattr(network.network_address, "scope_id", None):
        raise _refused(where, f"{text[:60]!r} has a scope", "an address without one")
    return network


def _ports(given: Iterable[int | str], where: str) -> Iterator[Ports]:
    if not given:
        yield from EVERYTHING
    for place, text in enumerate(given):
        if text == "ping":
            yield from PING
            continue
        found = _PORTS.fullmatch(str(text))
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if found is None or not 0 < first <= last <= PORT_MAX:
            raise _refused(
                f"{where}.ports[{place}]",
                f"{str(text)[:40]!r} is no port",
                "443, 8000-8100, 53/udp or ping",
            )
        yield Ports(UDP if found[3] == "udp" else TCP, first, last)


def _refused(field: str, why: str, takes: str) -> InvalidArgument:
    return InvalidArgument(f"network policy: {why}", field=field, takes=takes)
