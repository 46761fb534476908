"""The rules and the sets by which policies are kept: data for ``nft``, a part of ``network/rules.py``.

All that a watched pod sends, and all that is sent to it in its own network, goes by the gateway: the bridge hands the
frame on to itself.  So there is one place where it is decided, in which connections are known.

What a pod may reach is found in three steps: its address has a policy; the policy, protocol and port have a gate; the
gate has addresses (`compiling`).  The packet's mark is the policy, and then the gate.  Rules do not change: pods,
policies and answers of name servers are elements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from hypercontainer.network import nft
from hypercontainer.network.nft import (
    ACCEPT,
    DROP,
    IPV4,
    IPV6,
    LINK,
    NETWORK,
    TRANSPORT,
    UNEQUAL,
    Chain,
    Match,
)
from hypercontainer.network.sets import IFNAME, IP4, IP6, MAC, MARK, PORT, PROTOCOL, Set, Type

PROXY_PORT = 15080  # in the namespace of networks, where the proxy for HTTP listens
HTTP_PORTS = (80, 443)
LOG_GROUP = 7  # of nfnetlink_log, in the namespace of networks
LOG_BYTES = 96  # of a packet that is denied: its headers
BY_POLICY, BY_COUNT = "policy", "connections"  # why: what a line of the log begins with
ALLOWED, _DENIED, _FULL = "allowed", "denied", "full"
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_MULTICAST = b"\x01\0\0\0\0\0"

# Of frames: the tap devices of watched pods, and their addresses; of each tap device its bridge's MAC address, and what
# it sends in a second.
WATCHED = Set("watched", (IFNAME,))
HIDDEN4, HIDDEN6 = Set("hidden4", (IP4,)), Set("hidden6", (IP6,))
ROUTERS = Set("routers", (IFNAME,), (MAC,))
RATES = Set("rates", (IFNAME,), dynamic=True)
OF_FRAMES = (WATCHED, HIDDEN4, HIDDEN6, ROUTERS, RATES)
# Of packets: which policy a pod has, which gate it, a protocol and a port, what that leads to.
GATES = Set("gates", (MARK, PROTOCOL, PORT), (MARK,), intervals=True)


def _both(
    name: str, *, intervals: bool = False, timeouts: bool = False, dynamic: bool = False
) -> tuple[Set, Set]:
    """Of addresses of each version."""
    made = (
        Set(f"{name}{end}", (kind,), (), intervals, timeouts, dynamic) for end, kind in ((4, IP4), (6, IP6))
    )
    four, six = made
    return four, six


POLICED4, POLICED6 = Set("policed4", (IP4,), (MARK,)), Set("policed6", (IP6,), (MARK,))
ALLOWED4 = Set("allowed4", (MARK, IP4), intervals=True)
ALLOWED6 = Set("allowed6", (MARK, IP6), intervals=True)
NAMED4 = Set("named4", (MARK, IP4, IP4), timeouts=True)  # the gate, the pod, where a name has led it
NAMED6 = Set("named6", (MARK, IP6, IP6), timeouts=True)
DOORS4, DOORS6 = Set("doors4", (IP4, PORT)), Set("doors6", (IP6, PORT))  # published ports of UDP
PROXIED4, PROXIED6 = _both("proxied")  # whose HTTP goes to the proxy, where no rule lets it out otherwise
SECURED4, SECURED6 = _both("secured")  # whose HTTP goes to the proxy, always
OPEN4, OPEN6 = _both("open", dynamic=True)  # how many connections a pod may have
TOLD4, TOLD6 = _both("told", dynamic=True)  # how much of what is denied is told
_FOUR = (IPV4, IP4, 12, 16, POLICED4, ALLOWED4, NAMED4, DOORS4, PROXIED4, SECURED4, OPEN4, TOLD4)
_SIX = (IPV6, IP6, 8, 24, POLICED6, ALLOWED6, NAMED6, DOORS6, PROXIED6, SECURED6, OPEN6, TOLD6)
OF_PACKETS = (GATES, *_FOUR[4:], *_SIX[4:])


class _Version:
    """Of IP: where its addresses stand in a header, and the sets of its own."""

    def __init__(
        self,
        family: int,
        kind: Type,
        source: int,
        target: int,
        policed: Set,
        allowed: Set,
        named: Set,
        doors: Set,
        proxied: Set,
        secured: Set,
        open_: Set,
        told: Set,
    ) -> None:
        self.family, self.kind, self._source, self._target = family, kind, source, target
        self.policed, self.allowed, self.named, self.doors = policed, allowed, named, doors
        self.proxied, self.secured, self.open, self.told = proxied, secured, open_, told

    def source(self, register: int = 0) -> nft.Expression:
        return nft.load(NETWORK, self._source, self.kind.size, register)

    def target(self, register: int = 0) -> nft.Expression:
        return nft.load(NETWORK, self._target, self.kind.size, register)

    def of(self, its: Set) -> Match:
        """Whose source is in the set."""
        return [*nft.of_family(self.family), self.source(), nft.found(its)]

    def marked(self, address: nft.Expression) -> Match:
        """With the policy of this address; no match where it has none."""
        return [*nft.of_family(self.family), address, nft.found(self.policed, register=0), nft.mark()]

    @property
    def let_out(self) -> tuple[Match, Match]:
        """By a subnet, and by a name; the gate is marked."""
        after = 1 + self.kind.registers
        by_name = [self.source(1), self.target(after), nft.found(self.named)]
        begin = [*nft.of_family(self.family), nft.load_meta("MARK")]
        return [*begin, self.target(1), nft.found(self.allowed)], [*begin, *by_name]


_VERSIONS = (_Version(*_FOUR), _Version(*_SIX))
_MARKED: Match = [nft.load_meta("MARK"), nft.compare(bytes(4), UNEQUAL)]


# ---------------------------------------------------------------------------------------------- frames


def too_fast() -> Match:
    return [nft.load_meta("IIFNAME"), nft.found(RATES), nft.verdict(DROP)]


def through_the_gateway(ip: Match, target: int, hidden: Set) -> tuple[Match, ...]:
    """Of packets of IP whose source is the pod's own.  A watched pod speaks to no group."""
    iif = nft.load_meta("IIFNAME")
    watched = [*ip, iif, nft.found(WATCHED)]
    router = [iif, nft.found(ROUTERS, register=0), *nft.to_bridge(), nft.verdict(ACCEPT)]
    to_group = [nft.load(LINK, 0, 6), nft.masked(_MULTICAST), nft.compare(bytes(6), UNEQUAL)]
    size = hidden.key[0].size
    return (
        [*watched, *to_group, nft.verdict(DROP)],
        [*watched, *router],
        [*ip, nft.load(NETWORK, target, size), nft.found(hidden), *router],
    )


# ---------------------------------------------------------------------------------------------- packets


def arriving(into: Match) -> tuple[Match, ...]:
    """From elsewhere than a network, to a pod with a policy: no more than connections, pings, and datagrams to where it
    has published a port.  Else who was reached before a policy said no could open the way again from there."""
    made: list[Match] = []
    for each in _VERSIONS:
        door = [each.target(), nft.load(TRANSPORT, 2, 2, each.kind.registers), nft.found(each.doors)]
        udp = [*nft.of_family(each.family), *nft.of_protocol(_UDP)]
        made += [[*into, *each.marked(each.target())], [*into, *udp, *door, nft.verdict(ACCEPT)]]
    known = [nft.compare(bytes([protocol]), UNEQUAL) for protocol in (_TCP, _ICMP, _ICMP6)]
    return (*made, [*into, *_MARKED, nft.load_meta("L4PROTO"), *known, nft.verdict(DROP)])


def _to_gate() -> tuple[Match, ...]:
    """The policy, and then the gate, is the packet's mark; of no policy it has none."""
    keys = [nft.load_meta("MARK"), nft.load_meta("L4PROTO", 1), nft.load(TRANSPORT, 2, 2, 2)]
    return (
        *(each.marked(each.source()) for each in _VERSIONS),
        [*keys, nft.found(GATES, register=0), nft.mark()],
    )


def leaving() -> tuple[Match, ...]:
    """Of who has a policy nothing goes further than this."""
    ways = [[*way, nft.goto(ALLOWED)] for each in _VERSIONS for way in each.let_out]
    return (*_to_gate(), *ways, [*_MARKED, nft.goto(_DENIED)])


def too_many() -> tuple[Match, ...]:
    return tuple([*each.of(each.open), nft.goto(_FULL)] for each in _VERSIONS)


def to_be_proxied(outside: Match) -> tuple[Match, ...]:
    """What another rule allows goes its way, and all other HTTP of who has such rules to the proxy; of who has secrets
    all HTTP does.  ``outside``: by a network with a way out."""

    def led(its: Callable[[_Version], Set]) -> tuple[Match, ...]:
        return tuple(
            [*outside, *each.of(its(each)), *nft.of_protocol(_TCP), *_at(port), *nft.to_port(PROXY_PORT)]
            for each in _VERSIONS
            for port in HTTP_PORTS
        )

    ways = tuple([*way, nft.verdict(ACCEPT)] for each in _VERSIONS for way in each.let_out)
    return (*led(lambda each: each.secured), *_to_gate(), *ways, *led(lambda each: each.proxied))


def without_quic() -> tuple[Match, ...]:
    """Which the proxy does not speak."""
    return tuple(
        [*each.of(each.secured), *nft.of_protocol(_UDP), *_at(443), nft.verdict(DROP)] for each in _VERSIONS
    )


def _at(port: int) -> Match:
    return [nft.load(TRANSPORT, 2, 2), nft.compare(struct.pack(">H", port))]


def to_proxy() -> Match:
    """What was led there, and nobody who asks for it."""
    return [*nft.translated_connection(), *nft.of_protocol(_TCP), *_at(PROXY_PORT)]


def refusals() -> tuple[Chain, Chain]:
    """Who is denied something learns it at once; and who listens, of each pod as much as is told."""
    end: tuple[Match, Match] = ([*nft.of_protocol(_TCP), nft.refused_stream()], [nft.prohibited()])

    def chain(name: str, why: str) -> Chain:
        log = nft.log(LOG_GROUP, why, LOG_BYTES)
        return Chain(name, (*([*each.of(each.told), log] for each in _VERSIONS), *end))

    return chain(_DENIED, BY_POLICY), chain(_FULL, BY_COUNT)
