"""Services hand each connection to the next pod: real sockets, pods made up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from free_port import free_port
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine import crowd
from hypercontainer.engine.network.services import Endpoint, Services
from hypercontainer.engine.state import ServiceEnd, ServiceRecord, StateStore
from hypercontainer.linux import memory


@contextlib.asynccontextmanager
async def serving(name: str, labels: dict[str, str], port: int) -> AsyncIterator[Endpoint]:
    """A pod whose ``port`` tells everybody its name."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        published = PortMapping(port, server.sockets[0].getsockname()[1], "127.0.0.1")
        yield Endpoint(labels, ready=True, published=(published,))


async def ask(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


def test_each_service_takes_its_own_turns(tmp_path: Path) -> None:
    """Who asks one for each request of another does not find the same pod of each for ever."""

    async def story() -> None:
        state = StateStore(tmp_path / "state.db")
        ports = {name: free_port() for name in ("web", "db")}
        async with contextlib.AsyncExitStack() as stack:
            pods = [
                await stack.enter_async_context(serving(f"{name}-{index}", {"app": name}, 80))
                for name in ports
                for index in range(2)
            ]
            services = Services(state, lambda: pods)
            for name, port in ports.items():
                end = ServiceEnd(port, 80, 0)
                await services.put(ServiceRecord(name=name, selector={"app": name}, ends=(end,)))
            heard = [await ask(ports[name]) for name in ("web", "db") * 2]
            await services.close()
        state.close()
        assert sorted(heard) == ["db-0", "db-1", "web-0", "web-1"]

    asyncio.run(story())


def test_the_memory_of_a_crowd_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = asyncio.Event()
    monkeypatch.setattr(memory, "give_back", given.set)

    async def story() -> None:
        state = StateStore(tmp_path / "state.db")
        port = free_port()
        async with serving("web", {"app": "web"}, 80) as pod:
            services = Services(state, lambda: [pod])
            await services.put(
                ServiceRecord(name="web", selector={"app": "web"}, ends=(ServiceEnd(port, 80, 0),))
            )
            clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(crowd.MANY)]
            for reader, _ in clients:
                await reader.read()
            for _, writer in clients:
                writer.close()
            await given.wait()
            await services.close()
        state.close()

    asyncio.run(story())
