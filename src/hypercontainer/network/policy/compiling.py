"""What the kernel is told of a policy: elements of sets (``network/rules.py``), pure.

A *gate* is what several rules have in common: all ports that the same rules speak of.  A packet's policy, protocol and
port lead to its gate, and the gate with the address, or with the address to which a name led this pod, lets it through.
So no two elements overlap, however rules do.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hypercontainer.errors import InvalidArgument
from hypercontainer.network.parts import METADATA, Address, Network
from hypercontainer.network.policy.deciding import refusal
from hypercontainer.network.policy.language import ICMP, ICMP6, PORT_MAX, TCP, UDP, Meaning, Way

GATES_MAX = 1 << 10  # of a policy; its number has the bits above
ELEMENTS_MAX = 1 << 14
NUMBER_MAX = (1 << 21) - 1
_GATE = 1 << 31
Range = tuple[int, int]  # both ends are of it
Element = tuple[Any, ...]


@dataclass(frozen=True)
class Compiled:
    """A policy by its number.  ``InvalidArgument`` where it has too much for the kernel."""

    number: int
    meaning: Meaning

    @cached_property
    def _gates(self) -> dict[tuple[Way, ...], list[tuple[int, Range]]]:
        """By the rules that speak of them: protocols and ports."""
        found: dict[tuple[Way, ...], list[tuple[int, Range]]] = {}
        for protocol in (TCP, UDP, ICMP, ICMP6):
            for ports, ways in _parted(protocol, self.meaning.ways):
                found.setdefault(ways, []).append((protocol, ports))
        if len(found) >= GATES_MAX:
            raise _too_much()
        return found

    def _number(self, place: int) -> int:
        """Of a gate: none is any policy's number."""
        return _GATE | self.number * GATES_MAX + place

    @cached_property
    def elements(self) -> dict[str, list[Element]]:
        """By the set: ranges as pairs, of subnets their first and last address."""
        made: dict[str, list[Element]] = {"gates": [], "allowed4": [], "allowed6": []}
        for place, (ways, ports) in enumerate(self._gates.items()):
            gate = self._number(place)
            made["gates"] += [(self.number, protocol, span, gate) for protocol, span in ports]
            for version in (4, 6):
                kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
                spans = united(span for way in ways for span in _spans(way, version))
                made[f"allowed{version}"] += [(gate, (kind(low), kind(high))) for low, high in spans]
        if sum(map(len, made.values())) > ELEMENTS_MAX:
            raise _too_much()
        return made

    def gates_of(self, name: str, address: Address, own: Sequence[Network]) -> tuple[list[int], str]:
        """(those that let this pod out to what the name leads to, why others that speak of it do not)."""
        found, why = [], ""
        for place, ways in enumerate(self._gates):
            reasons = [refusal(way, address, own) for way in ways if way.names_host(name)]
            if "" in reasons:
                found.append(self._number(place))
            elif reasons:
                why = reasons[0]
        return found, why


def _too_much() -> InvalidArgument:
    return InvalidArgument(
        "network policy: it is too large",
        field="egress",
        takes=f"at most {ELEMENTS_MAX} ranges of addresses and ports after all rules are taken apart",
    )


def _parted(protocol: int, ways: Iterable[Way]) -> list[tuple[Range, tuple[Way, ...]]]:
    """The ports of a protocol in parts, each with the rules that speak of all of it; none of which nobody speaks."""
    theirs = [(each, way) for way in ways for each in way.ports if each.protocol == protocol]
    edges = sorted({each.first for each, _ in theirs} | {each.last + 1 for each, _ in theirs})
    parts: list[tuple[Range, tuple[Way, ...]]] = []
    for low, after in itertools.pairwise(edges):
        speaking = tuple(
            dict.fromkeys(way for each, way in theirs if each.first <= low and after <= each.last + 1)
        )
        if parts and parts[-1][1] == speaking and parts[-1][0][1] == low - 1:
            parts[-1] = ((parts[-1][0][0], after - 1), speaking)
        elif speaking:
            parts.append(((low, after - 1), speaking))
    assert all(0 <= low <= high <= PORT_MAX for (low, high), _ in parts)
    return parts


def _spans(way: Way, version: int) -> list[Range]:
    """What its subnets let through, as numbers."""
    wanted = [each for each in way.networks if each.version == version]
    without = [_ends(each) for each in way.excepted if each.version == version]
    hidden = [
        (int(each), int(each))
        for each in METADATA
        if each.version == version and ipaddress.ip_network(each) not in wanted
    ]
    shown = [
        (int(each), int(each))
        for each in METADATA
        if each.version == version and ipaddress.ip_network(each) in wanted
    ]
    return [*_less(united(map(_ends, wanted)), united([*without, *hidden])), *shown]


def _ends(network: Network) -> Range:
    return int(network.network_address), int(network.broadcast_address)


def united(spans: Iterable[Range]) -> list[Range]:
    """In order, without overlaps."""
    made: list[Range] = []
    for low, high in sorted(spans):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(high, made[-1][1]))
        else:
            made.append((low, high))
    return made


def _less(spans: Iterable[Range], others: Sequence[Range]) -> list[Range]:
    """What of them is in none of ``others``; both are in order."""
    made: list[Range] = []
    for low, high in spans:
        for first, last in others:
            if last < low or first > high:
                continue
            if first > low:
                made.append((low, first - 1))
            low = last + 1
        if low <= high:
            made.append((low, high))
    return made
