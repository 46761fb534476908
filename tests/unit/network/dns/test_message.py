"""Questions are read strictly, answers are what another implementation reads, and no bytes do any harm."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dns_words import question, said
from hypercontainer.network.dns import message
from hypercontainer.network.dns.message import BadQuery, Rcode
from soak import rounds

WEB = b"\3web\5front\0"
IN_A = b"\0\1\0\1"


def packet(
    rest: bytes = WEB + IN_A, *, flags: int = 0x100, counts: tuple[int, int, int, int] = (1, 0, 0, 0)
) -> bytes:
    return struct.pack("!6H", 0x1234, flags, *counts) + rest


def refused(asked: bytes) -> dns.message.Message:
    with pytest.raises(BadQuery) as bad:
        message.parse(asked)
    assert bad.value.answer is not None
    return dns.message.from_wire(bad.value.answer)


def test_a_question_is_read() -> None:
    query = message.parse(question("Web.FRONT", "AAAA", edns=4096))
    assert (query.name, query.kind, query.udp_size, query.dnssec) == ("web.front", message.AAAA, 4096, False)
    assert query.room == 1232
    assert message.parse(question("web")).room == 512
    assert message.parse(question("web", edns=100)).room == 512
    assert message.parse(question("web", edns=700)).room == 700


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("_http._tcp.db-1", "_http._tcp.db-1"),
        ("", ""),
        ("a\\.b.c", None),  # would be taken for a.b.c
        ("a\\000b", None),
        ("\\255", None),
        ("a b", None),
    ],
)
def test_only_names_of_hosts_are_names(name: str, read: str | None) -> None:
    assert message.parse(question(name)).name == read


def test_an_answer_is_read_by_others() -> None:
    asked = question("weB.Front", edns=1232)
    query = message.parse(asked)
    made = message.addresses_of(query.kind, ["10.0.0.2", "fd00::2", "10.0.0.3"], 5)
    answer = dns.message.from_wire(message.reply(query, made, query.room))
    assert dns.message.from_wire(asked).is_response(answer)
    assert str(answer.question[0].name) == "weB.Front."
    assert said(answer) == ("NOERROR", ["10.0.0.2", "10.0.0.3"])
    assert answer.answer[0].ttl == 5
    assert answer.flags & dns.flags.RA
    assert answer.edns == 0
    assert answer.payload == 1232


def test_each_version_has_its_own_kind() -> None:
    both = ["10.0.0.2", "fd00::2"]
    for kind, expected in (("A", both[:1]), ("AAAA", both[1:]), ("ANY", both), ("MX", [])):
        query = message.parse(question("web", kind))
        answer = message.reply(query, message.addresses_of(query.kind, both, 5), query.room)
        assert said(dns.message.from_wire(answer)) == ("NOERROR", expected)


def test_names_of_addresses() -> None:
    query = message.parse(question("2.0.0.10.in-addr.arpa", "PTR"))
    answer = message.reply(query, [message.name_of("web.front", 5)], query.room)
    assert said(dns.message.from_wire(answer)) == ("NOERROR", ["web.front."])
    for bad in ("", "a..b", "a" * 64, ".".join(["a" * 60] * 5), "é"):
        with pytest.raises(ValueError, match=r"no name|ascii"):
            message.name_of(bad, 5)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2.0.0.10.in-addr.arpa", "10.0.0.2"),
        ("0.0.10.in-addr.arpa", None),
        ("1.2.0.0.10.in-addr.arpa", None),
        ("256.0.0.10.in-addr.arpa", None),
        ("x.0.0.10.in-addr.arpa", None),
        ("2" + ".0" * 27 + ".0.0.d.f.ip6.arpa", "fd00::2"),
        ("2" + ".0" * 26 + ".0.0.d.f.ip6.arpa", None),
        ("2" + ".0" * 26 + ".00.0.0.d.f.ip6.arpa", None),
        ("web.front", None),
    ],
)
def test_reversed_addresses(name: str, address: str | None) -> None:
    assert message.reversed_address(name) == address


def test_what_has_no_room_is_left_out_and_said_so() -> None:
    query = message.parse(question("web"))
    many = [f"10.0.{n >> 8}.{n & 255}" for n in range(2000)]
    made = message.addresses_of(query.kind, many, 5)
    small = message.reply(query, made, query.room)
    read = dns.message.from_wire(small)
    assert len(small) <= 512
    assert read.flags & dns.flags.TC
    assert said(read)[1] == many[: len(said(read)[1])] != []
    large = dns.message.from_wire(message.reply(query, made, message.MAX_ANSWER))
    assert not large.flags & dns.flags.TC
    assert said(large)[1] == many[: message.MAX_RECORDS]


@pytest.mark.parametrize(
    ("asked", "rcode"),
    [
        (packet(b""), "FORMERR"),
        (packet(b"\3web"), "FORMERR"),
        (packet(WEB + b"\0\1\0"), "FORMERR"),
        (packet(WEB + IN_A + b"\0"), "FORMERR"),  # more than was announced
        (packet(b"\xc0\x0c" + IN_A), "FORMERR"),  # points to itself
        (packet(b"\1a\xc0\x0c" + IN_A), "FORMERR"),
        (packet(b"\x40" + b"a" * 64 + b"\0" + IN_A), "FORMERR"),
        (packet((b"\x3f" + b"a" * 63) * 4 + b"\0" + IN_A), "FORMERR"),
        (packet(b"\1a" * 600 + b"\0" + IN_A), "FORMERR"),
        (packet(counts=(0, 0, 0, 0)), "FORMERR"),
        (packet(WEB + IN_A + WEB + IN_A, counts=(2, 0, 0, 0)), "FORMERR"),
        (packet(counts=(1, 1, 0, 0)), "FORMERR"),
        (packet(counts=(1, 0, 0, 1)), "FORMERR"),
        (packet(WEB + IN_A + b"\0" * 1300), "FORMERR"),
        (packet(WEB + IN_A + b"\0\0\x29\x10\0\0\0\0\0\0\5ab", counts=(1, 0, 0, 1)), "FORMERR"),
        (packet(WEB + IN_A + b"\0\0\x01\x10\0\0\0\0\0\0\0", counts=(1, 0, 0, 1)), "FORMERR"),
        (packet(WEB + IN_A + b"\0\0\x29\x10\0\0\1\0\0\0\0", counts=(1, 0, 0, 1)), "BADVERS"),
        (packet(WEB + b"\0\x29\0\1"), "FORMERR"),
        (packet(flags=0x300), "FORMERR"),
        (packet(flags=0x2000), "NOTIMP"),  # an update
        (packet(WEB + b"\0\xfc\0\1"), "NOTIMP"),  # a whole zone
        (packet(WEB + b"\0\1\0\3"), "REFUSED"),  # another class
    ],
)
def test_what_is_refused(asked: bytes, rcode: str) -> None:
    answer = refused(asked)
    assert dns.rcode.to_text(answer.rcode()) == rcode
    assert answer.id == 0x1234
    assert answer.flags & dns.flags.QR


@pytest.mark.parametrize("asked", [b"", b"\0" * 11, packet(flags=0x8180)])
def test_what_is_not_answered(asked: bytes) -> None:
    with pytest.raises(BadQuery) as bad:
        message.parse(asked)
    assert bad.value.answer is None


def test_the_longest_name() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    query = message.parse(question(name))
    assert query.name == name
    assert len(message.reply(query)) < 512


def test_forwarded_questions_are_the_same_for_all() -> None:
    one, other = message.parse(question("Example.Org")), message.parse(question("example.oRG"))
    assert message.forwarded(one) == message.forwarded(other)
    signed = message.parse(dns.message.make_query("example.org.", "A", want_dnssec=True).to_wire())
    asked = dns.message.from_wire(b"\0\7" + message.forwarded(signed))
    assert asked.ednsflags & dns.flags.DO
    assert asked.payload == 1232
    options = dns.message.make_query(
        "example.org.", "A", options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")]
    )
    asked = dns.message.from_wire(b"\0\7" + message.forwarded(message.parse(options.to_wire())))
    assert asked.options == ()
    # 0x41, the type HTTPS, is also a letter
    assert message.forwarded(message.parse(question("a", "HTTPS"))).endswith(b"\0\x41\0\1")


def check(data: bytes, limit: int) -> None:
    try:
        query = message.parse(data)
    except BadQuery as bad:
        assert bad.answer is None or len(bad.answer) <= 512
        assert bad.answer is None or bad.answer[2] & 0x80
        return
    assert data[12 : 12 + len(query.question)] == query.question
    records = message.addresses_of(query.kind, ["10.0.0.2", "fd00::2"] * 20, 5)
    answer = message.reply(query, records, min(query.room, limit))
    assert len(answer) <= min(query.room, limit)
    dns.message.from_wire(answer)
    assert len(message.reply(query, rcode=Rcode.SERVFAIL)) <= 512
    dns.message.from_wire(b"\0\1" + message.forwarded(query))
    if query.name:
        message.reversed_address(query.name)


@given(st.binary(max_size=1400), st.integers(512, 1232))
@settings(max_examples=rounds(short=500, soak=50_000))
def test_any_bytes(data: bytes, limit: int) -> None:
    check(data, limit)


@given(st.binary(max_size=300), st.integers(0, 0xFFFF), st.integers(0, 1), st.integers(512, 1232))
@settings(max_examples=rounds(short=500, soak=50_000))
def test_any_body(rest: bytes, flags: int, extra: int, limit: int) -> None:
    check(packet(rest, flags=flags & 0x7FFF, counts=(1, 0, 0, extra)), limit)


@given(st.data())
@settings(max_examples=rounds(short=500, soak=50_000))
def test_damaged_questions(data: st.DataObject) -> None:
    damaged = bytearray(question("web.front", "A", edns=1232))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), 512)
    check(bytes(damaged), 512)
