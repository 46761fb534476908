"""Stories of the engine on fake VMs, each in a world of its own (`tell`, a fixture), and what they are told with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fake_world import IMAGE, World
from hypercontainer.contract.answers import PodCreated
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.kernel import Kernel, KernelStore

Story = Callable[[World], Awaitable[None]]
Tell = Callable[..., None]
FOREVER = ("cat",)


def any_kernel(store: object, wish: str | None = None) -> Kernel:
    """In the place of the methods of ``KernelStore`` that find one."""
    return Kernel(Path(wish or "/dev/null"), "6.1", "user", (), True, "sha256:0")


def have_any_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("default", "find"):
        monkeypatch.setattr(KernelStore, name, any_kernel)


def member(name: str, *command: str, **more: Any) -> ContainerSpec:
    more = {"stdin_open": True, **more}
    return ContainerSpec(image=IMAGE, name=name, command=command or FOREVER, **more)


async def pod(w: World, *members: ContainerSpec, **more: Any) -> PodCreated:
    spec = PodSpec(name=more.pop("name", "p"), containers=members, **{**w.spec_defaults, **more})
    created: PodCreated = await w.engine.pods.create(spec)
    return created


async def states(w: World) -> dict[str, str]:
    return {c.name: c.state for c in await w.engine.containers.find(all=True)}
