"""Docker's API for who comes by TCP and is no user of this machine: what they reach, and what leads to more rights than
theirs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from docker_stage import Stage, staged
from fake_world import IMAGE
from hypercontainer.engine.interface import NOBODY
from hypercontainer.surfaces.docker.api import DockerApi
from hypercontainer.surfaces.http.server import Server
from hypercontainer.surfaces.http.tls import Role, Who
from stories import have_any_kernel

SOCKET = "/var/run/docker.sock"


class Stranger:
    """Speaks to the same engine."""

    def __init__(self, server: Server, role: Role) -> None:
        self._server, self._who = server, Who(NOBODY, role, role)

    async def ask(self, method: str, target: str, body: Any = None) -> tuple[int, str]:
        """(status, message or body)."""
        reader, writer = await asyncio.open_connection(sock=await self._server.connect(self._who))
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        said, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(said.split()[1]), answer.decode(errors="replace")

    async def create(self, name: str, **more: Any) -> tuple[int, str]:
        return await self.ask(
            "POST", f"/containers/create?name={name}", {"Image": IMAGE, "Cmd": ["cat"], **more}
        )


Story = Callable[[Stage, Callable[[Role], Stranger]], Awaitable[None]]
Tell = Callable[[Story], None]


@contextlib.asynccontextmanager
async def _server(s: Stage) -> AsyncIterator[Server]:
    server = Server(DockerApi(s.world.engine.real))
    try:
        yield server
    finally:
        await server.close(deadline_s=0.05)


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    have_any_kernel(monkeypatch)

    def told(story: Story) -> None:
        async def whole() -> None:
            async with (
                asyncio.timeout(30),
                staged(tmp_path, networks=True) as stage,
                _server(stage) as server,
            ):
                await story(stage, lambda role: Stranger(server, role))

        asyncio.run(whole())

    return told


async def own(s: Stage, name: str, **host: Any) -> None:
    """One of a user's of this machine."""
    wish = {"Image": IMAGE, "Cmd": ["cat"], "OpenStdin": True, "HostConfig": host}
    status, told = await s.call("POST", f"/containers/create?name={name}", wish)
    assert status == 201, told


@pytest.fixture
def lent(tmp_path: Path) -> Path:
    made = tmp_path / "lent"
    made.mkdir()
    return made


def test_nothing_of_the_machine_is_given(tell: Tell, lent: Path) -> None:
    async def story(s: Stage, by: Callable[[Role], Stranger]) -> None:
        await own(s, "files", Binds=[f"{lent}:/lent"])
        await own(s, "ci", Binds=[f"{SOCKET}:{SOCKET}"])
        operator = by("operate")
        wishes: dict[str, dict[str, Any]] = {
            "bind": {"Binds": [f"{lent}:/x:ro"]},
            "mount": {"Mounts": [{"Type": "bind", "Source": str(lent), "Target": "/x"}]},
            "socket": {"Binds": [f"{SOCKET}:{SOCKET}"]},
            "sockets": {"Mounts": [{"Type": "bind", "Source": "/run/docker.sock", "Target": "/x"}]},
            "from": {"VolumesFrom": ["files"]},
            "beside": {"NetworkMode": "container:files"},
            "beside-ci": {"NetworkMode": "container:ci"},
            "log": {"LogConfig": {"Type": "syslog"}},
            "logs": {"LogConfig": {"Type": "syslog", "Config": {"syslog-address": "unix:///run/x"}}},
            "device": {"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]},
        }
        for name, host in wishes.items():
            status, told = await operator.create(name, HostConfig=host)
            assert status in (400, 501), (name, status, told)
        assert (await operator.create("kernel", Labels={"hyper.kernel": str(lent / "vmlinuz")}))[0] == 400
        status, _ = await operator.create("from-ci", HostConfig={"VolumesFrom": ["ci"]})
        assert status == 201
        (made,) = [c for c in await s.world.engine.real.containers.find(all=True) if c.name == "from-ci"]
        held = await s.world.engine.real.containers.held(made.id)
        assert (await held.inspect()).spec.api_socket is None

    tell(story)


ENTERING = (
    ("POST", "attach?stream=1&stdin=1", None),
    ("GET", "attach/ws?stream=1", None),
    ("POST", "exec", {"Cmd": ["sh"]}),
    ("GET", "archive?path=/lent", None),
    ("HEAD", "archive?path=/lent", None),
    ("PUT", "archive?path=/lent", None),
    ("GET", "export", None),
    ("GET", "changes", None),
)


@pytest.mark.parametrize("kind", ["files", "api"])
def test_nobody_goes_through_a_container_that_has_something_of_it(tell: Tell, lent: Path, kind: str) -> None:
    async def story(s: Stage, by: Callable[[Role], Stranger]) -> None:
        await own(s, "had", Binds=[f"{lent}:/lent" if kind == "files" else f"{SOCKET}:{SOCKET}"])
        await own(s, "plain")
        operator = by("operate")
        for method, call, body in ENTERING:
            assert (await operator.ask(method, f"/containers/had/{call}", body))[0] == 403, call
        assert (await operator.ask("POST", "/commit?container=had"))[0] == 403
        assert (await by("read").ask("HEAD", "/containers/had/archive?path=/lent"))[0] == 403
        runs = (
            ("had", "plain") if kind == "files" else ("plain",)
        )  # who lends the API is no part of this stage
        for name in runs:
            status = 403 if name == "had" else 200
            assert (await s.call("POST", f"/containers/{name}/start"))[0] == 204
            _, made = await s.call("POST", f"/containers/{name}/exec", {"Cmd": ["cat"]})
            assert (await operator.ask("POST", f"/exec/{made['Id']}/start", {"Detach": True}))[0] == status
            assert (await operator.ask("GET", f"/containers/{name}/json"))[0] == 200
            assert (await operator.ask("POST", f"/containers/{name}/stop?t=0"))[0] == 204

    tell(story)


def test_no_vm_has_both(tell: Tell, lent: Path) -> None:
    """In a VM with others one is root."""

    async def story(s: Stage, by: Callable[[Role], Stranger]) -> None:
        pod = {"hyper.pod": "shop"}
        operator = by("operate")
        body = {"Image": IMAGE, "Labels": pod, "HostConfig": {"Binds": [f"{lent}:/lent"]}}
        assert (await s.call("POST", "/containers/create?name=a", body))[0] == 201
        status, told = await operator.create("b", Labels=pod, HostConfig={"Privileged": True})
        assert (status, "is one VM" in told) == (400, True)
        assert (await s.call("DELETE", "/containers/a"))[0] == 204
        assert (await operator.create("b", Labels=pod))[0] == 201
        status, told = await s.call("POST", "/containers/create?name=a", body)
        assert (status, "is one VM" in told["message"]) == (400, True)

    tell(story)
