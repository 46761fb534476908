"""A fake engine behind a real server on a real unix socket, and a client that is not the product's."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import h11
import pytest

from fake_attachment import FakeAttachment
from fake_engine import FakeContainer, FakeEngine, FakePod
from hypercontainer.surfaces.http.connection import Limits
from hypercontainer.surfaces.http.server import Server
from hypercontainer.surfaces.hyper.native import NativeApi
from noted import Notes

TIMEOUT_S = 20.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine function on a loop of its own, which must end with no task left."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def within() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await pyfuncitem.obj(**given)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(within())
    return True


class FrameStream:
    """The client's side of frames, byte by byte as docs/api.md draws them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> None:
        self.reader, self.writer = reader, writer
        self._rest = bytearray(rest)

    async def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self._rest += data
        data = bytes(self._rest[:count])
        del self._rest[:count]
        return data

    async def receive(self) -> tuple[int, bytes]:
        head = await self._exactly(8)
        assert head[1:4] == b"\0\0\0"
        length = int.from_bytes(head[4:], "big")
        assert length <= 65536
        return head[0], await self._exactly(length)

    async def receive_control(self) -> Any:
        channel, payload = await self.receive()
        assert channel == 3, (channel, payload)
        return json.loads(payload)

    async def until_end(self) -> list[tuple[int, bytes]]:
        found = []
        with contextlib.suppress(EOFError):
            while True:
                found.append(await self.receive())
        return found

    async def send(self, channel: int, payload: bytes = b"") -> None:
        await self.send_raw(bytes([channel, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload)

    async def send_raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_credit(self, channel: int, count: int) -> None:
        await self.send(4, bytes([channel, 0, 0, 0]) + count.to_bytes(4, "big"))

    def close(self) -> None:
        self.writer.close()


class Harness:
    def __init__(self, engine: FakeEngine, path: Path) -> None:
        self.engine = engine
        self.path = str(path)
        self.asked_to_end: list[bool] = []
        self.server: Server

    @property
    def notes(self) -> Notes:
        return self.engine.notes

    @property
    def web(self) -> FakeContainer:
        """The container that is there."""
        return self.engine.containers.known[0]

    @property
    def shop(self) -> FakePod:
        """The pod that is there."""
        return self.engine.pods.known[0]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path, limit=1 << 20)

    async def raw(self, data: bytes, *, end: bool = False) -> bytes:
        """Everything that comes back for ``data``, until the server closes."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            return await reader.read()
        finally:
            writer.close()

    async def call(
        self, method: str, target: str, body: Any = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, body: parsed where it is JSON)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        reader, writer = await self.connect()
        try:
            fields = {"Host": "x", "Content-Length": str(len(data)), "Connection": "close"} | (headers or {})
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + data)
            return await self.answer(reader)
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader) -> tuple[int, Any]:
        http = h11.Connection(h11.CLIENT)
        http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        http.send(h11.EndOfMessage())
        status, kind, body = 0, b"", bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status, kind = event.status_code, dict(event.headers).get(b"content-type", b"")
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        return status, json.loads(body) if kind == b"application/json" else bytes(body)

    async def upgrade(
        self, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> FrameStream:
        data = b"" if body is None else json.dumps(body).encode()
        reader, writer = await self.connect()
        fields = {"Host": "x", "Connection": "Upgrade", "Upgrade": "hyper-stream"} | (headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"POST {target} HTTP/1.1\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer + await reader.read(4096)
        return FrameStream(reader, writer, b"")

    def attachment(self, name: str) -> FakeAttachment:
        """What the engine will answer for ``name``."""
        attachment = FakeAttachment()
        self.notes.stand_ins[name] = attachment
        return attachment


@pytest.fixture
def frame_stream() -> type[FrameStream]:
    return FrameStream


Serving = Callable[..., contextlib.AbstractAsyncContextManager[Harness]]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    import socket

    @contextlib.asynccontextmanager
    async def start(**limits: Any) -> AsyncIterator[Harness]:
        path = tmp_path / "s"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        harness = Harness(FakeEngine(), path)
        api = NativeApi(harness.engine.collections(), harness.asked_to_end.append)
        harness.server = Server(api, limits=Limits(**limits))
        await harness.server.serve([sock])
        try:
            yield harness
        finally:
            await harness.server.close(deadline_s=0.05)

    return start
