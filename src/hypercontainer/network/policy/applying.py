"""What the kernel has of guarded pods and of policies: the elements, put into a change of the rules."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from hypercontainer.network.nft import Batch, Table
from hypercontainer.network.parts import CONNECTIONS, Elements, Place
from hypercontainer.network.policy.kernel import OF_FRAMES
from hypercontainer.network.sets import at_most, more_bytes, more_connections

TOLD_RATE, TOLD_BURST = 20, 100  # denials of a pod that are told, a second and at once
LEAST_BURST = 256 << 10  # bytes: four of the largest frames
_FRAME_SETS = frozenset(each.name for each in OF_FRAMES)
_Elements = tuple[str, list[tuple[object, ...]], bytes]  # of a set, with the expression of each


def guard(
    batch: Batch, bridged: Table, routed: Table, places: Iterable[Place], *, gone: bool = False
) -> None:
    """``gone``: also of what is not there."""
    for place in places:
        for name, elements, each in _guards(place):
            table = bridged if name in _FRAME_SETS else routed
            if gone:
                batch.forget(table, name, elements, each)
            else:
                batch.put(table, name, elements, each=each)


def policy(batch: Batch, routed: Table, compiled: Elements, *, gone: bool = False) -> None:
    for name, elements in compiled.elements.items():
        batch.put(routed, name, elements, gone=gone)


def _guards(place: Place) -> Iterator[_Elements]:
    its = place.guard
    yield "routers", [(place.tap, place.bridge.mac)], b""
    if its.out_rate:
        yield "rates", [(place.tap,)], more_bytes(its.out_rate, burst(its.out_rate))
    if its.policy:
        yield "watched", [(place.tap,)], b""
        for version, own in _versions(place.own):
            yield f"hidden{version}", [(each,) for each in own], b""
    for version, own in _versions(place.addresses):
        alone: list[tuple[object, ...]] = [(each,) for each in own]
        yield f"open{version}", alone, more_connections(its.connections)
        if its.policy or its.connections != CONNECTIONS:
            yield f"told{version}", alone, at_most(TOLD_RATE, TOLD_BURST)
        if its.policy:
            yield f"policed{version}", [(each, its.policy) for each in own], b""
        if its.policy and its.proxied:
            yield f"proxied{version}", alone, b""
        if its.secured:
            yield f"secured{version}", alone, b""


def _versions(addresses: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    those = list(addresses)
    for version in (4, 6):
        if own := [each for each in those if ipaddress.ip_address(each).version == version]:
            yield version, own


def burst(rate: int) -> int:
    """Bytes that may come at once: of a tenth of a second."""
    return max(LEAST_BURST, rate // 10)
