"""A fake engine behind Docker's API on a real unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from docker_client import DockerClient
from fake_engine import FakeEngine
from fake_world import world
from image_streams import Served
from stories import have_any_kernel

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


@pytest.fixture
def engine() -> FakeEngine:
    """To be made within the loop that a test runs on: its objects have events."""
    return FakeEngine()


@pytest.fixture
def docker(tmp_path: Path, engine: FakeEngine) -> DockerClient:
    """The fake engine has a container "web", which runs, and a pod "shop"."""
    return DockerClient(tmp_path / "docker.sock", engine)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Of an engine that is real but for its VMs, and has the image `fake_world.IMAGE`."""
    have_any_kernel(monkeypatch)

    @contextlib.asynccontextmanager
    async def serve() -> AsyncIterator[DockerClient]:
        async with (
            world(tmp_path) as made,
            DockerClient(tmp_path / "d.sock", made.engine.real).served() as client,
        ):
            yield client

    return serve
