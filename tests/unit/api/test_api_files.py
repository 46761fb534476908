"""Files of containers, in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from hypercontainer.contract.answers import FileFacts

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serving

MIB = 1 << 20


async def test_a_file_comes_with_its_facts(serving: Serving) -> None:
    async with serving() as harness:
        harness.web.files["/a b"] = FileFacts(0o4750, 1000, 1001, 9), b"of /a b"
        request = b"GET /v1/containers/web/files?path=/a%20b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        head, _, _ = (await harness.raw(request)).partition(b"\r\n\r\n")
        assert head.splitlines()[0] == b"HTTP/1.1 200 OK"
        assert {
            b"Content-Type: application/octet-stream",
            b"Hyper-File-Mode: 4750",
            b"Hyper-File-Uid: 1000",
            b"Hyper-File-Gid: 1001",
            b"Hyper-File-Size: 9",
        } < set(head.splitlines())
        assert await harness.call("GET", "/v1/containers/web/files?path=/a%20b") == (200, b"of /a b")
        assert (await harness.call("GET", "/v1/containers/web/files?path=/other"))[0] == 404
        assert (await harness.call("GET", "/v1/containers/other/files?path=/a"))[0] == 404
        assert (await harness.call("PUT", "/v1/containers/other/files?path=/a", bytes(8 * MIB)))[0] == 404


async def test_a_file_is_written_as_it_comes(serving: Serving) -> None:
    async with serving() as harness:
        target = "/v1/containers/web/files?path=/a&mode=4750&uid=7&gid=8"
        assert await harness.call("PUT", target, bytes(10 * MIB)) == (204, b"")
        assert await harness.call("PUT", "/v1/containers/web/files?path=/b") == (204, b"")
        assert harness.web.files == {
            "/a": (FileFacts(0o4750, 7, 8, 10 * MIB), bytes(10 * MIB)),
            "/b": (FileFacts(0o644, 0, 0, 0), b""),
        }


async def test_a_client_that_leaves_ends_the_reading_of_a_file(serving: Serving) -> None:
    closed = asyncio.Event()

    async def read_file(path: str) -> Any:
        async def content() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(65536)
            finally:
                closed.set()

        return FileFacts(0o644, 0, 0, 0), content()

    async with serving() as harness:
        harness.notes.stand_ins["containers.read_file"] = read_file
        reader, writer = await asyncio.open_unix_connection(harness.path, limit=1024)
        writer.write(b"GET /v1/containers/web/files?path=/a HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert not closed.is_set()
        writer.transport.abort()
        await closed.wait()
