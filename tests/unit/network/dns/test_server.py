"""The server on loopback sockets, asked by a client that is another implementation."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Callable, Sequence

import dns.flags
import dns.message
import pytest

from dns_stage import (
    StageZone,
    ask,
    asked,
    bound,
    client,
    closed,
    connected,
    framed,
    has_ipv6,
    name_server,
    received,
    serving,
    unframed,
)
from dns_words import Asked, question, said
from hypercontainer.network.dns import connections, datagrams, gate, taking
from hypercontainer.network.dns.connections import TcpLimits
from hypercontainer.network.dns.datagrams import Datagrams
from hypercontainer.network.dns.fairness import Rate
from hypercontainer.network.dns.gate import Gate
from hypercontainer.network.dns.server import Server, ServerLimits
from hypercontainer.network.dns.upstream import Upstream
from virtual_clock import VirtualClock

ONE, OTHER = "127.0.0.2", "127.0.0.3"
IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def zone() -> StageZone:
    return StageZone(
        {
            "web": ["10.0.0.2", "10.0.0.3", "fd00::2"],
            "db": ["10.0.0.4"],
            "new": [],
            (OTHER, "db"): ["10.9.9.9"],
            "many": [f"10.1.0.{n}" for n in range(200)],
        },
        {"10.0.0.2": "web.front", "fd00::2": "web.front", "10.0.0.9": "", "10.0.0.8": "x" * 70},
    )


def outside(asked: Asked) -> Sequence[bytes]:
    return [asked.answer("60 A 1.2.3.4")]


def silent(asked: Asked) -> Sequence[bytes]:
    return []


def test_names_of_ours() -> None:
    async def story() -> None:
        async with name_server(outside) as world, serving(zone(), world) as at:
            kind, found = await ask(at, "WEB")
            assert (kind, sorted(found)) == ("NOERROR", ["10.0.0.2", "10.0.0.3"])
            assert await ask(at, "web", "AAAA") == ("NOERROR", ["fd00::2"])
            assert await ask(at, "db", "AAAA") == ("NOERROR", [])  # never forwarded
            assert await ask(at, "db", "MX") == ("NOERROR", [])
            assert await ask(at, "new") == ("NOERROR", [])
            assert await ask(at, "db", host=ONE) == ("NOERROR", ["10.0.0.4"])
            assert await ask(at, "db", host=OTHER) == ("NOERROR", ["10.9.9.9"])
            assert not world.asked
            assert await ask(at, "example.org") == ("NOERROR", ["1.2.3.4"])
            assert [each.name for each in world.asked] == ["example.org"]

    asyncio.run(story())


def test_addresses_of_ours() -> None:
    async def story() -> None:
        async with (
            name_server(lambda one: [one.answer("9 PTR x.test.")]) as world,
            serving(zone(), world) as at,
        ):
            assert await ask(at, "2.0.0.10.in-addr.arpa", "PTR") == ("NOERROR", ["web.front."])
            assert await ask(at, "2" + ".0" * 27 + ".0.0.d.f.ip6.arpa", "PTR") == ("NOERROR", ["web.front."])
            assert await ask(at, "9.0.0.10.in-addr.arpa", "PTR") == ("NXDOMAIN", [])
            assert await ask(at, "8.0.0.10.in-addr.arpa", "PTR") == ("NXDOMAIN", [])  # no name fits a label
            assert not world.asked
            assert await ask(at, "7.0.0.10.in-addr.arpa", "PTR") == ("NOERROR", ["x.test."])

    asyncio.run(story())


def test_an_address_is_not_always_the_first() -> None:
    async def story() -> None:
        async with serving(zone()) as at:
            first = set()
            for id_ in (2, 3):
                packet = id_.to_bytes(2, "big") + question("web")[2:]
                first.add(said(await asked(at, packet))[1][0])
            assert first == {"10.0.0.2", "10.0.0.3"}

    asyncio.run(story())


def test_a_network_that_leads_nowhere() -> None:
    async def story() -> None:
        inner = zone()
        inner.outside = False
        async with name_server(outside) as world, serving(inner, world) as at:
            assert await ask(at, "example.org") == ("NXDOMAIN", [])
            assert await ask(at, "db") == ("NOERROR", ["10.0.0.4"])
            assert not world.asked

    asyncio.run(story())


def test_an_answer_by_udp_has_the_size_that_was_asked_for() -> None:
    async def story() -> None:
        async with serving(zone()) as at:
            for edns, most in ((None, 512), (900, 900), (4096, 1232)):
                with client(at) as sock:
                    sock.send(question("many", edns=edns))
                    packet = await received(sock)
                assert most - 16 < len(packet) <= most
                assert dns.message.from_wire(packet).flags & dns.flags.TC
            async with connected(at) as (reader, writer):
                writer.write(framed(question("many")))
                answer = await unframed(reader)
                assert len(said(answer)[1]) == 200
                assert not answer.flags & dns.flags.TC

    asyncio.run(story())


def test_no_bytes_end_it() -> None:
    async def story() -> None:
        async with serving(zone()) as at:
            with client(at) as sock:
                for packet in (b"", b"\0", b"\xff" * 1400, question("a" * 63)[:-3], b"\0" * 5000):
                    sock.send(packet)
            assert (await ask(at, "db"))[1] == ["10.0.0.4"]

    asyncio.run(story())


@IPV6
def test_by_ipv6() -> None:
    async def story() -> None:
        inner = zone()
        async with serving(inner, host="::1") as at:
            assert await ask(at, "db", host="::1") == ("NOERROR", ["10.0.0.4"])
            async with connected(at, "::1") as (reader, writer):
                writer.write(framed(question("db")))
                assert said(await unframed(reader))[1] == ["10.0.0.4"]
        assert inner.heard == [("::1", "db")] * 2

    asyncio.run(story())


def test_a_scope_is_not_part_of_who_asks() -> None:
    class Sock:
        """A link-local neighbour, as the kernel tells of one."""

        def __init__(self) -> None:
            self.sent: list[object] = []
            self.waiting = [(question("db"), ("fe80::1%eth0", 5353, 0, 7))]

        def recvfrom(self, size: int) -> object:
            if not self.waiting:
                raise BlockingIOError
            return self.waiting.pop()

        def sendto(self, packet: bytes, address: object) -> None:
            self.sent.append(address)

    asker = []

    class Listening:
        def admits(self, who: str) -> bool:
            return True

        def answer(self, who: str, packet: bytes, *, stream: bool, answered: Callable[[bytes], None]) -> bool:
            asker.append(who)
            answered(packet)
            return True

    sock = Sock()
    with pytest.raises(BlockingIOError):
        Datagrams(Listening(), Gate()).take(sock)  # type: ignore[arg-type]
    assert asker == ["fe80::1"]
    assert sock.sent == [("fe80::1", 5353, 0, 7)]


def test_several_questions_of_a_connection() -> None:
    async def story() -> None:
        async with (
            name_server(silent) as world,
            serving(zone(), world) as at,
            connected(at) as (reader, writer),
        ):
            slow, quick = question("slow.test"), question("db")
            writer.write(framed(slow) + framed(quick)[:9])
            await world.heard.wait()
            writer.write(framed(quick)[9:])
            writer.write_eof()
            assert said(await unframed(reader))[1] == ["10.0.0.4"]  # does not wait for the other
            world.send(world.asked[0].port, world.asked[0].answer("60 A 1.2.3.4"))
            assert said(await unframed(reader))[1] == ["1.2.3.4"]
            await closed(reader)

    asyncio.run(story())


@pytest.mark.parametrize(
    "packet", [b"\0\0", b"\0\5hello", b"\xff\xff", framed(question("db"))[:2] + b"\0" * 40]
)
def test_a_connection_of_nonsense_is_ended(packet: bytes) -> None:
    async def story() -> None:
        async with serving(zone(), limits=ServerLimits(tcp=TcpLimits(idle_s=0.1))) as at:
            async with connected(at) as (reader, writer):
                writer.write(packet)
                await closed(reader)
            assert (await ask(at, "db"))[1] == ["10.0.0.4"]

    asyncio.run(story())


def test_who_says_nothing_is_cut_off() -> None:
    async def story() -> None:
        async with (
            serving(zone(), limits=ServerLimits(tcp=TcpLimits(idle_s=0.05))) as at,
            connected(at) as (reader, writer),
        ):
            writer.write(framed(question("db"))[:7])
            await closed(reader)

    asyncio.run(story())


def test_who_does_not_read_is_cut_off() -> None:
    async def story() -> None:
        async with serving(zone(), limits=ServerLimits(tcp=TcpLimits(idle_s=0.2))) as at:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, at)
            with sock, pytest.raises(ConnectionError):  # when the other side is gone
                async with asyncio.timeout(20):
                    while True:
                        await loop.sock_sendall(sock, framed(question("many")) * 200)
            assert (await ask(at, "db"))[1] == ["10.0.0.4"]

    asyncio.run(story())


def test_connections_are_counted() -> None:
    async def story() -> None:
        limits = ServerLimits(tcp=TcpLimits(connections=3, connections_each=2))
        async with (
            serving(zone(), limits=limits) as at,
            connected(at, ONE) as first,
            connected(at, ONE) as second,
        ):
            for one in (first, second):
                one[1].write(framed(question("db")))
                await unframed(one[0])
            async with connected(at, ONE) as (reader, _):
                await closed(reader)
            async with connected(at, OTHER) as third:
                third[1].write(framed(question("db")))
                assert said(await unframed(third[0]))[1] == ["10.9.9.9"]
                async with connected(at) as (reader, _):
                    await closed(reader)
            first[1].write_eof()
            await closed(first[0])
            async with connected(at, ONE) as (reader, writer):
                writer.write(framed(question("db")))
                await unframed(reader)

    asyncio.run(story())


@pytest.mark.parametrize(("host", "flooding"), [("127.0.0.1", ONE), pytest.param("::1", "::1", marks=IPV6)])
def test_a_flood_is_kept_out_by_the_kernel(host: str, flooding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    shut: asyncio.Queue[Gate] = asyncio.Queue()
    apply = Gate._apply

    def noted(self: Gate) -> None:
        apply(self)
        shut.put_nowait(self)

    monkeypatch.setattr(Gate, "_apply", noted)

    async def story() -> None:
        inner = zone()
        limits = ServerLimits(rate_each=Rate(per_second=1, burst=20))
        async with serving(inner, host=host, limits=limits, now=clock.now) as at:
            with client(at, flooding) as sock:
                for _ in range(21):
                    sock.send(question("web"))
                for _ in range(20):
                    await received(sock)
                kept_out = await shut.get()
                for _ in range(5000):
                    sock.send(question("web"))
                if host == "127.0.0.1":
                    assert (await ask(at, "db", host=OTHER))[1] == ["10.9.9.9"]
                assert sum(name == "web" for _, name in inner.heard) == 20
                await clock.advance(10)
                kept_out._open(flooding)
                sock.send(question("web"))
                await received(sock)

    asyncio.run(story())


def test_a_gate_names_all_whom_it_keeps_out() -> None:
    many = [f"127.0.1.{n}" for n in range(gate.MAX_SHUT + 1)]

    async def story() -> None:
        udp, tcp = bound()
        with udp, tcp:
            udp.setblocking(False)
            one = Gate(udp, tcp)
            for asker in many:
                one.shut(asker)
            for host in (*many, ONE):
                with client(udp.getsockname(), host) as sock:
                    sock.send(host.encode())
            assert [(await received(udp)).decode() for _ in range(2)] == [many[0], ONE]
            with pytest.raises(BlockingIOError):
                udp.recv(100)
            one.close()

    asyncio.run(story())


def test_a_gate_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SHUT_S", 0.01)

    async def story() -> None:
        udp, tcp = bound()
        with udp, tcp, client(udp.getsockname(), ONE) as sock:
            udp.setblocking(False)
            one = Gate(udp, tcp)
            one.shut(ONE)
            sock.send(b"lost")
            while one._shut:
                await asyncio.sleep(0)
            sock.send(b"heard")
            assert await received(udp) == b"heard"

    asyncio.run(story())


def test_who_asks_too_much_by_tcp_is_ended() -> None:
    async def story() -> None:
        limits = ServerLimits(rate_each=Rate(per_second=1, burst=3))
        async with (
            serving(zone(), limits=limits, now=lambda: 0.0) as at,
            connected(at, ONE) as (reader, writer),
        ):
            writer.write(framed(question("db")) * 3)
            for _ in range(2):
                await unframed(reader)
            await closed(reader)
            assert (await ask(at, "db", host=OTHER))[1] == ["10.9.9.9"]

    asyncio.run(story())


def test_a_batch_leaves_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "AT_ONCE", 4)

    async def story() -> None:
        inner = zone()
        async with serving(inner) as at:
            turns = []
            with client(at, ONE) as sock:
                for _ in range(20):
                    sock.send(question("web"))
                while len(inner.heard) < 20:
                    turns.append(len(inner.heard))
                    await asyncio.sleep(0)
            assert all(after - before <= 4 for before, after in itertools.pairwise(turns))

    asyncio.run(story())


def test_an_error_of_a_socket_is_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "PAUSE_S", 0.01)
    errors = [OSError(errno.ENOMEM, "no room"), OSError(errno.ENETDOWN, "down")]
    take = Datagrams.take

    def failing(self: Datagrams, udp: socket.socket) -> None:
        if errors:
            raise errors.pop()
        take(self, udp)

    monkeypatch.setattr(Datagrams, "take", failing)

    async def story() -> None:
        async with serving(zone()) as at:
            assert (await ask(at, "db"))[1] == ["10.0.0.4"]
        assert not errors

    asyncio.run(story())


def test_a_listener_without_descriptors_is_served_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "PAUSE_S", 0.01)
    take = connections.Connections.take
    errors = [OSError(errno.EMFILE, "too many")]

    def failing(self: connections.Connections, listener: socket.socket) -> None:
        if errors:
            raise errors.pop()
        take(self, listener)

    monkeypatch.setattr(connections.Connections, "take", failing)

    async def story() -> None:
        async with serving(zone()) as at, connected(at) as (reader, writer):
            writer.write(framed(question("db")))
            assert said(await unframed(reader))[1] == ["10.0.0.4"]

    asyncio.run(story())


def test_networks_come_and_go() -> None:
    async def story() -> None:
        one = Server(Upstream(list))
        first, second = bound(), bound()
        one.serve(*first, StageZone({"db": ["10.0.0.1"]}))
        one.serve(*second, StageZone({"db": ["10.0.0.2"]}))
        at = [udp.getsockname() for udp, _ in (first, second)]
        assert [(await ask(each, "db"))[1] for each in at] == [["10.0.0.1"], ["10.0.0.2"]]
        async with connected(at[0]) as (reader, writer):
            writer.write(framed(question("db")))
            await unframed(reader)
            one.stop(first[0])
            await closed(reader)
        assert [each.fileno() for each in first] == [-1, -1]
        assert (await ask(at[1], "db"))[1] == ["10.0.0.2"]
        await one.close()
        assert [each.fileno() for each in second] == [-1, -1]

    asyncio.run(story())


def test_who_left_is_not_answered() -> None:
    async def story() -> None:
        async with name_server(silent) as world, serving(zone(), world) as at:
            async with connected(at) as (_, writer):
                writer.write(framed(question("slow.test")))
                await world.heard.wait()
                writer.transport.abort()
            assert (await ask(at, "db"))[1] == ["10.0.0.4"]
            world.send(world.asked[0].port, world.asked[0].answer("60 A 1.2.3.4"))
            world.says = outside
            assert (await ask(at, "slow.test"))[1] == ["1.2.3.4"]

    asyncio.run(story())
