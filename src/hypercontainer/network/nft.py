"""Requests to nftables, in one transaction each: pure.  What the rules are stands in ``rules``.

A match is a list of expressions of the kernel's small machine: a value is loaded into registers of 4 bytes, from 0 on,
and compared, or looked up in a set.  pyroute2 has the messages.

Sources: linux/netfilter/nf_tables.h, nft(8).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyroute2.netlink import NLM_F_APPEND, NLM_F_CREATE
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFPROTO_BRIDGE,
    NFPROTO_INET,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    NFT_MSG_DELRULE,
    NFT_MSG_DELSETELEM,
    NFT_MSG_DELTABLE,
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETRULE,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWSET,
    NFT_MSG_NEWSETELEM,
    NFT_MSG_NEWTABLE,
    nft_chain_msg,
    nft_contains_expr,
    nft_rule_msg,
    nft_set_msg,
    nft_table_msg,
)

from hypercontainer.network.netlink import Message, Netlink
from hypercontainer.network.sets import Set, Value, attribute, described
from hypercontainer.network.sets import elements as packed_elements

BRIDGE, INET, IPV4, IPV6 = NFPROTO_BRIDGE, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)  # the hooks
ACCEPT, DROP = 1, 0
REGISTER = 8  # NFT_REG32_00
EQUAL, UNEQUAL = 0, 1
LINK, NETWORK, TRANSPORT = 0, 1, 2  # whose header
BEGIN, END = 0x10, 0x11  # NFNL_MSG_BATCH
INVERTED = "NFT_LOOKUP_F_INV"
_ADD = 0  # NFT_DYNSET_OP_ADD
_SUBSYSTEM = NFNL_SUBSYS_NFTABLES << 8
_AT_ONCE = 256  # elements in a message, whose attributes have 65535 bytes at most
_TABLE, _SET, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_TABLE, _SET, _ELEMENTS

Expression = tuple[str, list[tuple[str, Any]]]
Match = list[Expression]


@dataclass(frozen=True)
class Chain:
    """A base chain, of a hook, unless ``hook`` is None."""

    name: str
    rules: tuple[Match, ...]
    hook: int | None = None
    priority: int = 0
    kind: str = "filter"
    policy: int = ACCEPT


@dataclass(frozen=True)
class Table:
    family: int
    name: str
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()

    def set(self, name: str) -> Set:
        return next(each for each in self.sets if each.name == name)


@dataclass
class Batch:
    """Changes that take effect together, or not at all."""

    messages: list[Message] = field(default_factory=list)

    def make(self, table: Table) -> None:
        """In place of one of its name."""
        self.remove(table)
        self._add(NFT_MSG_NEWTABLE, nft_table_msg, table, [["NFTA_TABLE_NAME", table.name]])
        for each in table.sets:
            names = [["NFTA_SET_TABLE", table.name], ["NFTA_SET_ID", 1 + table.sets.index(each)]]
            self._add(NFT_MSG_NEWSET, _SetMessage, table, [*names, *described(each)])
        for chain in table.chains:
            self._add(NFT_MSG_NEWCHAIN, nft_chain_msg, table, _chain(table, chain))
        for chain in table.chains:
            for rule in chain.rules:
                self._add(NFT_MSG_NEWRULE, nft_rule_msg, table, _rule(table, chain, rule), NLM_F_APPEND)

    def remove(self, table: Table) -> None:
        """Also where there is none."""
        name = [["NFTA_TABLE_NAME", table.name]]
        self._add(NFT_MSG_NEWTABLE, nft_table_msg, table, name)
        self._add(NFT_MSG_DELTABLE, nft_table_msg, table, name, create=False)

    def put(
        self,
        table: Table,
        name: str,
        elements: Iterable[Sequence[Value]],
        *,
        gone: bool = False,
        lifetime_s: float = 0,
        each: bytes = b"",
    ) -> None:
        """Elements of a set: of a map the key's values and then the data's.  ``gone``: they are to be removed, and must
        be there.  ``lifetime_s``: after which they are gone by themselves; ``each`` has one such expression of its own
        (``sets.expression``), which is asked wherever the element is found."""
        made = packed_elements(table.set(name), elements, gone=gone, lifetime_s=lifetime_s, each=each)
        self._put(table, name, made, gone=gone)

    def _put(self, table: Table, name: str, made: Sequence[bytes], *, gone: bool) -> None:
        names = attribute(_TABLE, table.name.encode() + b"\0") + attribute(_SET, name.encode() + b"\0")
        kind, flags = (NFT_MSG_DELSETELEM, 0) if gone else (NFT_MSG_NEWSETELEM, NLM_F_CREATE)
        for place in range(0, len(made), _AT_ONCE):
            packed = names + attribute(_ELEMENTS, b"".join(made[place : place + _AT_ONCE]))
            self.messages.append(_Packed(_SUBSYSTEM | kind, flags, table.family, packed))

    def forget(self, table: Table, name: str, elements: Iterable[Sequence[Value]], each: bytes = b"") -> None:
        """They are to be removed, whether they are there or not: what is not is put there before.  Of a map, refused
        where the key is there with other data."""
        made = packed_elements(
            table.set(name), elements, each=each
        )  # of one that is to go the kernel reads the key
        self._put(table, name, made, gone=False)
        self._put(table, name, made, gone=True)

    def renew(
        self,
        table: Table,
        name: str,
        elements: Iterable[Sequence[Value]],
        *,
        lifetime_s: float = 0,
        each: bytes = b"",
    ) -> None:
        """As ``put``, in place of what is there with the same keys: what is put again is else as it was."""
        those = list(elements)
        self.forget(table, name, those, each)
        self.put(table, name, those, lifetime_s=lifetime_s, each=each)

    def insert(self, table: Table, chain: str, rule: Match) -> None:
        """At the beginning of a chain that is somebody else's."""
        self._add(NFT_MSG_NEWRULE, nft_rule_msg, table, _rule(table, Chain(chain, ()), rule))

    def delete_rule(self, table: Table, chain: str, handle: int) -> None:
        where = [["NFTA_RULE_TABLE", table.name], ["NFTA_RULE_CHAIN", chain], ["NFTA_RULE_HANDLE", handle]]
        self._add(NFT_MSG_DELRULE, nft_rule_msg, table, where, create=False)

    def commit(self, netlink: Netlink, what: str) -> None:
        netlink.do(what, self.messages, around=(_edge(BEGIN), _edge(END)))

    def _add(
        self,
        number: int,
        kind: type[Message],
        table: Table,
        attributes: list[Any],
        flags: int = 0,
        *,
        create: bool = True,
    ) -> None:
        message = kind()
        message["header"]["type"] = _SUBSYSTEM | number
        message["header"]["flags"] = flags | (NLM_F_CREATE if create else 0)
        message["nfgen_family"] = table.family
        message["attrs"] = attributes
        self.messages.append(message)


def has_chain(netlink: Netlink, table: Table, chain: str) -> bool:
    message = nft_chain_msg()
    message["header"]["type"] = _SUBSYSTEM | NFT_MSG_GETCHAIN
    message["nfgen_family"] = table.family
    found = netlink.dump("chains", message, nft_chain_msg)
    names = [(each.get_attr("NFTA_CHAIN_TABLE"), each.get_attr("NFTA_CHAIN_NAME")) for each in found]
    return (table.name, chain) in names


def rules_of(netlink: Netlink, table: Table, chain: str) -> list[Message]:
    """As they are in the kernel."""
    message = nft_rule_msg()
    message["header"]["type"] = _SUBSYSTEM | NFT_MSG_GETRULE
    message["nfgen_family"] = table.family
    message["attrs"] = [["NFTA_RULE_TABLE", table.name], ["NFTA_RULE_CHAIN", chain]]
    return netlink.dump(f"rules of {table.name}", message, nft_rule_msg)


def _edge(kind: int) -> Message:
    message = nfgen_msg()
    message["header"]["type"] = kind
    message["res_id"] = socket.htons(NFNL_SUBSYS_NFTABLES)
    return message


# ---------------------------------------------------------------------------------------------- objects


def _chain(table: Table, chain: Chain) -> list[Any]:
    attributes: list[Any] = [["NFTA_CHAIN_TABLE", table.name], ["NFTA_CHAIN_NAME", chain.name]]
    if chain.hook is not None:
        hook = [["NFTA_HOOK_HOOKNUM", chain.hook], ["NFTA_HOOK_PRIORITY", chain.priority]]
        attributes += [["NFTA_CHAIN_HOOK", {"attrs": hook}], ["NFTA_CHAIN_TYPE", chain.kind]]
        attributes.append(["NFTA_CHAIN_POLICY", chain.policy])
    return attributes


def _rule(table: Table, chain: Chain, match: Match) -> list[Any]:
    expressions = [
        {
            "attrs": [
                ["NFTA_EXPR_NAME", name],
                *([["NFTA_EXPR_DATA", {"attrs": [list(each) for each in attributes]}]] if attributes else []),
            ]
        }
        for name, attributes in match
    ]
    names = [["NFTA_RULE_TABLE", table.name], ["NFTA_RULE_CHAIN", chain.name]]
    return [*names, ["NFTA_RULE_EXPRESSIONS", expressions]]


class _Packed:
    """A message whose attributes are packed already: what pyroute2 would make of it takes longer than the kernel."""

    def __init__(self, kind: int, flags: int, family: int, attributes: bytes) -> None:
        self._header = {"type": kind, "flags": flags}
        self._body = struct.pack("=BBH", family, 0, 0) + attributes
        self.data = b""

    def __getitem__(self, name: str) -> dict[str, int]:
        assert name == "header"
        return self._header

    def reset(self) -> None:
        self.data = b""

    def encode(self) -> None:
        kind, flags, sequence = (self._header[name] for name in ("type", "flags", "sequence_number"))
        self.data = struct.pack("=IHHII", 16 + len(self._body), kind, flags, sequence, 0) + self._body


class _SetMessage(nft_set_msg):  # type: ignore[misc]
    """Its description is packed elsewhere."""

    nla_map = tuple(
        (name, "cdata" if name == "NFTA_SET_DESC" else kind) for name, kind in nft_set_msg.nla_map
    )


class _Log(nft_contains_expr.nft_expr.nft_log):  # type: ignore[misc]
    """Its group has 16 bits (findings/pyroute2-log-group.sh)."""

    nla_map = tuple(
        (name, "be16" if name == "NFTA_LOG_GROUP" else kind)
        for name, kind in nft_contains_expr.nft_expr.nft_log.nla_map
    )


nft_contains_expr.nft_expr.nft_log = _Log


def _raw(value: bytes) -> Any:
    return {"attrs": [["NFTA_DATA_VALUE", value]]}


# ---------------------------------------------------------------------------------------------- expressions


def load_meta(key: str, register: int = 0) -> Expression:
    """``key`` as pyroute2 calls it: "IIFNAME"."""
    return "meta", [("NFTA_META_KEY", _META[key]), ("NFTA_META_DREG", REGISTER + register)]


_META = {"MARK": 3, "PKTTYPE": 19, "OIFKIND": 27, "IIFNAME": 6, "OIFNAME": 7, "NFPROTO": 15, "L4PROTO": 16}


def load(header: int, offset: int, length: int, register: int = 0) -> Expression:
    where = [("NFTA_PAYLOAD_BASE", header), ("NFTA_PAYLOAD_OFFSET", offset), ("NFTA_PAYLOAD_LEN", length)]
    return "payload", [("NFTA_PAYLOAD_DREG", REGISTER + register), *where]


def compare(value: bytes, operator: int = EQUAL, register: int = 0) -> Expression:
    data = ("NFTA_CMP_DATA", {"attrs": [["NFTA_DATA_VALUE", value]]})
    return "cmp", [("NFTA_CMP_SREG", REGISTER + register), ("NFTA_CMP_OP", operator), data]


def masked(mask: bytes) -> Expression:
    length = len(mask)
    data = [
        ("NFTA_BITWISE_LEN", length),
        ("NFTA_BITWISE_MASK", _raw(mask)),
        ("NFTA_BITWISE_XOR", _raw(bytes(length))),
    ]
    return "bitwise", [("NFTA_BITWISE_SREG", REGISTER), ("NFTA_BITWISE_DREG", REGISTER), *data]


def found(its: Set, *, inverted: bool = False, register: int | None = None) -> Expression:
    """What is in the registers is in the set; of a map the data comes into ``register``."""
    attributes: list[tuple[str, Any]] = [("NFTA_LOOKUP_SET", its.name), ("NFTA_LOOKUP_SREG", REGISTER)]
    attributes += [("NFTA_LOOKUP_FLAGS", {INVERTED})] if inverted else []
    attributes += [] if register is None else [("NFTA_LOOKUP_DREG", REGISTER + register)]
    return "lookup", attributes


def verdict(code: int) -> Expression:
    data = {"attrs": [["NFTA_DATA_VERDICT", {"attrs": [["NFTA_VERDICT_CODE", code]]}]]}
    return "immediate", [("NFTA_IMMEDIATE_DREG", 0), ("NFTA_IMMEDIATE_DATA", data)]


def drawn(count: int, register: int = 0) -> Expression:
    """A number below ``count``, at random."""
    return "numgen", [
        ("NFTA_NG_DREG", REGISTER + register),
        ("NFTA_NG_MODULUS", count),
        ("NFTA_NG_TYPE", 1),
        ("NFTA_NG_OFFSET", 0),
    ]


def hashed(count: int, source: int, length: int, register: int = 0) -> Expression:
    """A number below ``count``, always the same for ``length`` bytes that are in registers from ``source`` on."""
    return "hash", [
        ("NFTA_HASH_SREG", REGISTER + source),
        ("NFTA_HASH_DREG", REGISTER + register),
        ("NFTA_HASH_LEN", length),
        ("NFTA_HASH_MODULUS", count),
        ("NFTA_HASH_OFFSET", 0),
        ("NFTA_HASH_TYPE", 0),
    ]


def refused_stream() -> Expression:
    """By TCP's own word (RST)."""
    return "reject", [("NFTA_REJECT_TYPE", 1), ("NFTA_REJECT_ICMP_CODE", 0)]


def refused() -> Expression:
    """Nobody is at this port, says ICMP."""
    icmp_of_either_version, port_unreachable = 2, 1
    return "reject", [
        ("NFTA_REJECT_TYPE", icmp_of_either_version),
        ("NFTA_REJECT_ICMP_CODE", port_unreachable),
    ]


def goto(chain: str) -> Expression:
    """Goes on there, and does not come back."""
    code = [["NFTA_VERDICT_CODE", -4], ["NFTA_VERDICT_CHAIN", chain]]
    data = {"attrs": [["NFTA_DATA_VERDICT", {"attrs": code}]]}
    return "immediate", [("NFTA_IMMEDIATE_DREG", 0), ("NFTA_IMMEDIATE_DATA", data)]


def value(data: bytes, register: int = 0) -> Expression:
    return "immediate", [("NFTA_IMMEDIATE_DREG", REGISTER + register), ("NFTA_IMMEDIATE_DATA", _raw(data))]


def log(group: int, prefix: str, size: int) -> Expression:
    """Tells who listens to this group of nfnetlink_log, with so many bytes of the packet."""
    return "log", [("NFTA_LOG_GROUP", group), ("NFTA_LOG_PREFIX", prefix), ("NFTA_LOG_SNAPLEN", size)]


def prohibited() -> Expression:
    """Refuses a packet with ICMP's "administratively prohibited", of either version."""
    return "reject", [("NFTA_REJECT_TYPE", 2), ("NFTA_REJECT_ICMP_CODE", 3)]


def to_bridge() -> Match:
    """A frame is for the bridge that it came to, whose MAC address is in the first registers, and for none of its
    ports."""
    where = [("NFTA_PAYLOAD_BASE", LINK), ("NFTA_PAYLOAD_OFFSET", 0), ("NFTA_PAYLOAD_LEN", 6)]
    address: Expression = ("payload", [("NFTA_PAYLOAD_SREG", REGISTER), *where])
    for_us = [("NFTA_META_KEY", _META["PKTTYPE"]), ("NFTA_META_SREG", REGISTER)]
    return [address, value(b"\0"), ("meta", for_us)]


def to_port(number: int) -> Match:
    """To this port of the namespace itself (``redirect to``)."""
    return [value(struct.pack(">H", number)), ("redir", [("NFTA_REDIR_REG_PROTO_MIN", REGISTER)])]


def mark() -> Expression:
    """The first register is the packet's mark from now on, in this namespace."""
    return "meta", [("NFTA_META_KEY", _META["MARK"]), ("NFTA_META_SREG", REGISTER)]


def untracked() -> Expression:
    """No connection is kept of it."""
    return "notrack", []


def known_connection() -> Match:
    """It is of one that has been let through, or related to one."""
    established_or_related = 0b110
    load_state: Expression = ("ct", [("NFTA_CT_KEY", 0), ("NFTA_CT_DREG", REGISTER)])
    return [load_state, masked(struct.pack("=I", established_or_related)), compare(bytes(4), UNEQUAL)]


def translated_connection() -> Match:
    """Its destination is not what its client asked for."""
    destination_translated = 1 << 5  # IPS_DST_NAT
    load_status: Expression = ("ct", [("NFTA_CT_KEY", 2), ("NFTA_CT_DREG", REGISTER)])
    return [load_status, masked(struct.pack("=I", destination_translated)), compare(bytes(4), UNEQUAL)]


def to_this_host() -> Match:
    """Its destination is an address of this namespace's own (``fib daddr type local``)."""
    by_destination, type_of_address, local = 1 << 1, 3, 2
    # pyroute2 takes the result, which is a number, for flags, whose bits here make up the number 3.
    result = {name for bit, name in enumerate(_FIB_RESULTS) if type_of_address & 1 << bit}
    flags = [("NFTA_FIB_FLAGS", by_destination), ("NFTA_FIB_RESULT", result)]
    return [("fib", [("NFTA_FIB_DREG", REGISTER), *flags]), compare(struct.pack("=I", local))]


_FIB_RESULTS = ("NFT_FIB_RESULT_UNSPEC", "NFT_FIB_RESULT_OIF")


def destination_nat(family: int, address: int, port: int) -> Expression:
    """By an address and a port that are in registers."""
    registers = [("NFTA_NAT_REG_ADDR_MIN", REGISTER + address), ("NFTA_NAT_REG_PROTO_MIN", REGISTER + port)]
    return "nat", [("NFTA_NAT_TYPE", 1), ("NFTA_NAT_FAMILY", family), *registers]


def masquerade() -> Expression:
    return "masq", []


def more_connections(its: Set, than: int) -> Expression:
    """Of what is in the registers there are more than so many, each counted in the set (``ct count over``)."""
    count = [["NFTA_CONNLIMIT_COUNT", than], ["NFTA_CONNLIMIT_FLAGS", {"NFT_LIMIT_F_INV"}]]
    counted = {"attrs": [["NFTA_EXPR_NAME", "connlimit"], ["NFTA_EXPR_DATA", {"attrs": count}]]}
    where = [("NFTA_DYNSET_SET_NAME", its.name), ("NFTA_DYNSET_OP", _ADD)]
    return "dynset", [*where, ("NFTA_DYNSET_SREG_KEY", REGISTER), ("NFTA_DYNSET_EXPR", counted)]


def of_family(family: int) -> Match:
    return [load_meta("NFPROTO"), compare(bytes([family]))]


def of_protocol(number: int) -> Match:
    """Of the transport: 6 is TCP."""
    return [load_meta("L4PROTO"), compare(bytes([number]))]


def of_ethertype(number: int) -> Match:
    return [load(LINK, 12, 2), compare(struct.pack(">H", number))]


def by_interface(key: str, name: str, operator: int = EQUAL) -> Match:
    """``key``: "IIFNAME" or "OIFNAME"."""
    return [load_meta(key), compare(name.encode().ljust(16, b"\0"), operator)]
