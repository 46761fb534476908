"""Containers that are created over Docker's API, behind which is the fake engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from docker_client import DockerClient
from hypercontainer.contract.spec import ContainerSpec


async def created(docker: DockerClient, body: Any, query: str = "", version: str = "/v1.51") -> Any:
    return await docker.ask("POST", f"{version}/containers/create{query}", body)


def failing(error: Exception) -> Callable[..., Awaitable[None]]:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def asked(docker: DockerClient) -> ContainerSpec:
    """The last container that was created."""
    spec: ContainerSpec = docker.engine.containers.known[-1].spec
    return spec


async def spec_of(docker: DockerClient, host: dict[str, Any] | None = None, **config: Any) -> ContainerSpec:
    got = await created(docker, {"Image": "busybox", **config, "HostConfig": host})
    assert got.status == 201, got.body
    return asked(docker)


async def refusal(docker: DockerClient, host: dict[str, Any] | None = None, **config: Any) -> tuple[int, str]:
    known = len(docker.engine.containers.known)
    got = await created(docker, {"Image": "busybox", **config, "HostConfig": host})
    assert len(docker.engine.containers.known) == known
    return got.status, got.message
