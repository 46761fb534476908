"""Docker's API over a real socket, of a real engine on fake VMs and made-up networks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docker_client import DockerClient
from fake_world import IMAGE, World, world
from hypercontainer.contract.spec import ContainerSpec

Play = Callable[..., None]


class Stage:
    def __init__(self, w: World, client: DockerClient) -> None:
        self.world = w
        self.client = client

    async def call(self, method: str, target: str, body: Any = b"") -> tuple[int, Any]:
        """(status, body: parsed where it is JSON)."""
        answer = await self.client.ask(method, target, body)
        is_json = answer.headers.get("content-type") == "application/json"
        return answer.status, answer.json if is_json else answer.body

    async def bare(self, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
        """As ``call``, of what is in no description of the API here."""
        reader, writer = await self.client.open()
        head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        said, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(said.split()[1]), json.loads(answer)

    async def got(self, target: str) -> Any:
        status, body = await self.call("GET", target)
        assert status == 200, (target, status, body)
        return body

    async def container(self, name: str, *, start: bool = False, **more: Any) -> str:
        """Its ID."""
        wish: dict[str, Any] = {"stdin_open": True, "command": ("cat",), **self.world.spec_defaults, **more}
        made = await self.world.engine.containers.create(ContainerSpec(image=IMAGE, name=name, **wish))
        if start:
            await self.world.engine.containers.start(made.id)
        identifier: str = made.id
        return identifier


def filters(**given: Any) -> str:
    """A query."""
    return f"filters={quote(json.dumps(given))}"


def without(shown: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in names}


@contextlib.asynccontextmanager
async def staged(tmp: Path, *, networks: bool) -> AsyncIterator[Stage]:
    async with (
        world(tmp, networks=networks) as made,
        DockerClient(tmp / "docker.sock", made.engine.real).served() as client,
    ):
        yield Stage(made, client)


def player(tmp: Path) -> Play:
    """Plays a story on a stage of its own; ``networks`` False: where hyperd can make none."""

    def play(story: Callable[[Stage], Awaitable[None]], *, networks: bool = True) -> None:
        async def whole() -> None:
            async with asyncio.timeout(30), staged(tmp, networks=networks) as stage:
                await story(stage)

        asyncio.run(whole())

    return play
