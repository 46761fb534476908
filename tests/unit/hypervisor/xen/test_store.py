"""The client of Xen's store, with a store of the test's."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor.xen.store import RELEASED, Store, StoreError

HEAD = struct.Struct("<IIII")
DIRECTORY, READ, WATCH, UNWATCH, WRITE, REMOVE, PERMISSIONS, EVENT, ERROR = 1, 2, 4, 5, 11, 13, 14, 15, 16


class FakeStore:
    """Of one client."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {"/a": "1", "/a/b": "2"}
        self.asked: list[tuple[int, bytes]] = []
        self.writer: asyncio.StreamWriter | None = None
        self.tokens: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            while True:
                kind, number, _, length = HEAD.unpack(await reader.readexactly(HEAD.size))
                payload = await reader.readexactly(length)
                self.asked.append((kind, payload))
                self.answer(kind, number, payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, kind: int, number: int, payload: bytes) -> None:
        path = payload.partition(b"\0")[0].decode()
        if kind in (READ, DIRECTORY, REMOVE) and path not in self.values:
            self.say(ERROR, number, b"ENOENT\0")
        elif kind == READ:
            self.say(kind, number, self.values[path].encode())
        elif kind == DIRECTORY:
            self.say(kind, number, b"b\0c\0")
        elif path == "/forbidden":
            self.say(ERROR, number, b"EACCES\0")
        else:
            if kind == WATCH:
                self.tokens.append(payload.split(b"\0")[1])
            self.say(kind, number, b"OK\0")

    def say(self, kind: int, number: int, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(HEAD.pack(kind, number, 0, len(data)) + data)


def run(tmp_path: Path, test: Callable[[Store, FakeStore], Awaitable[None]]) -> None:
    async def main() -> None:
        fake, path = FakeStore(), tmp_path / "socket"
        server = await asyncio.start_unix_server(fake.serve, str(path))
        store = await Store.open(path)
        try:
            async with asyncio.timeout(10):
                await test(store, fake)
        finally:
            await store.close()
            server.close()

    asyncio.run(main())


def test_reading_and_writing(tmp_path: Path) -> None:
    async def test(store: Store, fake: FakeStore) -> None:
        assert await store.read("/a") == "1"
        assert await store.read("/x") is None
        assert await store.names("/a") == ["b", "c"]
        assert await store.names("/x") == []
        await store.write("/y", "z")
        await store.remove("/x")
        await store.give("/d", 7, 0)
        assert (WRITE, b"/y\0z") in fake.asked
        assert fake.asked[-1] == (PERMISSIONS, b"/d\0n7\0r0\0")

    run(tmp_path, test)


def test_what_is_refused(tmp_path: Path) -> None:
    async def test(store: Store, fake: FakeStore) -> None:
        with pytest.raises(StoreError, match="/forbidden: EACCES"):
            await store.write("/forbidden", "")
        with pytest.raises(StoreError, match="too long"):
            await store.write("/a", "x" * 5000)

    run(tmp_path, test)


def test_a_watch_tells_of_now_and_of_later(tmp_path: Path) -> None:
    async def test(store: Store, fake: FakeStore) -> None:
        async with store.watching(RELEASED) as event:
            await event.wait()
            event.clear()
            fake.say(EVENT, 0, RELEASED.encode() + b"\0" + fake.tokens[0] + b"\0")
            fake.say(EVENT, 0, b"/other\0of-nobody\0")
            await event.wait()
        assert fake.asked[-1][0] == UNWATCH

    run(tmp_path, test)


def test_a_value_is_waited_for(tmp_path: Path) -> None:
    async def test(store: Store, fake: FakeStore) -> None:
        assert await store.until_there("/later", 0.05) is None
        waiting = asyncio.create_task(store.until_there("/later", 5))
        while len(fake.tokens) < 2:
            await asyncio.sleep(0)
        fake.values["/later"] = "now"
        fake.say(EVENT, 0, b"/later\0" + fake.tokens[1] + b"\0")
        assert await waiting == "now"

    run(tmp_path, test)


def test_a_store_that_goes_and_one_that_talks_nonsense(tmp_path: Path) -> None:
    async def test(store: Store, fake: FakeStore) -> None:
        await store.read("/a")
        async with store.watching("/a") as event:
            event.clear()
            fake.say(READ, 0, b"x" * 5000)
            await event.wait()
            with pytest.raises(StoreError, match="lost"):
                await store.read("/a")

    run(tmp_path, test)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        asyncio.run(Store.open(tmp_path / "none"))
