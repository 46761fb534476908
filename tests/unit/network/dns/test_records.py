"""Answers of name servers: what is read out of them, what is kept and for how long, and how they are cut."""

from __future__ import annotations

import asyncio

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dns_words import Asked, question, said
from hypercontainer.network.dns import message, records
from hypercontainer.network.dns.cache import Cache
from soak import rounds
from virtual_clock import VirtualClock

NAME = "www.example.org"


def asked(kind: str = "A", name: str = NAME) -> Asked:
    return Asked(question(name, kind), "udp", 0)


def length(name: str = NAME) -> int:
    return len(name) + 2 + 4


def life(answer: bytes) -> int | None:
    found = records.lifetime(answer, length())
    return found and found.seconds


def test_an_answer_is_one_to_its_question() -> None:
    one = asked()
    answer = one.answer("60 A 1.2.3.4")
    id_, query = one.message.id, message.parse(one.packet).question
    assert records.fits(answer, id_, query)
    assert records.fits(answer.replace(b"www", b"wWw"), id_, query)
    assert not records.fits(answer, id_ ^ 1, query)
    assert not records.fits(answer.replace(b"www", b"wwx"), id_, query)
    assert not records.fits(one.packet, id_, query)  # a question
    assert not records.fits(answer[:20], id_, query)
    assert not records.fits(answer[:4] + b"\0\0" + answer[6:], id_, query)
    https = asked("HTTPS")
    assert not records.fits(
        https.answer().replace(b"\0\x41\0\1", b"\0\x61\0\1"),
        https.message.id,
        message.parse(https.packet).question,
    )


def test_the_asker_has_its_own_id_and_case() -> None:
    answer = asked().answer("60 A 1.2.3.4")
    query = message.parse(question("wWw.eXample.org"))
    made = dns.message.from_wire(records.for_asker(answer, query))
    assert made.id == query.id
    assert str(made.question[0].name) == "wWw.eXample.org."
    assert said(made) == ("NOERROR", ["1.2.3.4"])


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (asked().answer("60 A 1.2.3.4", "30 CNAME a.b. other.name"), 30),
        (asked().answer("999999 A 1.2.3.4"), records.MAX_TTL_S),
        (asked().answer("0 A 1.2.3.4"), None),
        (asked().answer(soa="20"), 20),
        (asked().answer(soa="2000"), records.MAX_NEGATIVE_TTL_S),
        (asked().answer(soa="20", rcode=dns.rcode.NXDOMAIN), 20),
        (asked().answer(rcode=dns.rcode.NXDOMAIN), None),
        (asked().answer(), None),
        (asked().answer(soa="20", rcode=dns.rcode.SERVFAIL), None),
        (asked().answer("60 A 1.2.3.4", rcode=dns.rcode.REFUSED), None),
        (asked().answer("60 A 1.2.3.4", cut=True), None),
        (asked().answer("60 A 1.2.3.4")[:-1], None),
    ],
)
def test_how_long_an_answer_is_kept(answer: bytes, seconds: int | None) -> None:
    assert life(answer) == seconds


def test_a_kept_answer_grows_old() -> None:
    clock = VirtualClock()
    cache = Cache(clock.now)
    one = Asked(question(NAME, edns=1232), "udp", 0)
    cache.keep("key", one.answer("60 A 1.2.3.4", "90 A 1.2.3.5 other.name"), length())

    async def story() -> None:
        kept = cache.get("key")
        assert kept is not None
        assert [each.ttl for each in dns.message.from_wire(kept).answer] == [60, 90]
        await clock.advance(20.5)
        kept = cache.get("key")
        assert kept is not None
        read = dns.message.from_wire(kept)
        assert [each.ttl for each in read.answer] == [40, 70]
        assert read.payload == 8192  # as it came
        await clock.advance(39.5)
        assert cache.get("key") is None

    asyncio.run(story())


def test_what_was_not_used_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(lambda: 0.0)
    answer = asked().answer("60 A 1.2.3.4")
    monkeypatch.setattr("hypercontainer.network.dns.cache.MAX_ENTRIES", 3)
    for key in "abc":
        cache.keep(key, answer, length())
    cache.get("a")
    cache.keep("d", answer, length())
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]
    monkeypatch.setattr("hypercontainer.network.dns.cache.MAX_BYTES", 2 * len(answer))
    cache.keep("d", answer, length())
    assert [key for key in "abcd" if cache.get(key)] == ["c", "d"]
    monkeypatch.setattr("hypercontainer.network.dns.cache.MAX_ANSWER", len(answer) - 1)
    cache.keep("e", answer, length())
    assert cache.get("e") is None


def test_addresses_through_links() -> None:
    answer = asked("A", "WWW.example.org").answer(
        "60 CNAME cdn.example.net.",
        "30 CNAME edge.example.com. cdn.example.net",
        "300 A 1.2.3.4 edge.example.com",
        "20 A 1.2.3.5 edge.EXAMPLE.com",
        "300 A 6.6.6.6 another.example",
    )
    assert sorted(records.addresses(answer)) == [(NAME, "1.2.3.4", 30), (NAME, "1.2.3.5", 20)]
    assert records.addresses(asked("AAAA").answer("60 AAAA fd00::1")) == [(NAME, "fd00::1", 60)]
    assert records.addresses(asked().answer(soa="20")) == []
    assert records.addresses(asked(name="a\\.b").answer("60 A 1.2.3.4")) == []


def test_links_that_go_round() -> None:
    round_ = asked().answer("60 CNAME b.test.", f"60 CNAME {NAME}. b.test", "60 A 1.2.3.4 c.test")
    assert records.addresses(round_) == []
    links = [f"60 CNAME n{n + 1}.test. n{n}.test" for n in range(records.MAX_LINKS)]
    far = asked().answer("60 CNAME n0.test.", *links, f"60 A 1.2.3.4 n{records.MAX_LINKS}.test")
    assert records.addresses(far) == []


def test_a_long_answer_is_cut_between_records() -> None:
    many = [f"60 A 10.0.0.{n}" for n in range(100)]
    answer = asked().answer(*many)
    query = message.parse(question(NAME, edns=600))
    cut = records.shortened(records.for_asker(answer, query), query, query.room)
    assert len(cut) <= 600
    read = dns.message.from_wire(cut)
    assert read.flags & dns.flags.TC
    assert 20 < len(said(read)[1]) < 100
    assert read.edns == 0
    assert records.shortened(answer, query, len(answer)) is answer
    broken = dns.message.from_wire(records.shortened(answer[:-1], query, 600))
    assert broken.flags & dns.flags.TC


@given(st.data())
@settings(max_examples=rounds(short=600, soak=50_000))
def test_damaged_answers(data: st.DataObject) -> None:
    good = asked().answer("60 CNAME b.test.", "60 A 1.2.3.4 b.test", "60 AAAA fd00::1 b.test", soa="20")
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(damaged) + data.draw(st.binary(max_size=40)))
    check(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), min_size=4, max_size=4))
@settings(max_examples=rounds(short=400, soak=50_000))
def test_any_answer(rest: bytes, counts: list[int]) -> None:
    header = b"\0\7\x81\x80" + b"".join(count.to_bytes(2, "big") for count in counts)
    check(header + message.parse(asked().packet).question + rest)
    check(header + rest)


def check(answer: bytes) -> None:
    for name, address, ttl in records.addresses(answer):
        assert name
        assert address
        assert 0 <= ttl < 1 << 31
    query = message.parse(asked().packet)
    if not records.fits(answer, int.from_bytes(answer[:2], "big"), query.question):
        return
    kept = records.lifetime(answer, length())
    if kept is not None:
        assert 0 < kept.seconds <= records.MAX_TTL_S
        assert len(records.aged(answer, 5, kept.places)) == len(answer)
    for limit in (512, 1232):
        cut = records.shortened(records.for_asker(answer, query), query, limit)
        assert len(cut) <= limit
