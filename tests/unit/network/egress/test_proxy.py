"""The proxy between real clients and servers: what is let out, what is put in, what a hostile client gets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from egress_stage import POD, Stage, answer, stage
from hypercontainer.network.egress.exchange import Timeouts
from hypercontainer.network.egress.proxy import Limits
from hypercontainer.network.egress.rules import ANYTHING, HttpRule
from hypercontainer.network.egress.wire import Secret, Tell

API = "api.example.test"
READS = (HttpRule((API,), ("GET", "HEAD"), ("/public/*",)),)
TOKEN = "Bearer 4711"
SECRETS = (Secret(API, "Authorization", TOKEN),)
DEADLINE_S = 30.0


def run(folder: Path, story: Callable[[Stage], Awaitable[None]], **how: object) -> None:
    async def play() -> None:
        async with asyncio.timeout(DEADLINE_S), stage(folder, **how) as made:  # type: ignore[arg-type]
            await story(made)

    asyncio.run(play())


class Echo:
    """A server that says back what it was asked, and remembers the heads of requests."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                body = await _body(reader, head.lower())
                said = hashlib.sha256(body).hexdigest().encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said))
                writer.write(b"" if head.startswith(b"HEAD") else said)
                await writer.drain()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body
    if b"content-length: " not in head:
        return b""
    return await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


def request(method: str = "GET", path: str = "/public/a", host: str = API, *more: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *more, "", ""]).encode()


def test_a_secret_is_put_in_and_never_shown(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(echo, API):
            reader, writer = await made.tls(API)
            for forged in ("Authorization: guest", "authorization: guest\r\nAUTHORIZATION: again"):
                writer.write(request("GET", "/x", API, forged))
                assert (await answer(reader))[0] == 200
            writer.close()
        for head in echo.heads:
            assert head.lower().count(b"authorization") == 1
            assert f"Authorization: {TOKEN}".encode() in head
        assert TOKEN not in repr(SECRETS) and TOKEN not in repr(Tell("p", (), (), SECRETS))

    run(tmp_path, story)


def test_a_name_that_servers_take_for_the_secrets_is_dropped(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), ANYTHING, (Secret(API, "X-Token", "mine"),)))
        async with made.server(echo, API):
            reader, writer = await made.tls(API)
            writer.write(request("GET", "/x", API, "X_Token: guest", "Connection: x-token"))
            await answer(reader)
            writer.close()
        assert b"guest" not in echo.heads[0] and b"X-Token: mine" in echo.heads[0]

    run(tmp_path, story)


def test_no_secret_goes_in_clear_or_to_another_host(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(echo, API, "other.test", tls=False):
            for host in (API, "other.test"):
                reader, writer = await made.plain()
                writer.write(request("GET", "/", host))
                assert (await answer(reader))[0] == 200
                writer.close()
        assert len(echo.heads) == 2 and all(b"4711" not in head for head in echo.heads)

    run(tmp_path, story)


def test_a_secret_of_clear_http_goes_there_alone(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), ANYTHING, (Secret(API, "X-Token", "mine", "http"),)))
        async with made.server(echo, API, tls=False):
            reader, writer = await made.plain()
            writer.write(request())
            await answer(reader)
            writer.close()
        assert b"X-Token: mine" in echo.heads[0]

    run(tmp_path, story)


def test_a_server_whose_certificate_is_another_gets_nothing(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(echo, "wrong.test", API):
            reader, writer = await made.tls(API)
            writer.write(request())
            status, _, body = await answer(reader)
            writer.close()
        assert status == 502 and b"cannot be reached" in body and not echo.heads

    run(tmp_path, story)


def test_what_is_denied_is_told(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), READS, policy="reads"))
        async with made.server(Echo(), API):
            reader, writer = await made.tls(API)
            writer.write(request("HEAD"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200" in head
            writer.write(request("POST", "/public/a?token=1", API, "Content-Length: 3") + b"abc")
            status, headers, body = await answer(reader)
            assert (status, headers["connection"]) == (403, "close")
            assert b"POST /public/a of api.example.test" in body and b"policy reads" in body
            assert await reader.read() == b""
            writer.close()
            reader, writer = await made.tls(API)
            writer.write(request("GET", "/public/../secret?token=1"))
            assert (await answer(reader))[0] == 403
            writer.close()
        assert [(each.method, each.url) for each in made.denied] == [
            ("POST", f"https://{API}/public/a"),
            ("GET", f"https://{API}/secret"),
        ]

    run(tmp_path, story)


def test_a_host_that_no_rule_names_is_neither_looked_up_nor_reached(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), READS))
        with pytest.raises(ssl.SSLError, match=r"(?i)access.denied"):
            await made.tls("leak.test")
        reader, writer = await made.plain()
        writer.write(request("GET", "/", "leak.test"))
        assert (await answer(reader))[0] == 403
        writer.close()
        assert not made.resolved
        assert [each.url for each in made.denied] == ["https://leak.test/", "http://leak.test/"]

    run(tmp_path, story)


def test_tls_that_nothing_wants_to_see_is_passed_on(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), (HttpRule((API,)),)))
        async with made.server(echo, API):
            reader, writer = await made.tls(API, made.world)  # the server's own certificate
            writer.write(request("BREW", "/any/../thing"))
            assert (await answer(reader))[0] == 200
            writer.close()
        assert b"BREW /any/../thing" in echo.heads[0]
        with pytest.raises(ssl.SSLError):
            await made.tls("leak.test", made.world)

    run(tmp_path, story)


def test_big_bodies_flow_both_ways(tmp_path: Path) -> None:
    body = random.Random(1).randbytes(3 << 20)

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await reader.readline(), 16):  # each part goes back before the next has come
            part = (await reader.readexactly(size + 2))[:-2]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(mirror, API):
            reader, writer = await made.tls(API)
            writer.write(request("POST", "/", API, "Transfer-Encoding: chunked"))
            answering = asyncio.create_task(answer(reader))
            for at in range(0, len(body), 100_000):
                part = body[at : at + 100_000]
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            assert (await answering)[2] == body
            writer.close()

    run(tmp_path, story)


def test_a_request_that_waits_for_a_word_gets_it(tmp_path: Path) -> None:
    async def cautious(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"Expect: 100-continue" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        said = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + said)
        await writer.drain()
        writer.close()

    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(cautious, API):
            reader, writer = await made.tls(API)
            writer.write(request("PUT", "/", API, "Content-Length: 5", "Expect: 100-continue"))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert (await answer(reader))[2] == b"hello"
            writer.close()

    run(tmp_path, story)


def test_an_answer_may_come_before_the_request_has_ended(tmp_path: Path) -> None:
    async def unwilling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await writer.drain()
        writer.close()

    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(unwilling, API):
            reader, writer = await made.tls(API)
            writer.write(request("PUT", "/", API, "Content-Length: 1000000") + b"some")
            status, _, body = await answer(reader)
            assert (status, body) == (413, b"no")
            assert await reader.read() == b""
            writer.close()

    run(tmp_path, story)


def test_a_websocket_is_passed_on_and_no_other_change(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def changes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if b"Upgrade: websocket" in heads[-1]:
            writer.write(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst")
            writer.write(b"<" + await reader.readexactly(4) + b">")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(changes, API):
            reader, writer = await made.tls(API)
            writer.write(request("GET", "/", API, "Upgrade: websocket", "Connection: Upgrade") + b"ping")
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(11) == b"first<ping>"
            writer.close()
            reader, writer = await made.tls(API)
            writer.write(request("GET", "/", API, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"))
            assert (await answer(reader))[0] == 200
            writer.close()
        assert f"Authorization: {TOKEN}".encode() in heads[0] and b"pgrade" not in heads[1]

    run(tmp_path, story)


def test_one_connection_serves_many_requests_and_several_hosts(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), ANYTHING))
        async with made.server(echo, "a.test", "b.test", tls=False):
            reader, writer = await made.plain()
            writer.write(request("GET", "/1", "a.test") + request("GET", "/2", "a.test"))
            writer.write(request("GET", "http://b.test/3", "b.test"))
            for _ in range(3):
                assert (await answer(reader))[0] == 200
            writer.close()
        assert [head.split(b" ")[1] for head in echo.heads] == [b"/1", b"/2", b"/3"]
        assert made.resolved == ["a.test", "b.test"]

    run(tmp_path, story)


def test_a_client_hears_that_the_server_has_ended(tmp_path: Path) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(once, API):
            reader, writer = await made.tls(API)
            writer.write(request())
            assert (await answer(reader))[0] == 200
            assert await reader.read() == b""
            writer.close()

    run(tmp_path, story)


HOSTILE = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "lengths that differ": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a coding of its own": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding, almost": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no host of HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "another target": b"GET http://i/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "another port": b"GET / HTTP/1.1\r\nHost: h:8080\r\n\r\n",
    "a user": b"GET http://h@i/ HTTP/1.1\r\nHost: i\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: h\r\n i\r\n\r\n",
    "a bare line end": b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
    "a sign": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\na",
    "a tunnel": b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
    "an echo": b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 300 + b"\r\n",
    "a long target": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "noise": bytes(range(32, 127)) * 3 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_two_could_read_in_two_ways_reaches_nobody(tmp_path: Path, data: bytes) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), ANYTHING))
        async with made.server(echo, "h", "i", tls=False):
            reader, writer = await made.plain()
            writer.write(data)
            first = await reader.readline()
            assert first.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")), first
            with contextlib.suppress(OSError):
                await reader.read()
            writer.close()
        assert not echo.heads

    run(tmp_path, story)


def test_the_host_is_the_one_that_tls_named(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        echo = Echo()
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        async with made.server(echo, API, "other.test"):
            reader, writer = await made.tls(API)
            writer.write(request("GET", "/", "other.test"))
            assert (await answer(reader))[0] == 421
            writer.close()
        assert not echo.heads

    run(tmp_path, story)


def test_who_is_slow_is_left(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), ANYTHING, SECRETS))
        reader, writer = await made.plain()
        assert await reader.read() == b""  # said nothing
        writer.close()
        reader, writer = await made.plain()
        writer.write(b"\x16\x03\x01")
        assert await reader.read() == b""  # a hello that does not go on
        writer.close()
        reader, writer = await made.plain()
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        assert b" 408 " in await reader.read()
        writer.close()

    run(tmp_path, story, timeouts=Timeouts(hello_s=0.3, head_s=0.3))


def test_a_pod_has_so_many_connections_and_a_stranger_none(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), ANYTHING))
        kept = [await made.plain() for _ in range(2)]
        async with made.server(Echo(), "a.test", tls=False):
            for reader, writer in kept:
                writer.write(request("GET", "/", "a.test"))
                assert (await answer(reader))[0] == 200
            reader, writer = await made.plain()
            assert await reader.read() == b""
            writer.close()
            kept[0][1].close()
            await kept[0][1].wait_closed()
            stranger, writer = await made.plain("127.0.0.99")
            assert await stranger.read() == b""
            writer.close()
            made.proxy.forget("p")
            assert await kept[1][0].read() == b""
            kept[1][1].close()

    run(tmp_path, story, limits=Limits(each=2))


def test_no_pod_takes_anothers_place(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), ANYTHING))
        made.proxy.tell(Tell("q", ("127.0.0.23",), ANYTHING))
        async with made.server(Echo(), "a.test", tls=False):
            kept = []
            for source in (POD, POD, POD, "127.0.0.23"):
                reader, writer = await made.plain(source)
                writer.write(request("GET", "/", "a.test"))
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    kept.append(((await answer(reader))[0], source, writer))
            assert [each[:2] for each in kept] == [(200, POD), (200, POD), (200, "127.0.0.23")]
            for _, _, writer in kept:
                writer.close()

    run(tmp_path, story, limits=Limits(each=4, total=4))


def test_an_address_is_reached_where_it_is_named_and_never_the_machine_itself(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), (HttpRule(), HttpRule(("127.0.0.22",)))))
        for host in ("10.0.0.1", "127.0.0.22", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]"):
            reader, writer = await made.plain()
            writer.write(request("GET", "/", host))
            status, _, body = await answer(reader)
            assert status == 403 and b"no address that a pod may reach" in body
            writer.close()

    run(tmp_path, story)


def test_rules_that_change_hold_for_the_next_request(tmp_path: Path) -> None:
    async def story(made: Stage) -> None:
        made.tell(Tell("p", (), READS))
        async with made.server(Echo(), API):
            reader, writer = await made.tls(API)
            writer.write(request())
            assert (await answer(reader))[0] == 200
            made.tell(Tell("p", (), (HttpRule((API,), ("POST",)),)))
            writer.write(request())
            assert (await answer(reader))[0] == 403
            writer.close()

    run(tmp_path, story)
