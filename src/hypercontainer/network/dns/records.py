"""Answers of name servers: passed on as the bytes they are, and looked into only for what is said here.

Pure, bounded by `MAX_RECORDS` and the message's end.  `Unreadable` is what is raised of an answer that is not
understood; such a one may be passed on, but is not kept.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from hypercontainer.network.dns.message import (
    AAAA,
    CNAME,
    HEADER,
    OPCODE,
    OPT,
    QR,
    SOA,
    TC,
    A,
    Query,
    Rcode,
    host_name,
    reply,
    same_case,
)

MAX_RECORDS = 512
MAX_LINKS = 16  # from a name to the one that has the addresses
MAX_NAME_STEPS = 128  # labels and pointers
MAX_TTL_S = 3600
MAX_NEGATIVE_TTL_S = 60  # a name that is not there yet may be soon
_FIXED = struct.Struct("!HHIH")  # type, class, TTL, length of the data
_ANSWERS, _AUTHORITIES = 0, 1


class Unreadable(Exception):
    pass


class Record(NamedTuple):
    """Places in the message; ``section`` 0 has the answers."""

    section: int
    at: int
    kind: int
    ttl_at: int
    ttl: int
    data_at: int
    end: int


class Lifetime(NamedTuple):
    """For how long an answer is good, and where its records say so."""

    seconds: int
    places: tuple[int, ...]


def fits(answer: bytes, id_: int, question: bytes) -> bool:
    """Whether it is one to this question, which is in small letters, and not to another one."""
    end = HEADER.size + len(question)
    if len(answer) < end:
        return False
    got, flags, questions, *_ = HEADER.unpack_from(answer)
    return (
        got == id_
        and flags & (QR | OPCODE) == QR
        and questions == 1
        and same_case(answer[HEADER.size : end]) == question
    )


def is_cut(answer: bytes) -> bool:
    return bool(int.from_bytes(answer[2:4], "big") & TC)


def rcode_of(answer: bytes) -> int:
    return answer[3] & 0xF


def for_asker(answer: bytes, query: Query) -> bytes:
    """With the id and the case that this one asked with."""
    return (
        query.id.to_bytes(2, "big")
        + answer[2 : HEADER.size]
        + query.question
        + answer[HEADER.size + len(query.question) :]
    )


def shortened(answer: bytes, query: Query, limit: int) -> bytes:
    """``answer``, which is this asker's, in ``limit`` bytes: where there is no room for all, the answers that there is
    room for.  Some clients never come back by TCP."""
    if len(answer) <= limit:
        return answer
    whole: list[bytes] = []
    try:
        for record in records_of(answer, len(query.question)):
            if record.section != _ANSWERS or record.end > limit:
                break
            whole.append(answer[record.at : record.end])
    except Unreadable:
        whole = []
    rcode = Rcode.NXDOMAIN if rcode_of(answer) == Rcode.NXDOMAIN else Rcode.NOERROR
    return reply(query, whole, limit, rcode=rcode, cut=True)


def records_of(answer: bytes, question: int) -> Iterator[Record]:
    """All of them in turn; ``question``: how long that is."""
    _, _, _, *counts = HEADER.unpack_from(answer)
    if sum(counts) > MAX_RECORDS:
        raise Unreadable
    at = HEADER.size + question
    for section, count in enumerate(counts):
        for _ in range(count):
            record = _record(answer, section, at)
            yield record
            at = record.end


def _record(answer: bytes, section: int, at: int) -> Record:
    fixed = _after_name(answer, at)
    try:
        kind, _, ttl, length = _FIXED.unpack_from(answer, fixed)
    except struct.error:
        raise Unreadable from None
    data_at = fixed + _FIXED.size
    if data_at + length > len(answer):
        raise Unreadable
    return Record(section, at, kind, fixed + 4, ttl, data_at, data_at + length)


def _after_name(answer: bytes, at: int) -> int:
    for _ in range(MAX_NAME_STEPS):
        if at >= len(answer):
            break
        length = answer[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            break
        at += 1 + length
    raise Unreadable


def lifetime(answer: bytes, question: int) -> Lifetime | None:
    """None where it is not to be kept: it failed, is cut off, says so, or is not understood."""
    rcode = rcode_of(answer)
    if rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN) or is_cut(answer):
        return None
    seconds, places = MAX_TTL_S, []
    found = negative = False
    try:
        for record in records_of(answer, question):
            if record.kind == OPT:  # what looks like a TTL there is none
                continue
            places.append(record.ttl_at)
            seconds = min(seconds, record.ttl if record.ttl < 1 << 31 else 0)
            found = found or record.section == _ANSWERS
            if record.kind == SOA and record.section == _AUTHORITIES:
                negative = True
                seconds = min(seconds, _minimum(answer, record))
    except Unreadable:
        return None
    if rcode == Rcode.NXDOMAIN or not found:  # RFC 2308: who says how long it is so has an SOA there
        seconds = min(seconds, MAX_NEGATIVE_TTL_S) if negative else 0
    return Lifetime(seconds, tuple(places)) if seconds else None


def _minimum(answer: bytes, record: Record) -> int:
    """The last field of an SOA."""
    if record.end - record.data_at < 4:
        raise Unreadable
    return int.from_bytes(answer[record.end - 4 : record.end], "big")


def aged(answer: bytes, age_s: int, places: tuple[int, ...]) -> bytes:
    """As it is ``age_s`` after it came."""
    made = bytearray(answer)
    for at in places:
        left = int.from_bytes(made[at : at + 4], "big") - age_s
        made[at : at + 4] = max(left, 0).to_bytes(4, "big")
    return bytes(made)


def addresses(answer: bytes) -> list[tuple[str, str, int]]:
    """``(name, address, ttl in seconds)`` of the name that was asked for, in small letters: what it leads to through
    CNAMEs, which a TTL holds for too.  Nothing of an answer that is not understood, or of a name that is no host's."""
    try:
        return _addresses(answer)
    except (Unreadable, struct.error):
        return []


def _addresses(answer: bytes) -> list[tuple[str, str, int]]:
    name = host_name(labels := _name(answer, HEADER.size))
    if not name or len(answer) < HEADER.size or int.from_bytes(answer[4:6], "big") != 1:
        return []
    links: dict[tuple[bytes, ...], tuple[tuple[bytes, ...], int]] = {}
    known: dict[tuple[bytes, ...], list[tuple[str, int]]] = {}
    for record in records_of(answer, _after_name(answer, HEADER.size) + 4 - HEADER.size):
        if record.section != _ANSWERS:
            break
        if record.kind == CNAME:
            links.setdefault(_name(answer, record.at), (_name(answer, record.data_at), record.ttl))
        elif (address := _address(answer, record)) is not None:
            known.setdefault(_name(answer, record.at), []).append((address, record.ttl))
    here, longest = labels, (1 << 31) - 1
    for _ in range(MAX_LINKS):
        if here not in links:
            break
        here, ttl = links[here]
        longest = min(longest, ttl)
    return [(name, address, min(ttl, longest)) for address, ttl in known.get(here, ())]


def _address(answer: bytes, record: Record) -> str | None:
    data = answer[record.data_at : record.end]
    if record.kind == A and len(data) == 4:
        return socket.inet_ntop(socket.AF_INET, data)
    if record.kind == AAAA and len(data) == 16:
        return socket.inet_ntop(socket.AF_INET6, data)
    return None


def _name(answer: bytes, at: int) -> tuple[bytes, ...]:
    """Labels, in small letters.  A pointer leads back, always, so that there is no going round."""
    labels: list[bytes] = []
    bound = at
    for _ in range(MAX_NAME_STEPS):
        if at >= len(answer):
            break
        length = answer[at]
        if length == 0:
            return tuple(labels)
        if length >= 0xC0:
            at = int.from_bytes(answer[at : at + 2], "big") & 0x3FFF
            if at >= bound:
                break
            bound = at
            continue
        if length > 63:
            break
        labels.append(answer[at + 1 : at + 1 + length].lower())
        at += 1 + length
    raise Unreadable
