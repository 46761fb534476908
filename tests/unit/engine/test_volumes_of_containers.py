"""Volumes on fake VMs: those of images, those that nobody has named, and who may have one at the same time."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest

import busybox_image
from fake_world import IMAGE, World
from hypercontainer.contract.answers import Created, VolumeInfo
from hypercontainer.contract.spec import ContainerSpec, Tmpfs
from hypercontainer.contract.volumes import (
    ANONYMOUS_LABEL,
    DiskImage,
    EmptyDir,
    NamedVolume,
    Volume,
    VolumeMount,
)
from hypercontainer.engine.sandbox.storage import DEVICE_VOLUMES_MAX
from hypercontainer.errors import Conflict, InvalidArgument, NotFound
from hypercontainer.semantics import shape
from stories import FOREVER, Tell, member, pod

DATA = Volume("data", NamedVolume("data"))
WRITES, READS = VolumeMount("data", "/d"), VolumeMount("data", "/d", read_only=True)


async def declared(w: World, *instructions: str) -> str:
    """An image whose configuration says this."""
    layer = io.BytesIO(busybox_image.layer())
    await w.engine.images.import_(layer, reference="localhost/declared:1", change=instructions)
    return "localhost/declared:1"


async def create(w: World, name: str, image: str = IMAGE, **more: Any) -> Created:
    wish: dict[str, Any] = {
        "command": FOREVER,
        "stdin_open": True,
        "pull": "never",
        **w.spec_defaults,
        **more,
    }
    created: Created = await w.engine.containers.create(ContainerSpec(image=image, name=name, **wish))
    return created


async def volumes(w: World) -> list[VolumeInfo]:
    found: list[VolumeInfo] = await w.engine.volumes.find()
    return found


def test_an_image_has_its_volumes_as_docker_makes_them(tell: Tell) -> None:
    async def story(w: World) -> None:
        image = await declared(w, "VOLUME /data /log/", "VOLUME /there /scratch")
        theirs: dict[str, Any] = {
            "volumes": (DATA,),
            "mounts": (VolumeMount("data", "/there/"),),
            "tmpfs": (Tmpfs("/scratch"),),
            "read_only": True,
        }
        await create(w, "a", image, **theirs)
        shown = shape.container(msgspec.to_builtins(await w.engine.containers.inspect("a")))
        assert shown["Config"]["Volumes"] == {"/data": {}, "/log": {}, "/scratch": {}, "/there": {}}
        made = {mount["Destination"]: mount for mount in shown["Mounts"]}
        assert made.keys() == {"/data", "/log", "/there/"}
        known = {info.name: info for info in await volumes(w)}
        assert len(known) == 3
        for place in ("/data", "/log"):
            mount = made[place]
            assert (mount["Type"], mount["Driver"], mount["RW"], len(mount["Name"])) == (
                "volume",
                "local",
                True,
                64,
            )
            assert mount["Source"] == known[mount["Name"]].disk
            assert known[mount["Name"]].labels == {ANONYMOUS_LABEL: ""}
        await w.engine.containers.start("a")
        told = w.driver.guests[w.driver.launched[0].id]
        assert len(w.driver.launched[0].disks) == 4  # its image's, and three volumes
        assert told is not None

    tell(story)


@pytest.mark.parametrize(
    "wanted", [("VOLUME /",), ("VOLUME /a/../..",), (f"VOLUME {' '.join(f'/v{n}' for n in range(65))}",)]
)
def test_volumes_that_no_image_may_want(wanted: tuple[str, ...], tell: Tell) -> None:
    async def story(w: World) -> None:
        with pytest.raises(InvalidArgument, match=r"image localhost/declared:1 wants"):
            await create(w, "a", await declared(w, *wanted))
        assert await volumes(w) == []

    tell(story)


def test_what_nobody_has_named_goes_with_its_container_where_that_is_wanted(tell: Tell) -> None:
    async def story(w: World) -> None:
        image = await declared(w, "VOLUME /data")
        own: dict[str, Any] = {
            "volumes": (Volume("x", NamedVolume()), DATA),
            "mounts": (VolumeMount("x", "/x"), WRITES),
        }

        async def left() -> tuple[int, bool]:
            names = {info.name for info in await volumes(w)}
            return len(names - {"data"}), "data" in names

        await create(w, "kept", image, **own)
        with pytest.raises(Conflict, match="is used by kept"):
            await w.engine.volumes.remove((await volumes(w))[0].name)
        assert await left() == (2, True)
        await w.engine.containers.remove("kept")
        assert await left() == (2, True)
        assert len((await w.engine.volumes.prune()).removed) == 2
        await create(w, "gone", image, **own)
        await w.engine.containers.remove("gone", volumes=True)
        assert await left() == (0, True)
        created = await create(w, "once", image, auto_remove=True, **own)
        await w.engine.containers.start("once")
        await w.engine.containers.stop("once")
        with pytest.raises(NotFound):
            await w.engine.containers.inspect(created.id)
        assert await left() == (0, True)
        # One that another container has taken for its own stays.
        await create(w, "first", image)
        (name,) = [info.name for info in await volumes(w) if info.name != "data"]
        taken: dict[str, Any] = {
            "volumes": (Volume("y", NamedVolume(name)),),
            "mounts": (VolumeMount("y", "/y"),),
        }
        await create(w, "second", **taken)
        await w.engine.containers.remove("first", volumes=True)
        assert await left() == (1, True)

    tell(story)


def test_a_container_that_cannot_be_made_leaves_no_volume(tell: Tell) -> None:
    async def story(w: World) -> None:
        image = await declared(w, "VOLUME /data")
        with pytest.raises(InvalidArgument):
            await create(w, "a", image, disk_size_bytes=1)
        assert await volumes(w) == []

    tell(story)


def test_the_volumes_of_images_live_and_die_with_a_pod(tell: Tell) -> None:
    async def story(w: World) -> None:
        image = await declared(w, "VOLUME /data")
        await pod(w, msgspec.structs.replace(member("a"), image=image, read_only=True), member("b"))
        assert await volumes(w) == []
        record = w.engine.real.directory.get("a").record
        assert [type(volume.source) for volume in record.spec.volumes] == [EmptyDir]
        assert record.spec.mounts == (VolumeMount(record.spec.volumes[0].name, "/data", copy_up=True),)
        late = msgspec.structs.replace(member("late"), image=image, pod="p")
        await w.engine.containers.create(late)
        assert len(await volumes(w)) == 1
        await w.engine.pods.remove("p", force=True)
        assert await volumes(w) == []

    tell(story)


def test_prune_takes_what_it_is_told(tell: Tell) -> None:
    async def story(w: World) -> None:
        for name, labels in (("a", {"of": "x"}), ("b", {"of": "y"}), ("c", {})):
            await w.engine.volumes.create(name, labels=labels)
        unnamed = (await w.engine.volumes.create()).name
        prune = w.engine.volumes.prune
        assert (await prune(filters={"label": ("of=x",)})).removed == ()
        assert (await prune(filters={"all": ("false",)})).removed == (unnamed,)
        assert (await prune(filters={"all": ("true",), "label": ("of=x",)})).removed == ("a",)
        assert (await prune(all=True, filters={"label!": ("of",)})).removed == ("c",)
        for wrong in ({"all": ("maybe",)}, {"name": ("b",)}):
            with pytest.raises(InvalidArgument, match="filter"):
                await prune(filters=wrong)
        assert (await w.engine.system.prune(volumes=True)).volumes_deleted == ()
        assert (await prune(all=True)).removed == ("b",)

    tell(story)


def test_any_number_read_a_volume_and_who_writes_has_it_alone(tell: Tell) -> None:
    async def story(w: World) -> None:
        for name in ("r1", "r2"):
            await create(w, name, volumes=(DATA,), mounts=(READS,))
        await w.engine.containers.start("r1")
        await w.engine.containers.start("r2")
        await create(w, "w1", volumes=(DATA,), mounts=(WRITES,))
        disks = [disk for spec in w.driver.launched for disk in spec.disks if disk.locked]
        assert [disk.read_only for disk in disks] == [True, True]
        with pytest.raises(
            Conflict, match="volume data is in use by container r1, which reads it"
        ) as refused:
            await w.engine.containers.start("w1")
        helps = ["containers.stop r1", "volumes.convert data so that both may write to it"]
        assert [str(remedy) for remedy in refused.value.remedies] == helps
        await w.engine.close()
        await w.open()  # the next hyperd knows it too
        start, stop = w.engine.containers.start, w.engine.containers.stop
        with pytest.raises(Conflict, match="in use by container r1"):
            await start("w1")
        await stop("r1")
        await stop("r2")
        await start("w1")
        await create(w, "w2", volumes=(DATA,), mounts=(WRITES,))
        for name in ("w2", "r1"):
            with pytest.raises(Conflict, match="in use by container w1, which writes to it: nobody else"):
                await start(name)
        await stop("w1")
        await start("w2")

    tell(story)


def test_a_pod_that_reads_a_volume_is_started_again_to_write_it(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a", mounts=(READS,)), volumes=(DATA,))
        await w.engine.pods.start("p")
        writer = msgspec.structs.replace(member("b"), mounts=(WRITES,), pod="p")
        await w.engine.containers.create(writer)
        with pytest.raises(
            Conflict, match="volume data: the VM of pod p, which runs, has it for reading only"
        ):
            await w.engine.containers.start("b")
        await create(w, "other", volumes=(DATA,), mounts=(READS,))
        await w.engine.containers.start("other")
        with pytest.raises(Conflict, match="in use by container other"):
            await w.engine.pods.restart("p")
        await w.engine.containers.stop("other")
        await w.engine.pods.restart("p")
        with pytest.raises(Conflict, match=r"in use by container . of pod p, which writes to it") as refused:
            await w.engine.containers.start("other")
        helps = ["pods.stop p", "volumes.convert data so that both may write to it"]
        assert [str(remedy) for remedy in refused.value.remedies] == helps

    tell(story)


def test_a_volume_that_two_are_about_to_write_to_becomes_shared(tell: Tell) -> None:
    async def story(w: World) -> None:
        for name in ("a", "b"):
            await create(w, name, volumes=(DATA,), mounts=(WRITES,))
        await w.engine.containers.start("a")
        assert (await w.engine.volumes.inspect("data")).kind == "shared"
        await w.engine.containers.start("b")
        shares = [share for spec in w.driver.launched for share in spec.shares]
        assert [(share.together, share.read_only) for share in shares] == [(True, False)] * 2
        with pytest.raises(Conflict, match="in use by container"):
            await w.engine.volumes.convert("data", kind="disk")
        await w.engine.containers.stop("a")
        await w.engine.containers.stop("b")
        assert (await w.engine.volumes.convert("data", kind="disk")).kind == "disk"
        await w.engine.containers.start("a")  # who has run before is not about to
        assert (await w.engine.volumes.inspect("data")).kind == "disk"

    tell(story)


def test_disk_files_are_kept_apart_too(tell: Tell) -> None:
    async def story(w: World) -> None:
        path = w.tmp / "disk"
        path.write_bytes(bytes(1 << 20))
        disk = Volume("data", DiskImage(str(path), "raw"))
        for name in ("a", "b"):
            await create(w, name, volumes=(disk,), mounts=(WRITES,))
        await w.engine.containers.start("a")
        with pytest.raises(Conflict, match=f"disk {path} is in use by container a"):
            await w.engine.containers.start("b")

    tell(story)


def test_a_new_volume_that_is_only_read_is_filled_first(tell: Tell) -> None:
    async def story(w: World) -> None:
        for name, path in (("etc", "/etc"), ("none", "/none")):
            volume = Volume("v", NamedVolume(name))
            mount = VolumeMount("v", path, read_only=True, copy_up=True)
            await create(w, name, volumes=(volume,), mounts=(mount,))
            for _ in range(2):
                await w.engine.containers.start(name)
                await w.engine.containers.stop(name)
        found = [disk.read_only for spec in w.driver.launched for disk in spec.disks if disk.locked]
        assert found == [False, True, True, True]  # the image has no /none

    tell(story)


def test_a_vm_has_only_so_many_devices_for_volumes(tell: Tell) -> None:
    async def story(w: World) -> None:
        many = [Volume(f"v{number}", NamedVolume(f"v{number}")) for number in range(DEVICE_VOLUMES_MAX + 1)]
        refusal = f"{DEVICE_VOLUMES_MAX + 1} volumes that are disks .*: {DEVICE_VOLUMES_MAX} at most"
        with pytest.raises(InvalidArgument, match=f"container a: {refusal}"):
            await create(w, "a", volumes=tuple(many))
        with pytest.raises(InvalidArgument, match=f"pod p: {refusal}"):
            await pod(w, member("m"), volumes=tuple(many))
        assert await volumes(w) == []
        await create(w, "a", volumes=tuple(many[:-1]))
        await w.engine.containers.start("a")

    tell(story)
