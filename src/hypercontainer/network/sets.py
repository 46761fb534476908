"""Sets of nftables and their elements, packed: pure.

Elements are made by the thousand, which is what pyroute2 is not made for; so they are packed here.

Sources: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Type:
    """Of a value: its number in nft's own list, and its bytes."""

    number: int
    size: int

    @property
    def registers(self) -> int:
        return -(-self.size // 4)


IFNAME = Type(DATA_TYPE_IFNAME, 16)
MAC = Type(DATA_TYPE_ETHERADDR, 6)
IP4 = Type(DATA_TYPE_IPADDR, 4)
IP6 = Type(DATA_TYPE_IP6ADDR, 16)
PORT = Type(DATA_TYPE_INET_SERVICE, 2)
PROTOCOL = Type(DATA_TYPE_INET_PROTOCOL, 1)
MARK = Type(DATA_TYPE_MARK, 4)
Value = Any  # what ``packed`` takes; of a set of ranges also a pair, whose last is of the range


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


def element(its: Set, values: Sequence[Value], gone: bool, lifetime_s: float, each: bytes) -> bytes:
    """One, or of a range of a single type both of its ends."""
    key, data = values[: len(its.key)], values[len(its.key) :]
    if its.intervals and not its.spans:
        return _interval(str(key[0]))
    if its.spans:
        ends = [value if isinstance(value, tuple) else (value, value) for value in key]
        made = _keyed(_KEY, its.key, [low for low, _ in ends]) + _keyed(
            _KEY_END, its.key, [high for _, high in ends]
        )
    else:
        made = _keyed(_KEY, its.key, key)
    if its.data and not gone:
        made += _keyed(_DATA, its.data, data)
    if lifetime_s and not gone:
        made += attribute(_TIMEOUT, struct.pack(">Q", max(1, int(lifetime_s * 1000))))
    return attribute(_ELEMENT, made + (b"" if gone else each))


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
    if its is PORT:
        return struct.pack(">H", value)
    if its is PROTOCOL:
        return struct.pack("B", value)
    if its is MARK:
        return struct.pack("=I", value)
    if its is MAC:
        return bytes.fromhex(str(value).replace(":", ""))
    if its is IFNAME:
        return str(value).encode().ljust(its.size, b"\0")
    return ipaddress.ip_address(value).packed


_CONCATENATED, _FIELD_LENGTH = 2, 1  # NFTA_SET_DESC_CONCAT, NFTA_SET_FIELD_LEN
# NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE; NFTA_SET_ELEM_DATA, _FLAGS (of which 1 ends an interval),
# _TIMEOUT, _EXPR, _KEY_END; NFTA_EXPR_NAME, NFTA_EXPR_DATA.
_ELEMENT = _KEY = _VALUE = _EXPRESSION_NAME = 1
_DATA, _FLAGS, _TIMEOUT, _EXPRESSION, _KEY_END, _EXPRESSION_DATA = 2, 3, 4, 7, 10, 2
_INVERTED = 1  # NFT_CONNLIMIT_F_INV, NFT_LIMIT_F_INV
_OF_PACKETS, _OF_BYTES = 0, 1  # NFT_LIMIT_PKTS, NFT_LIMIT_PKT_BYTES


def _keyed(kind: int, types: Sequence[Type], values: Sequence[Value]) -> bytes:
    return attribute(kind, attribute(_VALUE, _joined(types, values)))


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


def _joined(types: Sequence[Type], values: Sequence[Value]) -> bytes:
    """Of several, each fills its registers."""
    parts = [packed(each, value) for each, value in zip(types, values, strict=True)]
    if len(parts) > 1:
        parts = [part.ljust(4 * each.registers, b"\0") for part, each in zip(parts, types, strict=True)]
    return b"".join(parts)
