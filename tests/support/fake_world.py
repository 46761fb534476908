"""An engine without hypervisor: the real image store, root disks and state, with fake VMs and fake guests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import busybox_image
from fake_agent import FakeGuest
from fake_driver import FakeDriver, FakeVM
from fake_fabric import FakeFabric
from fake_process import Program
from hypercontainer.config import Config
from hypercontainer.engine.engine import Engine
from hypercontainer.engine.interface import Attachment
from hypercontainer.engine.network.worker import Maker
from hypercontainer.hypervisor.spec import VMSpec
from hypercontainer.surfaces.kube.manifests import Manifests

IMAGE = "localhost/tiny:latest"


class Guests(FakeDriver):
    """A driver whose every VM has a fake guest of its own, which powers the VM off when it is asked to."""

    def __init__(self, programs: dict[str, Program] | None = None) -> None:
        super().__init__()
        self.programs = programs
        self.guests: dict[str, FakeGuest] = {}
        self.launched: list[VMSpec] = []
        self._off: set[asyncio.Task[None]] = set()

    async def launch(self, spec: VMSpec) -> FakeVM:
        guest = FakeGuest(self.programs)
        self._guest = guest.serve
        vm = await super().launch(spec)
        self.launched.append(spec)
        self.guests[spec.id] = guest
        task = asyncio.create_task(self._power_off(spec.id, guest))
        self._off.add(task)
        task.add_done_callback(self._off.discard)
        return vm

    async def _power_off(self, vm_id: str, guest: FakeGuest) -> None:
        await guest.powered_off.wait()
        with contextlib.suppress(KeyError):
            self.machine(vm_id).power_off()

    async def stop(self) -> None:
        for task in self._off:
            task.cancel()
        for guest in self.guests.values():
            await guest.stop()


class Asked:
    """A collection of the engine, asked as a surface asks it: its objects' methods are called by their references."""

    def __init__(self, service: Any, **held: bool) -> None:
        self._service = service
        self._held = held

    def __getattr__(self, name: str) -> Any:
        if hasattr(self._service, name):
            return getattr(self._service, name)
        return self._logs if name == "logs" else functools.partial(self._ask, name)

    async def _ask(self, method: str, ref: str, *words: Any, **more: Any) -> Any:
        return await getattr(await self._service.held(ref, **self._held), method)(*words, **more)

    async def _logs(self, ref: str, **more: Any) -> AsyncIterator[Any]:
        async for line in (await self._service.held(ref, **self._held)).logs(**more):
            yield line


class Face:
    """The engine as surfaces see it."""

    def __init__(self, engine: Engine) -> None:
        self.real = engine
        self.containers = Asked(engine.containers)
        self.execs = Asked(engine.execs)
        self.pods = Asked(engine.pods)
        self.any_pods = Asked(engine.pods, also_of_one=True)
        self.volumes = engine.volumes
        self.images = engine.images
        self.system = engine.system
        self.manifests = Manifests(engine)
        self.close = engine.close


class World:
    """``engine`` may be closed and opened again: the VMs live on, as after a restart of hyperd."""

    def __init__(self, tmp: Path, *, networks: bool = False) -> None:
        """``networks``: there are some, made up; else a pod has its own."""
        self.tmp = tmp
        self.fabric = FakeFabric(tmp / "networks") if networks else None
        self.driver = Guests()
        cache = tmp / "cache"
        cache.mkdir()
        self.config = Config(root=tmp / "root", run=tmp / "run", address=tmp / "run/hyper.sock", cache=cache)
        kernel = tmp / "vmlinuz"
        kernel.write_bytes(b"\x7fELF")
        self.spec_defaults = {"kernel": str(kernel), "initrd": str(kernel), "accelerator": "tcg"}
        self.engine: Face

    async def open(self) -> Face:
        fabric = self.fabric
        engine = Engine(
            self.config, driver=self.driver, maker=Maker(fabric.folder, lambda: fabric) if fabric else None
        )
        await engine.start()
        self.engine = Face(engine)
        return self.engine

    async def load(self) -> None:
        archive = busybox_image.archive([busybox_image.layer()], IMAGE)
        await self.engine.images.load(io.BytesIO(archive))


@contextlib.asynccontextmanager
async def world(tmp: Path, *, networks: bool = False) -> AsyncIterator[World]:
    made = World(tmp, networks=networks)
    await made.open()
    await made.load()
    try:
        yield made
    finally:
        await made.engine.close(stop_containers=True)
        await made.driver.stop()


async def read_all(attachment: Attachment, channel: int = 1) -> bytes:
    parts = []
    while data := await attachment.read(channel):
        parts.append(data)
    return b"".join(parts)
