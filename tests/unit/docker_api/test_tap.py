"""The tap between clients and a server of Docker's API: it changes nothing, and sees what is to be seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

import docker_tap

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Tapping = Callable[[], AbstractAsyncContextManager["Tapped"]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
ATTACH = b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"


class Tapped(docker_tap.Watcher):
    """Clients connect to ``here``; the server's ends of their connections are in ``served``."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.served: asyncio.Queue[Streams] = asyncio.Queue()
        self.seen: list[docker_tap.Exchange] = []
        self.wrong: list[str] = []

    def answered(self, exchange: docker_tap.Exchange) -> None:
        self.seen.append(exchange)

    def broken(self, words: str) -> None:
        self.wrong.append(words)

    async def both(self) -> tuple[Streams, Streams]:
        client = await asyncio.open_unix_connection(self.here)
        return client, await self.served.get()


@pytest.fixture
def tapping(tmp_path: Path) -> Tapping:
    @asynccontextmanager
    async def start() -> AsyncIterator[Tapped]:
        tapped = Tapped(tmp_path / "tap")

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tapped.served.put_nowait((reader, writer))

        server = await asyncio.start_unix_server(connected, tmp_path / "server")
        with docker_tap.between(tapped.here, tmp_path / "server", tapped):
            yield tapped
        server.close()

    return start


async def test_requests_sent_ahead_have_their_answers(tapping: Tapping) -> None:
    async with tapping() as tapped:
        (reader, writer), (asked, answer) = await tapped.both()
        writer.write(GET % 1 + GET % 2)
        assert await asked.readexactly(2 * len(GET % 1)) == GET % 1 + GET % 2
        answer.write(OK + OK)
        assert await reader.readexactly(2 * len(OK)) == OK + OK
        assert [(each.target, each.status, bytes(each.body), each.cut) for each in tapped.seen] == [
            ("/1", 200, b"ok", False),
            ("/2", 200, b"ok", False),
        ]
        writer.close()
        answer.close()


async def test_half_closes_pass_and_bytes_after_an_upgrade_are_nobodys(tapping: Tapping) -> None:
    async with tapping() as tapped:
        (reader, writer), (asked, answer) = await tapped.both()
        writer.write(ATTACH + b"GET of raw bytes")
        writer.write_eof()
        assert (await asked.read()).endswith(b"GET of raw bytes")
        said = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nraw \r\n\r\n bytes"
        answer.write(said)
        assert await reader.readexactly(len(said)) == said
        answer.write(b"more")
        answer.close()
        assert await reader.read() == b"more"
        assert [each.status for each in tapped.seen] == [101]
        assert not tapped.wrong
        writer.close()


async def test_who_does_not_get_an_upgrade_goes_on(tapping: Tapping) -> None:
    async with tapping() as tapped:
        (reader, writer), (asked, answer) = await tapped.both()
        writer.write(ATTACH + GET % 2)
        await asked.readexactly(len(ATTACH + GET % 2))
        answer.write(OK + OK)
        await reader.readexactly(2 * len(OK))
        assert [each.target for each in tapped.seen] == ["/a", "/2"]
        writer.close()
        answer.close()


async def test_an_answer_before_the_end_of_its_request(tapping: Tapping) -> None:
    async with tapping() as tapped:
        (reader, writer), (asked, answer) = await tapped.both()
        writer.write(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        await asked.readuntil(b"\r\n\r\n")
        answer.write(OK)
        await reader.readexactly(len(OK))
        writer.write(b"12345" + GET % 2)
        await asked.readexactly(5 + len(GET % 2))
        answer.write(OK)
        await reader.readexactly(len(OK))
        assert [each.target for each in tapped.seen] == ["/1", "/2"]
        writer.close()
        answer.close()


async def test_what_is_cut_is_told_as_cut(tapping: Tapping) -> None:
    async with tapping() as tapped:
        (reader, writer), (asked, answer) = await tapped.both()
        writer.write(GET % 1)
        await asked.readuntil(b"\r\n\r\n")
        answer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"')
        assert await reader.readuntil(b'"a"')
        writer.close()  # the client has had enough
        assert await asked.read() == b""
        answer.close()
    (seen,) = tapped.seen
    assert (seen.status, bytes(seen.body), seen.cut) == (200, b'{"a"', True)


async def test_a_client_that_hangs_up_later_is_told_of(tapping: Tapping) -> None:
    async with tapping() as tapped:
        (reader, writer), (asked, answer) = await tapped.both()
        writer.write(ATTACH)
        writer.write_eof()
        assert await asked.read() == ATTACH
        writer.close()
        del reader
        while not answer.transport.is_closing():  # to write is to learn
            answer.write(b"x")
            await asyncio.sleep(0.001)


async def test_what_is_no_http_is_told_of(tapping: Tapping) -> None:
    async with tapping() as tapped:
        (reader, writer), (asked, answer) = await tapped.both()
        writer.write(GET % 1)
        await asked.readuntil(b"\r\n\r\n")
        answer.write(b"\0\0\0 nonsense\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n")
        answer.close()
        writer.close()
    (wrong,) = tapped.wrong
    assert wrong.startswith("GET /1: no HTTP: ")
