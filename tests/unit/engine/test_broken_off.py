"""Creations and removals that are broken off, fail or meet one another: nothing stays half made, nothing used goes."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import busybox_image
from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.contract.volumes import ANONYMOUS_LABEL, NamedVolume, Volume, VolumeMount
from hypercontainer.engine import files
from hypercontainer.errors import Conflict, NotFound, Unavailable
from hypercontainer.image import platforms
from hypercontainer.rootfs.writable import create_writable_disk
from stories import FOREVER, Tell

OTHER = "localhost/other:1"


class Gate:
    """A function that waits, in its thread, until the test lets it go on."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        self.reached.set()
        assert self.open.wait(20)
        return self._real(*arguments)

    async def waits(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 20)


def wish(name: str, source: NamedVolume, *, read_only: bool = False) -> ContainerSpec:
    mount = VolumeMount("x", "/x", read_only=read_only)
    return ContainerSpec(
        image=IMAGE,
        name=name,
        pull="never",
        command=FOREVER,
        stdin_open=True,
        volumes=(Volume("x", source),),
        mounts=(mount,),
    )


async def create(w: World, name: str, source: NamedVolume = NamedVolume()) -> None:  # noqa: B008 - frozen
    await w.engine.containers.create(wish(name, source))


async def names(w: World) -> set[str]:
    return {volume.name for volume in await w.engine.volumes.find()}


def test_a_removal_that_is_broken_off_is_done_nevertheless(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        await create(w, "a")
        container = w.engine.real.directory.get("a")
        gate = Gate(files.remove_tree)
        monkeypatch.setattr(files, "remove_tree", gate)
        removal = asyncio.create_task(container.remove(volumes=True))
        await gate.waits()
        removal.cancel()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await removal
        assert container.removed.is_set()
        assert await names(w) == set()
        with pytest.raises(NotFound):
            w.engine.real.directory.get("a")

    tell(story)


def test_a_removal_that_has_failed_can_be_tried_again(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        await create(w, "a")

        def fails(path: Path) -> None:
            raise Unavailable("no")

        with monkeypatch.context() as broken:
            broken.setattr(files, "remove_tree", fails)
            with pytest.raises(Unavailable):
                await w.engine.real.directory.get("a").remove()
        await w.engine.real.directory.get("a").remove()
        assert await w.engine.containers.find(all=True) == []

    tell(story)


def test_a_volume_that_cannot_be_removed_keeps_no_container(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        await create(w, "a")
        container = w.engine.real.directory.get("a")

        def fails(name: str) -> None:
            raise Unavailable("no")

        with monkeypatch.context() as broken:
            broken.setattr(w.engine.volumes._store, "remove", fails)
            await container.remove(volumes=True)
        assert container.removed.is_set()
        left = await w.engine.volumes.prune()
        assert len(left.removed) == 1

    tell(story)


def test_what_a_creation_that_is_broken_off_has_made_goes(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        store = w.engine.volumes._store
        gate = Gate(store.make_missing)
        monkeypatch.setattr(store, "make_missing", gate)
        creating = asyncio.create_task(create(w, "a"))
        await gate.waits()
        creating.cancel()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await creating
        assert await names(w) == set()

    tell(story)


def test_nobody_takes_a_volume_of_what_is_being_created(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        await w.engine.volumes.create("named")
        gate = Gate(create_writable_disk)
        monkeypatch.setattr("hypercontainer.engine.creation.create_writable_disk", gate)
        creating = [
            asyncio.create_task(create(w, "a")),
            asyncio.create_task(create(w, "b", NamedVolume("named"))),
        ]
        await gate.waits()
        assert (await w.engine.volumes.prune(all=True)).removed == ()
        with pytest.raises(Conflict, match="used by one that is being created"):
            await w.engine.volumes.remove("named")
        gate.open.set()
        await asyncio.gather(*creating)
        assert len(await names(w)) == 2

    tell(story)


def test_a_volume_that_is_made_anew_is_still_nobodys(tell: Tell) -> None:
    async def story(w: World) -> None:
        await create(w, "a")
        (name,) = await names(w)
        await asyncio.to_thread(w.engine.volumes._store.remove, name)
        await w.engine.containers.start("a")
        assert [v.labels for v in await w.engine.volumes.find()] == [{ANONYMOUS_LABEL: ""}]

    tell(story)


def test_a_journal_is_written_back_by_one_alone(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads a volume whose last VM was killed has it alone until its VM ends."""

    async def story(w: World) -> None:
        await w.engine.volumes.create("v")
        for name in ("a", "b"):
            await w.engine.containers.create(wish(name, NamedVolume("v"), read_only=True))
        with monkeypatch.context() as killed:
            killed.setattr("hypercontainer.volume.ext4.needs_recovery", lambda path: True)
            await w.engine.containers.start("a")
        with pytest.raises(Conflict, match="volume v is in use by container a"):
            await w.engine.containers.start("b")

    tell(story)


def test_nobody_takes_an_image_of_what_is_being_created(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        gate = Gate(create_writable_disk)
        monkeypatch.setattr("hypercontainer.engine.creation.create_writable_disk", gate)
        creating = asyncio.create_task(create(w, "a"))
        await gate.waits()
        assert (await w.engine.system.prune(all=True)).images_deleted == ()
        with pytest.raises(Conflict, match="used by container one that is being created"):
            await w.engine.images.remove(IMAGE)
        assert [line.deleted for line in await w.engine.images.remove(IMAGE, force=True)] == [""]
        gate.open.set()
        await creating
        assert (await w.engine.system.prune(all=True, containers=False)).images_deleted == ()
        await w.engine.containers.start("a")
        await w.engine.containers.remove("a", force=True)
        assert len((await w.engine.system.prune(all=True)).images_deleted) == 1

    tell(story)


def test_an_image_that_went_before_it_was_held_is_missing(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        real = platforms.machine_for

        def meanwhile(*given: Any) -> Any:
            w.engine.real._store.remove(IMAGE)
            return real(*given)

        monkeypatch.setattr(platforms, "machine_for", meanwhile)
        with pytest.raises(NotFound, match="no such image"):
            await create(w, "a")
        assert await w.engine.containers.find(all=True) == []

    tell(story)


def test_layers_of_an_image_that_comes_are_not_pruned(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        store = w.engine.real._store
        gate = Gate(store._register)
        archive = busybox_image.archive([busybox_image.layer(), b"\0" * 10240], OTHER)
        with monkeypatch.context() as patched:
            patched.setattr(store, "_register", gate)
            loading = asyncio.create_task(w.engine.images.load(io.BytesIO(archive)))
            await gate.waits()
            await w.engine.system.prune(all=True)
            gate.open.set()
            await loading
        await w.engine.containers.create(msgspec.structs.replace(wish("b", NamedVolume()), image=OTHER))
        await w.engine.containers.start("b")
        await w.engine.containers.remove("b", force=True)

    tell(story)


def test_what_a_stopped_container_needs_stays_through_a_restart(tell: Tell) -> None:
    async def story(w: World) -> None:
        await create(w, "a")
        await w.engine.close()
        await w.open()
        pruned = await w.engine.system.prune(all=True, containers=False)
        assert pruned.images_deleted == ()
        await w.engine.containers.start("a")
        await w.engine.containers.remove("a", force=True)

    tell(story)
