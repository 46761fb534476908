"""Empty directories with a limit: each is a disk of its own, which its pod's VM has and which goes with the pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.contract.volumes import EmptyDir, Volume, VolumeMount
from hypercontainer.engine.sandbox.storage import DEVICE_VOLUMES_MAX
from hypercontainer.errors import InvalidArgument, Unavailable
from stories import Tell, member, pod

MIB = 1 << 20
LIMITED = Volume("cache", EmptyDir(size_bytes=8 * MIB))
MOUNTED = (VolumeMount("cache", "/cache"),)


def disks(w: World) -> dict[str, Path]:
    """Of volumes, by what holds them."""
    return {path.parent.name: path for path in w.config.root.glob("*/*/v-*.img")}


def alone(name: str, **more: Any) -> ContainerSpec:
    return member(name, pull="never", volumes=(LIMITED,), mounts=MOUNTED, **more)


def test_it_is_a_disk_for_as_long_as_its_pod_is_there(tell: Tell) -> None:
    async def story(w: World) -> None:
        created = await pod(
            w, member("a", mounts=MOUNTED), member("b"), volumes=(LIMITED, Volume("d", EmptyDir()))
        )
        (path,) = disks(w).values()
        assert path.parent.name == created.id
        assert 8 * MIB < path.stat().st_size < 16 * MIB
        before = path.stat().st_ino
        for _ in range(2):
            await w.engine.pods.start("p")
            (disk,) = (one for one in w.driver.launched[-1].disks if one.serial.startswith("v-"))
            assert (disk.extents, disk.read_only) == (((path, path.stat().st_size),), False)
            await w.engine.containers.restart("a")
            await w.engine.pods.stop("p")
        assert path.stat().st_ino == before
        await w.engine.pods.remove("p", force=True)
        assert disks(w) == {}

    tell(story)


def test_a_container_alone_has_it_among_its_files(tell: Tell) -> None:
    async def story(w: World) -> None:
        made = await w.engine.containers.create(alone("a", read_only=True, **w.spec_defaults))
        assert [*disks(w)] == [made.id]
        assert not (w.config.root / "containers" / made.id / "disk.img").exists()
        await w.engine.containers.start("a")
        assert [disk.serial[:2] for disk in w.driver.launched[0].disks] == ["im", "v-"]
        await w.engine.containers.remove("a", force=True)
        assert disks(w) == {}

    tell(story)


def test_one_that_comes_into_a_pod_brings_it_and_takes_it_away(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))
        await w.engine.pods.start("p")
        machine = w.driver.machine(w.driver.launched[0].id)
        for _ in range(2):
            for name in ("b", "c"):
                await w.engine.containers.create(alone(name, pod="p"))
                await w.engine.containers.start(name)
            (path,) = disks(w).values()
            assert path.stem in machine.disks
            await w.engine.containers.remove("b", force=True)
            assert path.exists()
            await w.engine.containers.remove("c", force=True)
            assert path.stem not in machine.disks
            assert disks(w) == {}

    tell(story)


def test_what_a_killed_hyperd_has_left_of_it_goes(tell: Tell) -> None:
    async def story(w: World) -> None:
        created = await pod(w, member("a", mounts=MOUNTED), volumes=(LIMITED,))
        left = w.config.root / "pods" / created.id / "v-0123456789abcdef.img"
        left.touch()
        await w.engine.close()
        await w.open()
        await w.engine.pods.held("p")  # it is taken back
        assert left not in disks(w).values()
        assert len(disks(w)) == 1

    tell(story)


@pytest.mark.parametrize(
    ("size", "said"), [(-1, "volume cache of -1 bytes: from 1 to"), (1 << 44, "of 17592186")]
)
def test_limits_that_cannot_be(size: int, said: str, tell: Tell) -> None:
    async def story(w: World) -> None:
        with pytest.raises(InvalidArgument, match=f"pod p: .*{said}"):
            await pod(w, member("a"), volumes=(Volume("cache", EmptyDir(size_bytes=size)),))
        assert not any((w.config.root / "pods").iterdir())

    tell(story)


def test_they_count_as_devices(tell: Tell) -> None:
    async def story(w: World) -> None:
        many = tuple(Volume(f"v{n}", EmptyDir(size_bytes=MIB)) for n in range(DEVICE_VOLUMES_MAX + 1))
        with pytest.raises(InvalidArgument, match=f"{DEVICE_VOLUMES_MAX} at most"):
            await pod(w, member("a"), volumes=many)

    tell(story)


def test_a_container_that_is_not_made_leaves_no_disk(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))

        def add(*_: object) -> None:
            raise Unavailable("not today")

        with monkeypatch.context() as patch, pytest.raises(Unavailable, match="not today"):
            patch.setattr(w.engine.containers._directory, "add", add)
            await w.engine.containers.create(alone("b", pod="p"))
        assert disks(w) == {}

    tell(story)


def test_other_empty_directories_are_on_the_pods_disk(tell: Tell) -> None:
    async def story(w: World) -> None:
        others = (Volume("d", EmptyDir()), Volume("m", EmptyDir(memory=True, size_bytes=MIB)))
        await pod(w, ContainerSpec(image=IMAGE, name="a"), volumes=others)
        assert disks(w) == {}

    tell(story)
