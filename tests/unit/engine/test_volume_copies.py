"""Volumes that grow, are looked into, copied and put back, used or not, and who may not have them meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from pathlib import Path
from typing import Any

import pytest

from fake_process import FakeProcess
from fake_world import World
from hypercontainer.agent.operations import VolumeFreeze, VolumeGrow
from hypercontainer.agent.wire import Stream
from hypercontainer.contract.volumes import NamedVolume, Volume, VolumeMount
from hypercontainer.engine.pipes import pieces_of
from hypercontainer.engine.service import volume_copies
from hypercontainer.engine.service.volume_vms import Having
from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Unavailable
from hypercontainer.hypervisor import locks
from hypercontainer.linux.exchange import exchange
from hypercontainer.volume import snapshots, store
from stories import Tell, member
from virtual_clock import settle

MEBIBYTE = 1 << 20
ROOT = "/run/pod/"


async def opened(w: World) -> None:
    """With a machine of which a VM of no pod can be made, and what hyperstart does with files, made up."""
    kernel = Path(w.spec_defaults["kernel"])
    machine = dataclasses.replace(w.config.machine, kernel=str(kernel), initrd=kernel, accelerator="tcg")
    w.config = dataclasses.replace(w.config, machine=machine)
    await w.engine.close()
    await w.open()
    made = {"hyper-stat": _stat, "hyper-pack": _pack, "hyper-unpack": _unpack}
    w.driver.programs = {**(w.driver.programs or {}), **made}


async def _stat(process: FakeProcess) -> int:
    assert process.plan.cwd.startswith(ROOT) and not process.plan.tools
    if process.plan.args[1] == "/absent":
        await process.write(b"/absent: no such file\n", Stream.STDERR)
        return errno.ENOENT
    await process.write(b"40755 4096 7\n")
    return 0


async def _pack(process: FakeProcess) -> int:
    await process.write(b"packing\n", Stream.STDERR)
    await process.write(b"archive")
    return 0


async def _unpack(process: FakeProcess) -> int:
    while await process.read():
        pass
    return 0


async def using(w: World, *, read_only: bool = False, start: bool = True, name: str = "c") -> None:
    mount = VolumeMount("v", "/d", read_only=read_only)
    spec = member(name, volumes=(Volume("v", NamedVolume("v")),), mounts=(mount,), **w.spec_defaults)
    await w.engine.containers.create(spec)
    if start:
        await w.engine.containers.start(name)


def asked(w: World, kind: type[Any]) -> list[Any]:
    return [
        record
        for guest in w.driver.guests.values()
        for _, record in guest.requests
        if isinstance(record, kind)
    ]


def left_behind(w: World) -> list[Path]:
    return list((w.config.root / "volumes").glob("*/snapshots/.new-*")) + list(
        (w.config.run / "pods").iterdir()
    )


def test_a_volume_grows_where_it_is_used_and_where_it_is_not(tell: Tell) -> None:
    async def story(w: World) -> None:
        volumes = w.engine.volumes
        await volumes.create("v", size_bytes=64 * MEBIBYTE)
        assert (await volumes.resize("v", size_bytes=128 * MEBIBYTE)).size_bytes == 128 * MEBIBYTE
        assert asked(w, VolumeGrow) == []
        await using(w)
        assert [plan.grow for guest in w.driver.guests.values() for plan in guest.volumes.values()] == [True]
        assert (await volumes.resize("v", size_bytes=256 * MEBIBYTE)).size_bytes == 256 * MEBIBYTE
        assert [record.size_bytes for record in asked(w, VolumeGrow)] == [256 * MEBIBYTE]
        with pytest.raises(InvalidArgument, match="does not get smaller"):
            await volumes.resize("v", size_bytes=64 * MEBIBYTE)
        with pytest.raises(NotFound):
            await volumes.resize("w", size_bytes=64 * MEBIBYTE)

    tell(story)


def test_files_are_reached_through_the_vm_that_has_them_or_one_of_their_own(tell: Tell) -> None:
    async def story(w: World) -> None:
        await opened(w)
        volumes = w.engine.volumes
        await volumes.create("v", size_bytes=64 * MEBIBYTE)
        assert (await volumes.stat_path("v", path="/")).mode == 0o40755
        with pytest.raises(NotFound, match="volume v: /absent"):
            await volumes.stat_path("v", path="/absent")
        await volumes.unpack("v", path="/", stream=pieces_of(b"archive"))
        assert len(w.driver.launched) == 3 and not any(spec.nics for spec in w.driver.launched)
        assert left_behind(w) == []
        _, archive = await volumes.pack("v", path="/")
        with pytest.raises(Conflict, match="volume v is in use by a copy of its files"):
            await using(w)
        assert b"".join([data async for data in archive]) == b"archive"
        await w.engine.containers.start("c")
        launched = len(w.driver.launched)
        assert (await volumes.stat_path("v", path="/")).mode == 0o40755
        await volumes.unpack("v", path="/", stream=pieces_of(b"archive"))
        assert len(w.driver.launched) == launched
        with pytest.raises(NotFound, match="there is no volume w"):
            await volumes.stat_path("w", path="/")

    tell(story)


def test_a_snapshot_that_nobody_wants_any_more_leaves_no_copy(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its writer is just let go on."""
    thaw, thawing, go_on = volume_copies._thaw, asyncio.Event(), asyncio.Event()

    async def slow(having: Having) -> bool:
        thawing.set()
        await go_on.wait()
        return await thaw(having)

    monkeypatch.setattr(volume_copies, "_thaw", slow)

    async def story(w: World) -> None:
        await w.engine.volumes.create("v", size_bytes=64 * MEBIBYTE)
        await using(w)
        copying = asyncio.ensure_future(w.engine.volumes.snapshot("v", snapshot="one"))
        await thawing.wait()
        copying.cancel()
        await settle()
        assert not copying.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert not list((w.config.root / "volumes/v/snapshots").glob("**/*"))
        assert [record.frozen for record in asked(w, VolumeFreeze)] == [True, False]

    tell(story)


def test_of_a_shared_volume_files_are_all_there_is(tell: Tell) -> None:
    async def story(w: World) -> None:
        await opened(w)
        volumes = w.engine.volumes
        await volumes.create("v", kind="shared")
        refused = (
            volumes.resize("v", size_bytes=64 * MEBIBYTE),
            volumes.snapshot("v"),
            volumes.restore("v", snapshot="one"),
            volumes.clone("v", target="w"),
        )
        for call in refused:
            with pytest.raises(Conflict, match="volume v is shared") as told:
                await call
            assert [str(remedy) for remedy in told.value.remedies] == ["volumes.convert v kind=disk"]
        assert await volumes.snapshots("v") == []
        _, archive = await volumes.pack("v", path="/")
        await using(w)  # together with the copy's VM
        with pytest.raises(Conflict, match="volume v is in use by"):
            await volumes.convert("v", kind="disk")
        assert b"".join([data async for data in archive]) == b"archive"
        launched = len(w.driver.launched)
        await volumes.unpack("v", path="/", stream=pieces_of(b"archive"))
        assert len(w.driver.launched) == launched
        with pytest.raises(Conflict, match="volume v is in use by container c"):
            await volumes.convert("v", kind="disk")

    tell(story)


def test_nobody_has_a_volume_that_is_converted(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        await opened(w)
        volumes, loop = w.engine.volumes, asyncio.get_running_loop()
        begun, go = asyncio.Event(), asyncio.Event()
        await volumes.create("v", kind="shared")
        await volumes.create("kept", size_bytes=64 * MEBIBYTE)
        await volumes.snapshot("kept", snapshot="one")
        with pytest.raises(Conflict, match="volume kept has 1 snapshots"):
            await volumes.convert("kept", kind="shared")
        real = exchange

        def waits(one: Path, other: Path) -> None:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            real(one, other)

        monkeypatch.setattr(store, "exchange", waits)
        converting = asyncio.create_task(volumes.convert("v", kind="disk"))
        await begun.wait()
        with pytest.raises(Conflict, match="volume v is being converted"):
            await volumes.unpack("v", path="/", stream=pieces_of(b"archive"))
        starting = asyncio.create_task(using(w))  # waits for it
        go.set()
        assert (await converting).kind == "disk"
        await starting
        assert [disk.locked for disk in w.driver.launched[-1].disks].count(True) == 1

    tell(story)


def test_a_volume_that_is_there_is_of_the_kind_that_is_asked_for(tell: Tell) -> None:
    async def story(w: World) -> None:
        volumes = w.engine.volumes
        made = await volumes.create("v", kind="shared")
        for kind in (None, "shared"):
            assert await volumes.create("v", kind=kind) == made
        for size_bytes, kind in ((None, "disk"), (64 * MEBIBYTE, None)):
            with pytest.raises(Conflict, match="a volume v already, of type shared and not disk"):
                await volumes.create("v", size_bytes=size_bytes, kind=kind)

    tell(story)


def test_what_is_only_read_is_read_and_not_written(tell: Tell) -> None:
    async def story(w: World) -> None:
        await opened(w)
        await w.engine.volumes.create("v", size_bytes=64 * MEBIBYTE)
        await using(w, start=False)
        await w.engine.containers.start("c")
        await w.engine.containers.remove("c", force=True)
        await using(w, read_only=True, name="r")
        launched = len(w.driver.launched)
        assert (await w.engine.volumes.stat_path("v", path="/")).mode == 0o40755
        assert len(w.driver.launched) == launched
        with pytest.raises(Conflict, match="in use by container r, which reads it"):
            await w.engine.volumes.unpack("v", path="/", stream=pieces_of(b""))

    tell(story)


def test_a_snapshot_is_of_a_volume_that_stands_still(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        volumes, real, still = w.engine.volumes, snapshots.copy, []
        await volumes.create("v", size_bytes=64 * MEBIBYTE)
        await using(w)

        def copy(source: Path, folder: Path) -> Path:
            still.append([bool(guest.still) for guest in w.driver.guests.values()])
            return real(source, folder)

        monkeypatch.setattr(snapshots, "copy", copy)
        assert (await volumes.snapshot("v", snapshot="one")).name == "one"
        assert (await volumes.clone("v", target="new", labels={"a": "b"})).size_bytes == 64 * MEBIBYTE
        assert still == [[True], [True]]
        assert not any(guest.still for guest in w.driver.guests.values())
        assert [one.name for one in await volumes.snapshots("v")] == ["one"]
        assert {one.name for one in await volumes.find()} == {"v", "new"}
        with pytest.raises(Conflict, match="in use by container c"):
            await volumes.restore("v", snapshot="one")
        await w.engine.containers.remove("c", force=True)
        await volumes.restore("v", snapshot="one")
        await volumes.clone("v", target="older", snapshot="one")
        await volumes.remove_snapshot("v", snapshot="one")
        for missing in (volumes.remove_snapshot, volumes.restore):
            with pytest.raises(NotFound, match="no snapshot one"):
                await missing("v", snapshot="one")
        assert left_behind(w) == []

    tell(story)


def test_a_guest_that_went_on_meanwhile_gives_no_snapshot(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        volumes, real = w.engine.volumes, snapshots.copy
        await volumes.create("v", size_bytes=64 * MEBIBYTE)
        await using(w)

        def slow(source: Path, folder: Path) -> Path:
            for guest in w.driver.guests.values():
                guest.still.clear()
            return real(source, folder)

        def fails(source: Path, folder: Path) -> Path:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(snapshots, "copy", slow)
        with pytest.raises(Unavailable, match="took more than"):
            await volumes.snapshot("v")
        monkeypatch.setattr(snapshots, "copy", fails)
        with pytest.raises(Unavailable, match="No space left"):
            await volumes.snapshot("v")
        assert [record.frozen for record in asked(w, VolumeFreeze)] == [True, False, True, False]
        assert await volumes.snapshots("v") == [] and not any(
            guest.still for guest in w.driver.guests.values()
        )
        assert not list((w.config.root / "volumes").glob("*/snapshots/*"))

    tell(story)


def test_nobody_writes_to_what_is_copied(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a VM of this hyperd's, nor one of another's, which has a lock on the disk."""

    async def story(w: World) -> None:
        volumes, real, go = w.engine.volumes, snapshots.copy, asyncio.Event()
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        await volumes.create("v", size_bytes=64 * MEBIBYTE)

        def waits(source: Path, folder: Path) -> Path:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            return real(source, folder)

        monkeypatch.setattr(snapshots, "copy", waits)
        taking = asyncio.create_task(volumes.snapshot("v", snapshot="one"))
        await begun.wait()
        with pytest.raises(Conflict, match="volume v is being copied"):
            await using(w)
        go.set()
        await taking
        with (w.config.root / "volumes/v/disk.img").open("r+b") as other:
            assert locks.take(other.fileno(), read_only=False)
            for call in (volumes.snapshot("v"), volumes.restore("v", snapshot="one")):
                with pytest.raises(Conflict, match="in use by another virtual machine"):
                    await call
        await w.engine.containers.start("c")

    tell(story)


def test_a_volume_of_the_same_name_and_size_is_taken_as_it_is(tell: Tell) -> None:
    async def story(w: World) -> None:
        volumes = w.engine.volumes
        made = await volumes.create("v", size_bytes=64 * MEBIBYTE, labels={"a": "b"})
        assert await volumes.create("v", size_bytes=64 * MEBIBYTE) == made
        assert await volumes.create("v", labels={"c": "d"}) == made
        with pytest.raises(Conflict, match="already, of 67108864 bytes"):
            await volumes.create("v", size_bytes=65 * MEBIBYTE)

    tell(story)
