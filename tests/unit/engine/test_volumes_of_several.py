"""A volume that two containers are created with before either is started: both start, in whatever order and however
closely, also while somebody looks at the files of one."""

from __future__ import annotations

import asyncio

import pytest

from fake_process import FakeProcess
from fake_world import World
from hypercontainer.agent.wire import Stream
from hypercontainer.contract.volumes import NamedVolume, Volume, VolumeMount
from hypercontainer.engine.service import volume_kinds
from hypercontainer.errors import Conflict
from stories import Tell, member, states
from virtual_clock import settle


async def created(w: World, *names: str) -> None:
    for name in names:
        mounts, volumes = (VolumeMount("v", "/d"),), (Volume("v", NamedVolume("v")),)
        await w.engine.containers.create(member(name, volumes=volumes, mounts=mounts, **w.spec_defaults))


class Packing:
    """What looks at files, and goes on when it may."""

    def __init__(self, w: World) -> None:
        self.go = asyncio.Event()
        w.driver.programs = {**(w.driver.programs or {}), "hyper-stat": self._stat, "hyper-pack": self._pack}

    async def _stat(self, process: FakeProcess) -> int:
        await process.write(b"40755 4096 7\n")
        return 0

    async def _pack(self, process: FakeProcess) -> int:
        await process.write(b"packing\n", Stream.STDERR)
        await process.write(b"first")
        await self.go.wait()
        return 0


@pytest.mark.parametrize("late", [0, 3])
def test_two_at_once(tell: Tell, late: int) -> None:
    async def story(w: World) -> None:
        await created(w, "a", "b", "c")
        starts = []
        for name in "abc":
            starts.append(asyncio.create_task(w.engine.containers.start(name)))
            for _ in range(late):
                await asyncio.sleep(0)
        await asyncio.gather(*starts)
        assert await states(w) == dict.fromkeys("abc", "running")
        assert (await w.engine.volumes.inspect("v")).kind == "shared"
        assert not any(disk.locked for spec in w.driver.launched for disk in spec.disks)

    tell(story)


def test_who_looks_at_the_files_of_one_is_waited_for(tell: Tell) -> None:
    async def story(w: World) -> None:
        packing = Packing(w)
        await created(w, "a", "b")
        _, archive = await w.engine.containers.pack("a", "/etc")
        assert await anext(archive) == b"first"
        starting = asyncio.create_task(w.engine.containers.start("b"))
        looking = asyncio.create_task(w.engine.containers.stat_path("b", "/etc"))
        await settle()
        assert not starting.done() and not looking.done()
        packing.go.set()
        assert [data async for data in archive] == []
        await asyncio.gather(starting, looking)
        await w.engine.containers.start("a")
        assert (await w.engine.volumes.inspect("v")).kind == "shared"

    tell(story)


def test_but_not_for_ever(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        packing = Packing(w)
        await created(w, "a", "b")
        _, archive = await w.engine.containers.pack("a", "/etc")
        assert await anext(archive) == b"first"
        monkeypatch.setattr(volume_kinds, "VISITS_S", 0.0)
        with pytest.raises(Conflict, match="volume v is in use by container a"):
            await w.engine.containers.start("b")
        packing.go.set()
        assert [data async for data in archive] == []

    tell(story)
