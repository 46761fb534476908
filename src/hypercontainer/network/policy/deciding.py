"""What a policy says of one destination: pure, and the same that ``compiling`` tells the kernel.

The clouds' metadata addresses are denied unless a rule names the very address.  An address that a name leads to is
allowed by a rule with that name where it is one of the public internet's: what is this machine's, a private network's
or a pod's wants a rule with its subnet (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hypercontainer.network.egress import rules as http
from hypercontainer.network.egress.rules import HttpRule
from hypercontainer.network.parts import METADATA, Address, Network
from hypercontainer.network.policy.language import TCP, Meaning, Way, is_name

# Addresses of IPv6 that stand for some of IPv4: (how they begin, where that one is, from the last bit).
_TRANSLATED = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)


@dataclass(frozen=True)
class Verdict:
    """``rule``: the place of the one that allows it; None: it is denied, or no policy denies anything."""

    allowed: bool
    reason: str
    rule: int | None = None


def decide(
    meaning: Meaning, protocol: int, port: int, address: Address, names: Collection[str] = ()
) -> Verdict:
    """``names``: those which led the pod to the address.  The port of ICMP is 0."""
    if not meaning.restricted:
        if address in METADATA:
            return Verdict(False, "it is where clouds tell their machines' secrets")
        return Verdict(True, "the policy denies nothing")
    for way in meaning.ways:
        if not way.speaks_of(protocol, port):
            continue
        if covers(way, address):
            return Verdict(True, f"rule {way.number} allows {address}", way.number)
        for name in names:
            if way.names_host(name) and not refusal(way, address):
                return Verdict(True, f"rule {way.number} allows {name}", way.number)
    if address in METADATA:
        return Verdict(False, "it is where clouds tell their machines' secrets, and no rule names it")
    return Verdict(False, "no rule allows it")


def decide_request(meaning: Meaning, host: str, method: str, path: str) -> Verdict:
    """Of HTTP, through the proxy."""
    try:
        name, place = http.host_name(host), http.normal(path)
        for request in meaning.requests:
            with contextlib.suppress(http.Refused):
                http.decide([request.rule], name, method, place)
                return Verdict(True, f"rule {request.number} allows it, through the proxy", request.number)
        http.decide([request.rule for request in meaning.requests], name, method, place)
    except http.Refused as error:
        return Verdict(False, str(error))
    raise AssertionError("one of them allows it")


def proxied(meaning: Meaning, *, secured: bool) -> tuple[HttpRule, ...] | None:
    """What the proxy lets out of a pod; None: no policy has anything to say of it.  ``secured``: all HTTP of the pod is
    the proxy's, and rules with ``to`` speak of that too where they name hosts, or every address."""
    own = [request.rule for request in meaning.requests]
    if not meaning.restricted or not (own or secured):
        return None
    for way in meaning.ways if secured else ():
        schemes = tuple(name for name, port in http.PORTS.items() if way.speaks_of(TCP, port))
        everywhere = any(network.prefixlen == 0 for network in way.networks)
        if schemes and (way.names or everywhere):
            own.append(HttpRule(hosts=() if everywhere else way.names, schemes=schemes))
    return tuple(own)


def covers(way: Way, address: Address) -> bool:
    """By its subnets."""
    if address in METADATA:
        return ipaddress.ip_network(address) in way.networks
    return _inside(address, way.networks) and not _inside(address, way.excepted)


def refusal(way: Way, address: Address, own: Iterable[Network] = ()) -> str:
    """Why a rule with a name does not let out to what that leads to; "" where it does.  ``own``: pods' subnets."""
    if _inside(address, way.excepted):
        return "the rule excepts it"
    if address in METADATA or not is_public(address) or _inside(address, own):
        return "it leads to an address that is not the internet's"
    return ""


def is_public(address: Address) -> bool:
    for network, shift in _TRANSLATED:
        if address.version == 6 and address in network:
            return is_public(ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast


def may_ask(meaning: Meaning, name: str) -> bool:
    """Whether name servers are asked for it: some rule could allow what it leads to."""
    if not meaning.restricted:
        return True
    if any(network.prefixlen == 0 for way in meaning.ways for network in way.networks):
        return True
    if any(way.names_host(name) for way in meaning.ways):
        return True
    patterns = [host for request in meaning.requests for host in request.rule.hosts or ("*",)]
    return any(pattern == "*" or is_name(pattern, name) for pattern in patterns)


def _inside(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == each.version and address in each for each in networks)
