"""Sets of nftables and their elements, packed: pure.

Elements are made by the thousand, which is what pyroute2 is not made for; so they are packed here.

Sources: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pyroute2.netlink.nfnetlink.nftsocket import (
    DATA_TYPE_ETHERADDR,
    DATA_TYPE_IFNAME,
    DATA_TYPE_INET_PROTOCOL,
    DATA_TYPE_INET_SERVICE,
    DATA_TYPE_IP6ADDR,
    DATA_TYPE_IPADDR,
    DATA_TYPE_MARK,
)

_TYPE_BITS = 6
Value = Any  # what a type packs; of a set of ranges also a pair, whose last is of the range


@dataclass(frozen=True)
class Type:
    """Of a value: its number in nft's own list, its bytes, and what makes these."""

    number: int
    size: int
    pack: Callable[[Value], bytes] = field(compare=False)

    @property
    def registers(self) -> int:
        return -(-self.size // 4)


@lru_cache(4096)
def _address(text: str) -> bytes:
    """A pod's own is in each of its ports."""
    return ipaddress.ip_address(text).packed


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


IFNAME = Type(DATA_TYPE_IFNAME, 16, str.encode)
MAC = Type(DATA_TYPE_ETHERADDR, 6, _mac)
IP4 = Type(DATA_TYPE_IPADDR, 4, _address)
IP6 = Type(DATA_TYPE_IP6ADDR, 16, _address)
PORT = Type(DATA_TYPE_INET_SERVICE, 2, struct.Struct(">H").pack)
PROTOCOL = Type(DATA_TYPE_INET_PROTOCOL, 1, struct.Struct("B").pack)
MARK = Type(DATA_TYPE_MARK, 4, struct.Struct("=I").pack)


@dataclass(frozen=True)
class Set:
    """Of ``key``s, which are several types one after the other; with ``data`` it is a map.  ``intervals``: its keys are
    ranges, of a single type subnets; ``timeouts``: its elements may have a lifetime; ``dynamic``: expressions of their
    own."""

    name: str
    key: tuple[Type, ...]
    data: tuple[Type, ...] = ()
    intervals: bool = False
    timeouts: bool = False
    dynamic: bool = False

    @property
    def spans(self) -> bool:
        """Its keys are ranges in several fields."""
        return self.intervals and len(self.key) > 1


def described(its: Set) -> list[list[Any]]:
    """What makes it, for pyroute2."""
    flags = {"NFT_SET_MAP"} if its.data else set()
    attributes: list[list[Any]] = [["NFTA_SET_NAME", its.name]]
    attributes += [["NFTA_SET_KEY_TYPE", _type_number(its.key)], ["NFTA_SET_KEY_LEN", _length(its.key)]]
    if its.data:
        attributes += [
            ["NFTA_SET_DATA_TYPE", _type_number(its.data)],
            ["NFTA_SET_DATA_LEN", _length(its.data)],
        ]
    for flag, said in (
        ("NFT_SET_INTERVAL", its.intervals),
        ("NFT_SET_CONCAT", its.spans),
        ("NFT_SET_TIMEOUT", its.timeouts),
        ("NFT_SET_EVAL", its.dynamic),
    ):
        flags |= {flag} if said else set()
    if its.spans:
        fields = b"".join(
            attribute(_ELEMENT, attribute(_FIELD_LENGTH, struct.pack(">I", each.size))) for each in its.key
        )
        attributes.append(["NFTA_SET_DESC", attribute(_CONCATENATED, fields)])
    attributes.append(["NFTA_SET_FLAGS", flags])
    return attributes


def elements(
    its: Set, many: Iterable[Sequence[Value]], *, gone: bool = False, lifetime_s: float = 0, each: bytes = b""
) -> list[bytes]:
    """See ``nft.Batch.put``; of a range of a single type both of its ends are one."""
    more = b"" if gone else each
    if lifetime_s and not gone:
        more = attribute(_TIMEOUT, struct.pack(">Q", max(1, int(lifetime_s * 1000)))) + more
    if its.spans:
        return [attribute(_ELEMENT, _span(its, values, gone) + more) for values in many]
    if its.intervals:
        return [_interval(str(values[0])) for values in many]
    framed = _framed(its, gone)
    if more:
        return [attribute(_ELEMENT, framed(values)[_HEADER_BYTES:] + more) for values in many]
    return [framed(values) for values in many]


@lru_cache(256)
def _framed(its: Set, gone: bool) -> Callable[[Sequence[Value]], bytes]:
    """But for its values, an element is the same bytes as any other of its set, if these are all of one size."""
    data = () if gone else its.data
    sample = _keyed(_KEY, its.key, None) + (_keyed(_DATA, data, None) if data else b"")
    begin = attribute(_ELEMENT, sample)[: 3 * _HEADER_BYTES]
    key, packs, count = _form(its.key), [each.pack for each in its.key], len(its.key)
    if not data:
        alone = struct.Struct(f"{len(begin)}s{key}")
        return lambda values: alone.pack(
            begin, *[pack(value) for pack, value in zip(packs, values, strict=False)]
        )
    between = _keyed(_DATA, data, None)[: 2 * _HEADER_BYTES]
    packs += [each.pack for each in data]
    both = struct.Struct(f"{len(begin)}s{key}{len(between)}s{_form(data)}")

    def framed(values: Sequence[Value]) -> bytes:
        parts = [pack(value) for pack, value in zip(packs, values, strict=True)]
        return both.pack(begin, *parts[:count], between, *parts[count:])

    return framed


def _form(types: Sequence[Type]) -> str:
    """For struct: of several, each fills its registers; one alone is filled up as an attribute is."""
    if len(types) == 1:
        return f"{types[0].size}s{-types[0].size % 4}x"
    return "".join(f"{4 * each.registers}s" for each in types)


def _span(its: Set, values: Sequence[Value], gone: bool) -> bytes:
    key, data = values[: len(its.key)], values[len(its.key) :]
    ends = [value if isinstance(value, tuple) else (value, value) for value in key]
    made = _keyed(_KEY, its.key, [low for low, _ in ends])
    made += _keyed(_KEY_END, its.key, [high for _, high in ends])
    return made + (_keyed(_DATA, its.data, data) if its.data and not gone else b"")


def expression(name: str, attributes: Sequence[tuple[int, bytes]]) -> bytes:
    """Of an element's own: its name, and its attributes as the kernel numbers them."""
    data = b"".join(attribute(kind, value) for kind, value in attributes)
    inner = attribute(_EXPRESSION_NAME, name.encode() + b"\0")
    return attribute(_EXPRESSION, inner + attribute(_EXPRESSION_DATA, data))


def more_connections(than: int) -> bytes:
    """It is of one more than so many connections that are open (``ct count over``)."""
    return expression("connlimit", [(1, struct.pack(">I", than)), (2, struct.pack(">I", _INVERTED))])


def more_bytes(a_second: int, burst: int) -> bytes:
    """It is beyond this rate (``limit rate over``)."""
    return _limit(a_second, burst, _OF_BYTES, _INVERTED)


def at_most(a_second: int, burst: int) -> bytes:
    """It is one of so many packets a second."""
    return _limit(a_second, burst, _OF_PACKETS, 0)


def _limit(rate: int, burst: int, kind: int, flags: int) -> bytes:
    numbers = [(1, struct.pack(">Q", rate)), (2, struct.pack(">Q", 1)), (3, struct.pack(">I", burst))]
    return expression("limit", [*numbers, (4, struct.pack(">I", kind)), (5, struct.pack(">I", flags))])


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def packed(its: Type, value: Value) -> bytes:
    return its.pack(value).ljust(its.size, b"\0")


_CONCATENATED, _FIELD_LENGTH = 2, 1  # NFTA_SET_DESC_CONCAT, NFTA_SET_FIELD_LEN
# NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE; NFTA_SET_ELEM_DATA, _FLAGS (of which 1 ends an interval),
# _TIMEOUT, _EXPR, _KEY_END; NFTA_EXPR_NAME, NFTA_EXPR_DATA.
_ELEMENT = _KEY = _VALUE = _EXPRESSION_NAME = 1
_DATA, _FLAGS, _TIMEOUT, _EXPRESSION, _KEY_END, _EXPRESSION_DATA = 2, 3, 4, 7, 10, 2
_HEADER_BYTES = 4
_INVERTED = 1  # NFT_CONNLIMIT_F_INV, NFT_LIMIT_F_INV
_OF_PACKETS, _OF_BYTES = 0, 1  # NFT_LIMIT_PKTS, NFT_LIMIT_PKT_BYTES


def _keyed(kind: int, types: Sequence[Type], values: Sequence[Value] | None) -> bytes:
    """``values`` None: zeros."""
    parts = (
        [b""] * len(types)
        if values is None
        else [each.pack(value) for each, value in zip(types, values, strict=True)]
    )
    return attribute(kind, attribute(_VALUE, struct.pack(_form(types), *parts)[: _length(types)]))


def _interval(subnet: str) -> bytes:
    """Its first address, and the first behind it, which ends it."""
    network = ipaddress.ip_network(subnet)
    first = attribute(_KEY, attribute(_VALUE, network.network_address.packed))
    after = int(network.broadcast_address) + 1
    if after >> network.max_prefixlen:
        return attribute(_ELEMENT, first)
    end = attribute(_KEY, attribute(_VALUE, after.to_bytes(network.max_prefixlen // 8, "big")))
    return attribute(_ELEMENT, first) + attribute(_ELEMENT, end + attribute(_FLAGS, struct.pack(">I", 1)))


def _type_number(types: Sequence[Type]) -> int:
    number = 0
    for each in types:
        number = number << _TYPE_BITS | each.number
    return number


def _length(types: Sequence[Type]) -> int:
    return types[0].size if len(types) == 1 else 4 * sum(each.registers for each in types)
