"""The factory's decisions, with a hypervisor and templates that only count."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hypercontainer.config import Factory as Policies
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.network.user import UserNetwork
from hypercontainer.engine.sandbox import factory as module
from hypercontainer.engine.sandbox.factory import Factory, Found
from hypercontainer.engine.sandbox.hardware import Hardware
from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.hypervisor.driver import ExitReason, VMExit
from hypercontainer.hypervisor.spec import VMSpec
from nics import nat_nic

SPEC = VMSpec("a", "a", Path("/run/a"), Path("/k"), None, (), 128, 1, nics=(nat_nic(),))
DRIVER: Any = None  # the world's own takes its place
HARDWARE = Hardware(SPEC, DRIVER, release_disks=False, cpus=1.0, network=UserNetwork("02:00:00:00:00:02"))


class Vm:
    def __init__(self, spec: VMSpec) -> None:
        self.spec = spec
        self.record = SimpleNamespace(id=spec.id)
        self.alive = True
        self.killed = asyncio.Event()
        self.forwards: list[PortMapping] = []

    async def kill(self) -> None:
        self.alive = False
        self.killed.set()

    async def add_forward(self, forward: PortMapping) -> None:
        if not self.alive:
            raise HypervisorError("it is gone")
        self.forwards.append(forward)


class World:
    """Plays driver and templates; ``factory`` is what is tested."""

    def __init__(self, *, templates: bool = True, **policy: Any) -> None:
        self.kept: set[str] = set()
        self.refuse = False
        self.vms: list[Vm] = []
        self.events = EventBus()
        self.name = "clones" if templates else "boots"
        self.architecture = "amd64"
        self.templates = templates
        self.factory = Factory(self, Policies(**policy), self.events, lambda _: SimpleNamespace())  # type: ignore[arg-type, return-value]
        self.changed = asyncio.Event()
        self.given: list[object] = []

    async def capabilities(self) -> Any:
        return SimpleNamespace(templates=self.templates, drives=True, plugs=True)

    async def key(self, driver: object, spec: VMSpec, preparation: object) -> str:
        return f"{spec.memory_mib}"

    def has(self, key: str) -> bool:
        return key in self.kept

    async def get(self, key: str) -> object | None:
        return object() if key in self.kept else None

    async def make(self, key: str, *_: object) -> bool:
        self.kept.add(key)
        self.changed.set()
        return True

    async def discard(self, key: str) -> None:
        self.kept.discard(key)

    async def clone(self, spec: VMSpec, snapshot: object) -> Vm:
        if self.refuse:
            raise Unavailable("cannot be cloned")
        self.vms.append(Vm(spec))
        return self.vms[-1]

    async def launch(self, spec: VMSpec) -> Vm:
        assert not self.templates
        self.vms.append(Vm(spec))
        return self.vms[-1]

    def close(self) -> None: ...

    def ready(self) -> int:
        return sum(len(size.ready) for size in self.factory._sizes.values())

    async def until(self, wanted: Callable[[], bool]) -> None:
        follower = self.events.follow(since_ns=0, until_ns=None, wanted=lambda _: True)
        async with asyncio.timeout(5):
            while not wanted():
                await anext(follower)

    async def start(self, hardware: Hardware = HARDWARE) -> Found | None:
        """Where there is none, it boots."""
        asked: Any = replace(hardware, driver=self)  # type: ignore[arg-type]
        with self.factory.starting():
            found = await self.factory.find(asked)
            if found is None:
                await self.factory.booted(asked)
        if found is not None:
            self.given.append(found.vm)
        return found


Story = Callable[[World], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rehearse(*_: object) -> None: ...

    monkeypatch.setattr(module, "rehearse", rehearse)
    monkeypatch.setattr(module, "prepare", rehearse)
    monkeypatch.setattr(module, "QUIET_S", 0.0)
    monkeypatch.setattr(module, "available_bytes", lambda: 10 << 30)


def tell(story: Story, **policy: Any) -> None:
    @contextlib.asynccontextmanager
    async def world() -> AsyncIterator[World]:
        made = World(**policy)
        try:
            yield made
        finally:
            await made.factory.close()
            assert not any(vm.alive for vm in made.vms if vm not in made.given)

    async def told() -> None:
        async with world() as made:
            await story(made)

    asyncio.run(told())


def test_first_a_boot_then_clones_stand_ready() -> None:
    async def story(world: World) -> None:
        assert await world.start() is None
        await world.until(lambda: world.ready() == 2)
        found = await world.start()
        assert found is not None
        assert found.kind == "warm"
        await world.until(lambda: world.ready() == 2)

    tell(story, cache=2)


def test_without_ready_ones_a_clone() -> None:
    async def story(world: World) -> None:
        assert await world.start() is None
        await world.until(lambda: world.has("128"))
        found = await world.start()
        assert found is not None
        assert found.kind == "clone"
        assert world.ready() == 0

    tell(story, cache=0)


def test_where_there_are_no_clones_vms_are_booted_ahead() -> None:
    async def story(world: World) -> None:
        assert await world.start() is None
        await world.until(lambda: world.ready() == 2)
        assert not world.kept
        found = await world.start()
        assert found is not None
        assert found.kind == "warm"
        await world.until(lambda: world.ready() == 2)
        assert len(world.vms) == 3

    tell(story, templates=False, cache=2)


@pytest.mark.parametrize("templates", [True, False])
def test_one_that_cannot_be_made_ready_is_ended(monkeypatch: pytest.MonkeyPatch, templates: bool) -> None:
    async def story(world: World) -> None:
        async def fails(*_: object) -> None:
            raise HypervisorError("it says nothing")

        monkeypatch.setattr(module, "prepare", fails)
        monkeypatch.setattr(module, "rehearse", fails)
        await world.start()
        async with asyncio.timeout(5):
            while not world.vms:
                await asyncio.sleep(0)
            await world.vms[0].killed.wait()
        assert world.ready() == 0

    tell(story, templates=templates)


def test_a_size_without_templates_is_booted() -> None:
    async def story(world: World) -> None:
        assert await world.start() is None
        await asyncio.sleep(0)
        assert world.factory._sizes == {}

    tell(story, template=False)


def test_what_is_ready_takes_a_share_of_the_memory() -> None:
    async def story(world: World) -> None:
        await world.start()
        await world.until(lambda: world.has("128"))
        assert (await world.start()).kind == "clone"  # type: ignore[union-attr]

    tell(story, cache=2, memory_percent=0)


def test_nothing_is_made_during_a_start_but_a_template_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)

    async def story(world: World) -> None:
        with world.factory.starting():
            hardware = replace(HARDWARE, driver=world)  # type: ignore[arg-type]
            assert await world.factory.find(hardware) is None
            await world.factory.booted(hardware)
            assert not world.kept
            await world.changed.wait()
            assert world.ready() == 0
        await world.until(lambda: world.ready() == 1)

    tell(story, cache=1)


@pytest.mark.parametrize("templates", [True, False])
def test_nothing_is_made_of_what_has_not_booted(templates: bool) -> None:
    """Its guest may never speak, and others wait for their turn meanwhile."""

    async def story(world: World) -> None:
        with world.factory.starting():
            silent: Any = replace(HARDWARE, spec=replace(SPEC, memory_mib=64), driver=world)  # type: ignore[arg-type]
            assert await world.factory.find(silent) is None
        await world.start()
        await world.until(lambda: world.ready() == 1)
        assert world.kept <= {"128"}
        assert not [vm for vm in world.vms if vm.spec.memory_mib == 64]
        await world.factory.booted(silent)
        await world.until(lambda: world.ready() == 2)

    tell(story, templates=templates, cache=1)


def test_a_template_that_no_clone_comes_of_is_thrown_away_and_made_again() -> None:
    async def story(world: World) -> None:
        world.kept.add("128")
        world.refuse = True
        assert await world.start() is None
        world.refuse = False
        await world.until(lambda: world.ready() == 1)

    tell(story, cache=1)


def test_who_is_to_blame_for_a_guest_that_does_not_speak() -> None:
    async def story(world: World) -> None:
        world.kept.add("128")
        found = await world.start()
        assert found is not None
        await world.until(lambda: world.ready() == 1)
        warm = await world.start()
        assert warm is not None
        assert warm.kind == "warm"
        ended = VMExit(0, ExitReason.HOST_KILL)
        assert await world.factory.failed(warm, "killed", ended)
        for outside in (VMExit(-9, ExitReason.CRASH), VMExit(-9, ExitReason.OUT_OF_MEMORY)):
            assert not await world.factory.failed(found, "killed", outside)
        assert world.has("128")
        for own in (ended, VMExit(-11, ExitReason.CRASH), None):
            world.kept.add("128")
            assert await world.factory.failed(found, "silent", own)
            assert not world.has("128")

    tell(story, cache=1)


def test_ready_ones_that_died_are_passed_over() -> None:
    async def story(world: World) -> None:
        world.kept.add("128")
        await world.start()
        await world.until(lambda: world.ready() == 2)
        for vm in world.vms[1:]:
            vm.alive = False
        found = await world.start(replace(HARDWARE, published=(PortMapping(80, 8080, "127.0.0.1"),)))
        assert found is not None
        assert found.kind == "clone"

    tell(story, cache=2)


def test_a_size_that_is_not_used_has_none_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("hypercontainer.engine.sandbox.factory.time", SimpleNamespace(monotonic=lambda: now))

    async def story(world: World) -> None:
        nonlocal now
        world.kept.add("128")
        await world.start()
        await world.until(lambda: world.ready() == 2)
        now += 301
        world.factory._wake()
        world.kept.add("256")
        other = replace(HARDWARE, spec=replace(SPEC, memory_mib=256))
        await world.start(other)
        await world.until(lambda: list(world.factory._sizes) == [("256", 1.0)] and world.ready() == 2)

    tell(story, cache=2, idle_s=300)
