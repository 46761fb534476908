"""What name servers are asked, whom is believed, and what is done where they do not answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import dns.flags
import dns.message
import dns.rcode
import pytest

from dns_stage import (
    StageZone,
    ask,
    asked,
    client,
    connected,
    framed,
    name_server,
    received,
    serving,
    unframed,
)
from dns_words import Asked, question, said
from hypercontainer.network.dns import upstream
from hypercontainer.network.dns.fairness import Rate
from hypercontainer.network.dns.upstream import Limits, Upstream
from virtual_clock import VirtualClock

ONE, OTHER = "127.0.0.2", "127.0.0.3"
QUICK = Limits(server_s=0.5)
GOOD = "60 A 1.2.3.4"


def good(one: Asked) -> Sequence[bytes]:
    return [one.answer(GOOD)]


def silent(one: Asked) -> Sequence[bytes]:
    return []


def test_each_question_has_another_port_and_id() -> None:
    async def story() -> None:
        async with name_server(good) as world, serving(StageZone(), world) as at:
            for n in range(20):
                assert await ask(at, f"n{n}.test") == ("NOERROR", ["1.2.3.4"])
            assert len({one.port for one in world.asked}) > 15
            assert len({one.message.id for one in world.asked}) > 15

    asyncio.run(story())


def test_a_forged_answer_is_not_believed() -> None:
    def says(one: Asked) -> Sequence[bytes]:
        wrong_id = Asked(bytes([one.packet[0] ^ 1]) + one.packet[1:], "udp", 0).answer("60 A 6.6.6.6")
        other = Asked(one.packet[:2] + question("other.test")[2:], "udp", 0).answer("60 A 6.6.6.6")
        return [wrong_id, other, one.packet, b"", b"x", one.answer(GOOD)]

    async def story() -> None:
        async with name_server(says) as world, serving(StageZone(), world) as at:
            assert await ask(at, "example.org") == ("NOERROR", ["1.2.3.4"])

    asyncio.run(story())


def test_only_the_server_that_was_asked_is_heard() -> None:
    async def story() -> None:
        async with name_server(silent) as world, serving(StageZone(), world) as at:
            with client(at) as sock:
                sock.send(question("example.org"))
                await world.heard.wait()
                (one,) = world.asked
                with client(("127.0.0.1", one.port), ONE) as forger:
                    forger.send(one.answer("60 A 6.6.6.6"))
                with client(("127.0.0.1", one.port)) as forger:  # the same address, another port
                    forger.send(one.answer("60 A 6.6.6.6"))
                world.send(one.port, one.answer(GOOD))
                assert said(dns.message.from_wire(await received(sock)))[1] == ["1.2.3.4"]

    asyncio.run(story())


def test_who_guesses_ends_the_question() -> None:
    def says(one: Asked) -> Sequence[bytes]:
        wrong = Asked(bytes([one.packet[0] ^ 1]) + one.packet[1:], "udp", 0).answer("60 A 6.6.6.6")
        return [wrong] * upstream.MAX_STRAYS + [one.answer("60 A 6.6.6.6")]

    async def story() -> None:
        async with (
            name_server(says) as forged,
            name_server(good) as world,
            serving(StageZone(), forged, world) as at,
        ):
            assert await ask(at, "example.org") == ("NOERROR", ["1.2.3.4"])

    asyncio.run(story())


def test_a_server_that_is_silent_is_asked_last_from_then_on() -> None:
    clock = VirtualClock()

    async def story() -> None:
        async with (
            name_server(silent) as dead,
            name_server(good) as world,
            serving(StageZone(), dead, world, upstream=QUICK, now=clock.now) as at,
        ):
            assert (await ask(at, "a.test"))[1] == ["1.2.3.4"]
            assert (await ask(at, "b.test"))[1] == ["1.2.3.4"]
            assert [one.name for one in dead.asked] == ["a.test"]
            await clock.advance(QUICK.silent_s + 1)
            dead.says = good
            assert (await ask(at, "c.test"))[1] == ["1.2.3.4"]
            assert [one.name for one in dead.asked] == ["a.test", "c.test"]

    asyncio.run(story())


def test_a_server_that_is_not_there() -> None:
    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as keeps:
            keeps.bind(("127.0.0.1", 0))
            gone = keeps.getsockname()
        async with name_server(good) as world, serving(StageZone(), gone, world) as at:
            assert await ask(at, "example.org") == ("NOERROR", ["1.2.3.4"])
        async with serving(StageZone(), gone) as at:
            assert await ask(at, "example.org") == ("SERVFAIL", [])
        async with serving(StageZone()) as at:
            assert await ask(at, "example.org") == ("SERVFAIL", [])

    asyncio.run(story())


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_another_server_may_know_more(rcode: dns.rcode.Rcode) -> None:
    async def story() -> None:
        async with name_server(lambda one: [one.answer(rcode=rcode)]) as first, name_server(good) as world:
            async with serving(StageZone(), first, world) as at:
                assert await ask(at, "example.org") == ("NOERROR", ["1.2.3.4"])
            async with serving(StageZone(), first) as at:
                assert await ask(at, "example.org") == (dns.rcode.to_text(rcode), [])

    asyncio.run(story())


def test_no_such_name_is_an_answer() -> None:
    def says(one: Asked) -> Sequence[bytes]:
        return [one.answer(rcode=dns.rcode.NXDOMAIN, soa="20")]

    async def story() -> None:
        async with (
            name_server(says) as first,
            name_server(good) as world,
            serving(StageZone(), first, world) as at,
        ):
            assert await ask(at, "example.org") == ("NXDOMAIN", [])
            assert await ask(at, "example.org") == ("NXDOMAIN", [])
            assert (len(first.asked), len(world.asked)) == (1, 0)

    asyncio.run(story())


def long_by_tcp(one: Asked) -> Sequence[bytes]:
    if one.by == "udp":
        return [one.answer(cut=True)]
    return [one.answer(*[f"60 A 10.0.{n >> 8}.{n & 255}" for n in range(1000)])]


def test_what_is_cut_is_asked_by_tcp() -> None:
    async def story() -> None:
        async with name_server(long_by_tcp) as world, serving(StageZone(), world) as at:
            answer = await asked(at, question("example.org"))
            assert answer.flags & dns.flags.TC
            async with connected(at) as (reader, writer):
                writer.write(framed(question("example.org")))
                assert len(said(await unframed(reader))[1]) == 1000
            assert [one.by for one in world.asked] == ["udp", "tcp"] * 2  # too long to be kept

    asyncio.run(story())


def test_a_server_that_has_no_tcp_is_passed_on_as_it_is() -> None:
    def says(one: Asked) -> Sequence[bytes]:
        return [one.answer(GOOD, cut=True)] if one.by == "udp" else []

    async def story() -> None:
        async with name_server(says) as world, serving(StageZone(), world, upstream=QUICK) as at:
            answer = await asked(at, question("example.org"))
            assert answer.flags & dns.flags.TC
            assert said(answer)[1] == ["1.2.3.4"]

    asyncio.run(story())


def test_a_forged_answer_by_tcp_is_not_believed() -> None:
    def says(one: Asked) -> Sequence[bytes]:
        if one.by == "udp":
            return [one.answer(cut=True)]
        return [Asked(bytes([one.packet[0] ^ 1]) + one.packet[1:], "tcp", 0).answer("60 A 6.6.6.6")]

    async def story() -> None:
        async with name_server(says) as world, serving(StageZone(), world) as at:
            assert said(await asked(at, question("example.org")))[1] == []

    asyncio.run(story())


def test_an_answer_is_kept_for_its_time() -> None:
    clock = VirtualClock()

    async def story() -> None:
        async with name_server(good) as world, serving(StageZone(), world, now=clock.now) as at:
            for name in ("example.org", "EXAMPLE.org"):
                answer = await asked(at, question(name))
                assert str(answer.question[0].name) == f"{name}."
                assert said(answer)[1] == ["1.2.3.4"]
            assert len(world.asked) == 1
            await clock.advance(45)
            assert (await asked(at, question("example.org"))).answer[0].ttl == 15
            await clock.advance(15)
            assert (await asked(at, question("example.org"))).answer[0].ttl == 60
            assert len(world.asked) == 2
            await ask(at, "example.org", "AAAA")
            await asked(at, question("example.org", edns=1232))
            assert len(world.asked) == 4  # other questions

    asyncio.run(story())


def test_who_asks_the_same_waits_for_the_same_answer() -> None:
    async def story() -> None:
        async with name_server(silent) as world, serving(StageZone(), world) as at:
            with client(at, ONE) as one, client(at, OTHER) as other:
                one.send(question("example.org"))
                other.send(question("Example.org"))
                other.send(question("example.org"))
                await world.heard.wait()
                world.send(world.asked[0].port, world.asked[0].answer(GOOD))
                for sock in (one, other, other):
                    assert b"\1\2\3\4" in await received(sock)
                assert len(world.asked) == 1

    asyncio.run(story())


def test_one_guest_has_a_part_of_what_is_asked_at_once() -> None:
    async def story() -> None:
        limits = Limits(outstanding=3, outstanding_each=2)
        async with name_server(silent) as world, serving(StageZone(), world, upstream=limits) as at:
            with client(at, ONE) as one, client(at, OTHER) as other:
                for n in range(2):
                    one.send(question(f"n{n}.test"))
                assert await ask(at, "n2.test", host=ONE) == ("REFUSED", [])
                other.send(question("n3.test"))
                assert await ask(at, "n4.test") == ("SERVFAIL", [])
                while len(world.asked) < 3:
                    world.heard.clear()
                    await world.heard.wait()
                for each in world.asked:
                    world.send(each.port, each.answer(GOOD))
                for sock in (one, one, other):
                    await received(sock)
                world.says = good
                assert await ask(at, "n5.test") == ("NOERROR", ["1.2.3.4"])

    asyncio.run(story())


def test_a_flood_of_one_guest_is_refused_and_others_are_answered() -> None:
    clock = VirtualClock()
    limits = Limits(rate_each=Rate(per_second=2, burst=4))

    async def story() -> None:
        async with (
            name_server(good) as world,
            serving(StageZone(), world, upstream=limits, now=clock.now) as at,
        ):
            told = [(await ask(at, f"n{n}.test", host=ONE))[0] for n in range(8)]
            assert told == ["NOERROR"] * 4 + ["REFUSED"] * 4
            assert await ask(at, "x.test", host=OTHER) == ("NOERROR", ["1.2.3.4"])
            assert (await ask(at, "n0.test", host=ONE))[0] == "NOERROR"  # it is known still
            await clock.advance(1)
            told = [(await ask(at, f"m{n}.test", host=ONE))[0] for n in range(3)]
            assert told == ["NOERROR"] * 2 + ["REFUSED"]

    asyncio.run(story())


def test_a_pod_may_have_its_own_servers() -> None:
    async def story() -> None:
        async with name_server(good) as world, name_server(lambda one: [one.answer("60 A 9.9.9.9")]) as own:
            zone = StageZone(own_servers={ONE: [own.address]})
            async with serving(zone, world) as at:
                assert (await ask(at, "example.org"))[1] == ["1.2.3.4"]
                assert (await ask(at, "example.org", host=ONE))[1] == ["9.9.9.9"]  # and its own answers

    asyncio.run(story())


def test_an_end_leaves_nobody_waiting() -> None:
    async def story() -> None:
        async with name_server(silent) as world:
            async with serving(StageZone(), world) as at:
                with client(at) as sock:
                    sock.send(question("example.org"))
                    await world.heard.wait()
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())


def test_a_bug_is_told_and_the_question_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Upstream, "_ask_one", broken)

    async def story() -> None:
        async with serving(StageZone(), ("127.0.0.1", 53)) as at:
            assert await ask(at, "example.org") == ("SERVFAIL", [])

    asyncio.run(story())
    assert "a bug" in caplog.text
