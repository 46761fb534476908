"""A client of Docker's API that is nobody's product, and a server of it over a fake engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11

import docker_schema
from hypercontainer.surfaces.docker.api import DockerApi
from hypercontainer.surfaces.http.connection import Limits
from hypercontainer.surfaces.http.server import Server

SHORT_IDS = 'does not match "^[0-9a-f]{64}$"'  # those of the fakes
UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])


@dataclass
class Hijacked:
    """A connection that goes on as raw bytes."""

    status: int
    headers: Mapping[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self) -> tuple[int, bytes]:
        """(channel, data)."""
        head = await self.reader.readexactly(8)
        assert head[1:4] == b"\0\0\0"
        return head[0], await self.reader.readexactly(int.from_bytes(head[4:], "big"))


class DockerClient:
    """Of a server that serves only within ``served``."""

    def __init__(self, path: Path, engine: Any) -> None:
        self.engine = engine
        self._path = path

    @contextlib.asynccontextmanager
    async def served(self, **limits: Any) -> AsyncIterator[DockerClient]:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.bind(str(self._path))
            server = Server(DockerApi(self.engine), limits=Limits(**limits))
            await server.serve([sock])
            try:
                yield self
            finally:
                await server.close(deadline_s=0.05)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self._path))

    async def ask(
        self, method: str, target: str, body: Any = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """``body``: bytes, or what becomes JSON.  What the answer is not by the description of its version fails."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        reader, writer = await self.open()
        wire = h11.Connection(h11.CLIENT)
        given = [("Host", "d"), ("Content-Length", str(len(data))), ("Connection", "close")]
        sent = wire.send(
            h11.Request(method=method, target=target, headers=[*given, *(headers or {}).items()])
        )
        writer.write(
            (sent or b"") + (wire.send(h11.Data(data=data)) or b"") + (wire.send(h11.EndOfMessage()) or b"")
        )
        try:
            got = await _answer(wire, reader)
        finally:
            writer.close()
        wrong = docker_schema.wrong_answer(method, target, got.status, got.headers, got.body)
        wrong = [words for words in wrong if SHORT_IDS not in words]
        assert not wrong, wrong
        return got

    async def hijack(
        self, method: str, target: str, body: Any = b"", headers: Mapping[str, str] | None = None
    ) -> Hijacked:
        """``headers``: those of an upgrade, unless others are given."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Host": "d", "Content-Length": str(len(data)), **(UPGRADE if headers is None else headers)}
        reader, writer = await self.open()
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + data)
        said = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        found = dict(line.split(": ", 1) for line in said[1:] if line)
        return Hijacked(
            int(said[0].split()[1]), {name.lower(): value for name, value in found.items()}, reader, writer
        )


async def _answer(wire: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    status, headers, body = 0, {}, b""
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return Answer(status, headers, body)
