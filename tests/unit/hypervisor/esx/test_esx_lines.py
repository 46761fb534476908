"""Serial ports that are led to this machine: by hosts of ours, over TLS."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from esx_host import Port
from free_port import free_port
from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor.esx import lines
from hypercontainer.hypervisor.esx.lines import Concentrator
from hypercontainer.hypervisor.esx.settings import Settings

SOON_S = 10.0


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = ("127.0.0.1", free_port())
        settings = Settings(
            "h", "u", Path("/p"), "127.0.0.1", line_port=self.place[1], line_address=self.place[0]
        )
        self.concentrator = Concentrator(settings, folder)
        self.heard = bytearray()
        self.came = asyncio.Event()

    def hear(self, data: bytes) -> None:
        self.heard += data
        self.came.set()

    async def until(self, data: bytes) -> None:
        async with asyncio.timeout(SOON_S):
            while data not in self.heard:
                self.came.clear()
                await self.came.wait()

    async def port(self, service: str) -> Port:
        return await asyncio.to_thread(Port, self.place, self.folder / "line.pem", service)


def on_stage(folder: Path, test: Callable[[Stage], Awaitable[None]]) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        stage = Stage(folder)
        async with asyncio.timeout(30):
            await test(stage)
        await stage.concentrator.close()

    asyncio.run(main())
    assert len(os.listdir("/proc/self/fd")) == before


async def exactly(reader: asyncio.StreamReader, data: bytes) -> None:
    async with asyncio.timeout(SOON_S):
        assert await reader.readexactly(len(data)) == data


def test_what_a_port_says_is_heard(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        service = await stage.concentrator.add("console", stage.hear)
        port = await stage.port("console")
        await asyncio.to_thread(port.send, b"a kernel\xff says")
        await stage.until(b"a kernel\xff says")
        await stage.concentrator.remove(service)
        assert await asyncio.to_thread(port.receive) == b""
        port.close()
        with pytest.raises(OSError):  # nobody listens any more
            await stage.port("console")

    on_stage(tmp_path, test)


def test_an_agent_is_spoken_to_across_connections(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        service = await stage.concentrator.add("agent", stage.hear)
        reader, writer = await service.open()
        writer.write(b"hello \xff")  # waits for the host
        port = await stage.port("agent")
        assert await asyncio.to_thread(port.receive) == b"hello \xff"
        await asyncio.to_thread(port.send, b"answer")
        await exactly(reader, b"answer")
        again = await stage.port("agent")  # as after a move, before the first is seen to be over
        assert await asyncio.to_thread(port.receive) == b""
        await asyncio.to_thread(again.send, b"moved")
        await exactly(reader, b"moved")
        writer.write(b"to the new one")
        assert await asyncio.to_thread(again.receive) == b"to the new one"
        again.close()
        other = await stage.port("agent")
        await asyncio.to_thread(other.send, b"back")
        await exactly(reader, b"back")
        new_reader, new_writer = await service.open()  # the former pair is over
        assert await reader.read() == b""
        await asyncio.to_thread(other.send, b"to the new pair")
        await exactly(new_reader, b"to the new pair")
        for each in (writer, new_writer):
            each.close()
        await stage.concentrator.remove(service)
        other.close()
        port.close()

    on_stage(tmp_path, test)


def test_a_later_listener_has_the_same_certificate(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        first = await stage.concentrator.add("agent", stage.hear)
        told = await stage.concentrator.address()
        der = ssl.PEM_cert_to_DER_cert(await asyncio.to_thread(ssl.get_server_certificate, stage.place))
        assert told.partition("thumbprint=")[2].replace(":", "") == hashlib.sha1(der).hexdigest().upper()
        await stage.concentrator.remove(first)
        second = Concentrator(stage.concentrator._settings, tmp_path)
        await second.add("agent", stage.hear)
        assert await second.address() == told
        port = await stage.port("agent")
        port.close()
        await second.close()
        assert (tmp_path / "line.pem").stat().st_mode & 0o777 == 0o600

    on_stage(tmp_path, test)


def test_strangers_get_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "GREETING_S", 0.5)

    async def test(stage: Stage) -> None:
        service = await stage.concentrator.add("agent", stage.hear)
        with pytest.raises(ConnectionError):
            await stage.port("guessed")
        silent = socket.create_connection(stage.place)  # says nothing, not even of TLS
        plain = socket.create_connection(stage.place)
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        for each in (silent, plain):
            each.settimeout(SOON_S)
            with pytest.raises(ConnectionError):
                if not await asyncio.to_thread(each.recv, 100):
                    raise ConnectionError
            each.close()
        port = await stage.port("agent")
        port.close()
        assert not stage.heard
        await stage.concentrator.remove(service)

    on_stage(tmp_path, test)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        with socket.create_server(stage.place):
            with pytest.raises(Unavailable, match=r"in use.*line_port") as raised:
                await stage.concentrator.add("agent", stage.hear)
            assert str(stage.place[1]) in str(raised.value)
            with pytest.raises(Unavailable):
                await stage.concentrator.check()
        await stage.concentrator.check()

    on_stage(tmp_path, test)
