"""Services without a VM: when they listen, to whom they lead, how many connections they hold and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fake_world import World
from free_port import free_port
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import services as module
from hypercontainer.engine.network.services import Endpoint, Services
from hypercontainer.engine.state import ServiceEnd, ServiceRecord, StateStore
from hypercontainer.errors import Unavailable
from stories import Tell, member, pod

PORT = 5432
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Stand:
    """A service ``db`` at ``port`` of this host, and one pod that answers each line with itself in capitals."""

    def __init__(self, path: Path) -> None:
        self.state = StateStore(path / "state.db")
        self.pods: list[Endpoint] = []
        self.services = Services(self.state, lambda: self.pods)
        self.port = free_port()
        self.far: list[asyncio.StreamWriter] = []
        self.arrived = asyncio.Event()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.record = ServiceRecord(
            name="db", selector={"app": "db"}, ends=(ServiceEnd(port=self.port, container_port=PORT),)
        )
        await self.services.put(self.record)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.far.append(writer)
        self.arrived.set()
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(line.upper())

    def pod(self, *, ready: bool = True, app: str = "db") -> None:
        port = self._server.sockets[0].getsockname()[1]
        mapping = PortMapping(PORT, port, "127.0.0.1")
        self.pods[:] = [Endpoint({"app": app}, ready, (mapping,))]
        self.services.look()

    async def gone(self) -> None:
        self.pods.clear()
        self.services.look()
        await asyncio.sleep(0)

    async def connect(self) -> Streams:
        await asyncio.sleep(0)  # what was told is looked at
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def is_refused(self) -> bool:
        """At once, or as soon as it was taken."""
        try:
            return await end_of(await self.connect()) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        await self.services.close()
        self._server.close()
        for writer in self.far:
            writer.transport.abort()
        self.state.close()


def told(tmp_path: Path, story: Callable[[Stand], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30), _stand(tmp_path) as stand:
            await story(stand)

    asyncio.run(whole())


@contextlib.asynccontextmanager
async def _stand(path: Path) -> AsyncIterator[Stand]:
    made = Stand(path)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def says(streams: Streams, word: bytes) -> bytes:
    streams[1].write(word + b"\n")
    return await streams[0].readline()


async def end_of(streams: Streams) -> bytes:
    """b"" however it was ended from the other side."""
    try:
        return await streams[0].read()
    except ConnectionError:
        return b""


def test_it_refuses_while_nobody_is_ready(tmp_path: Path) -> None:
    async def story(stand: Stand) -> None:
        with pytest.raises(ConnectionRefusedError):
            await stand.connect()
        stand.pod(ready=False)
        with pytest.raises(ConnectionRefusedError):
            await stand.connect()
        stand.pod(app="other")
        with pytest.raises(ConnectionRefusedError):
            await stand.connect()
        stand.pod()
        first = await stand.connect()
        assert await says(first, b"one") == b"ONE\n"
        stand.pod(ready=False)
        with pytest.raises(ConnectionRefusedError):
            await stand.connect()
        assert await says(first, b"two") == b"TWO\n"  # it is only new ones that it gets no more
        stand.pod()
        assert await says(await stand.connect(), b"three") == b"THREE\n"

    told(tmp_path, story)


def test_its_port_is_its_own_while_it_refuses(tmp_path: Path) -> None:
    async def story(stand: Stand) -> None:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", stand.port))
        taken = free_port()
        with socket.socket() as other:
            other.bind(("127.0.0.1", taken))
            other.listen()
            end = ServiceEnd(port=taken, container_port=PORT)
            with pytest.raises(Unavailable, match=f"service web: port {taken}"):
                await stand.services.put(ServiceRecord(name="web", selector={}, ends=(end,)))
        assert stand.services.get("web") is None
        assert await stand.services.remove("db")
        with socket.socket() as other:
            other.bind(("127.0.0.1", stand.port))

    told(tmp_path, story)


def test_another_hyperd_takes_it_over(tmp_path: Path) -> None:
    async def story(stand: Stand) -> None:
        stand.pod()
        held = await stand.connect()
        assert await says(held, b"one") == b"ONE\n"
        await stand.services.close()
        assert await end_of(held) == b""
        stand.services = Services(stand.state, lambda: stand.pods)
        await stand.services.open()
        assert await says(await stand.connect(), b"two") == b"TWO\n"

    told(tmp_path, story)


def test_connections_of_a_pod_end_with_it(tmp_path: Path) -> None:
    async def story(stand: Stand) -> None:
        stand.pod()
        held = [await stand.connect() for _ in range(8)]
        for streams in held:
            assert await says(streams, b"a") == b"A\n"
        for streams in held[:4]:
            streams[1].write_eof()
        await stand.gone()
        for streams in held:
            assert await end_of(streams) == b""
        assert descriptors_of(stand.port) == 0

    told(tmp_path, story)


def descriptors_of(port: int) -> int:
    """Of this process, that are connections taken at ``port``."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as one:
            local, remote = one.getsockname(), one.getpeername()
            found += local[1:2] == (port,) and bool(remote)
    return found


def test_what_is_half_closed_and_silent_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(stand: Stand) -> None:
        stand.pod()
        whole, half = await stand.connect(), await stand.connect()
        assert await says(half, b"a") == b"A\n"
        assert await says(whole, b"a") == b"A\n"
        monkeypatch.setattr(module, "HALF_CLOSED_S", 0.0)
        for far in stand.far:
            far.write_eof()
        assert await end_of(whole) == b""
        half[1].write_eof()
        assert await end_of(half) == b""

    told(tmp_path, story)


def test_a_half_closed_one_that_goes_on_is_whole(tmp_path: Path) -> None:
    async def story(stand: Stand) -> None:
        stand.pod()
        streams = await stand.connect()
        streams[1].write(b"question\n")
        streams[1].write_eof()
        await stand.arrived.wait()
        (far,) = stand.far
        assert await streams[0].readline() == b"QUESTION\n"
        answer = os.urandom(1 << 20)
        far.write(answer)
        far.close()
        assert await streams[0].read() == answer

    told(tmp_path, story)


def test_they_are_bounded_of_a_service_and_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(stand: Stand) -> None:
        stand.pod()
        monkeypatch.setattr(module, "MAX_CONNECTIONS", 3)
        held = [await stand.connect() for _ in range(3)]
        for streams in held:
            assert await says(streams, b"a") == b"A\n"
        assert await stand.is_refused()
        assert await says(held[0], b"b") == b"B\n"
        held[0][1].close()
        held[0][1].transport.abort()
        monkeypatch.setattr(module, "MAX_CONNECTIONS", 1000)
        monkeypatch.setattr("hypercontainer.linux.descriptors.share", lambda part: 4)
        assert await stand.is_refused()

    told(tmp_path, story)


def test_with_no_descriptors_left_it_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercontainer.engine.network.doors.PAUSE_S", 0.0)

    async def story(stand: Stand) -> None:
        stand.pod()
        await asyncio.sleep(0)
        near = socket.socket()
        near.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (near.fileno() + 1, hard))
        try:
            await asyncio.get_running_loop().sock_connect(near, ("127.0.0.1", stand.port))
            for _ in range(8):  # turns in which it cannot be taken
                await asyncio.sleep(0)
            assert stand.far == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await says(await asyncio.open_connection(sock=near), b"a") == b"A\n"

    told(tmp_path, story)


def test_it_listens_as_long_as_its_pod_is_ready(tell: Tell) -> None:
    async def story(w: World) -> None:
        port = free_port()
        end = ServiceEnd(port=port, container_port=80)
        await w.engine.real.services.put(ServiceRecord(name="web", selector={"app": "web"}, ends=(end,)))
        await pod(w, member("m"), labels={"app": "web"}, ports=(PortMapping(80, host_ip="127.0.0.1"),))

        async def listens() -> bool:
            await asyncio.sleep(0)
            with socket.socket() as near:
                near.setblocking(False)
                try:
                    await asyncio.get_running_loop().sock_connect(near, ("127.0.0.1", port))
                except ConnectionRefusedError:
                    return False
                return True

        for _ in range(2):
            assert not await listens()
            await w.engine.pods.start("p")
            assert await listens()
            await w.engine.pods.pause("p")
            assert not await listens()
            await w.engine.pods.unpause("p")
            assert await listens()
            await w.engine.pods.stop("p")

    tell(story)


def test_one_port_for_this_host_and_for_others(tmp_path: Path) -> None:
    async def story(stand: Stand) -> None:
        port = free_port()
        end = ServiceEnd(port=port, container_port=PORT, node_port=port)
        await stand.services.put(ServiceRecord(name="db", selector={"app": "db"}, ends=(end,)))
        stand.pod()
        await asyncio.sleep(0)
        assert await says(await asyncio.open_connection("127.0.0.1", port), b"a") == b"A\n"

    told(tmp_path, story)
