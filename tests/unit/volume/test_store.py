"""Named volumes: made whole or not at all, removed for good, swept after a death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound, Unavailable
from hypercontainer.rootfs.writable import create_writable_disk
from hypercontainer.volume import store as volume_store
from hypercontainer.volume.store import DEFAULT_BYTES, MAX_BYTES, MIN_BYTES, VolumeStore


def plain_disk(path: Path, size_bytes: int) -> None:
    with path.open("xb") as file:
        file.truncate(size_bytes)


def opened(root: Path, make_disk: Callable[[Path, int], None] = plain_disk) -> VolumeStore:
    return VolumeStore(root, make_disk)


def test_a_volume_is_made_found_and_removed(tmp_path: Path) -> None:
    volumes = opened(tmp_path / "volumes")
    made = volumes.create("data", 100 << 20, {"app": "db"})
    assert (made.name, made.size_bytes, made.labels) == ("data", 100 << 20, {"app": "db"})
    assert made.created.endswith("Z")
    assert volumes.disk("data").stat().st_size == 100 << 20
    volumes.create("A.b-c_1")
    assert volumes.inspect("A.b-c_1").size_bytes == DEFAULT_BYTES
    again = opened(tmp_path / "volumes")
    assert [one.name for one in again.find()] == ["A.b-c_1", "data"]
    assert again.inspect("data") == made
    with pytest.raises(Conflict, match="data"):
        again.create("data")
    again.remove("data")
    for missing in (again.inspect, again.disk, again.remove):
        with pytest.raises(NotFound, match="data"):
            missing("data")
    assert [entry.name for entry in (tmp_path / "volumes").iterdir()] == ["A.b-c_1"]


def test_its_disk_is_an_ext4_of_its_size_that_takes_little(tmp_path: Path) -> None:
    volumes = opened(
        tmp_path / "volumes", lambda path, size: create_writable_disk(path, size, tmp_path / "cache")
    )
    made = volumes.create("data", (1 << 30) - 17)
    assert made.size_bytes == 1 << 30
    assert 0 < made.used_bytes < 4 << 20
    path = volumes.disk("data")
    assert subprocess.run(["e2fsck", "-fn", path], capture_output=True, check=False).returncode == 0
    with path.open("r+b") as file:
        file.seek(512 << 20)
        file.write(os.urandom(1 << 20))
    assert volumes.inspect("data").used_bytes >= 1 << 20


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".new-1", "-a", "a" * 256, "a\n", "ä", "a b", "a\0"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    volumes = opened(tmp_path)
    for refuse in (volumes.create, volumes.inspect, volumes.disk, volumes.remove, volumes.obtain):
        with pytest.raises(InvalidArgument, match="volume name"):
            refuse(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [-1, 0, MIN_BYTES - 1, MAX_BYTES + 1])
def test_sizes_that_cannot_be(tmp_path: Path, size: int) -> None:
    with pytest.raises(InvalidArgument, match="bytes"):
        opened(tmp_path).create("data", size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", [500_000_000, MIN_BYTES, MIN_BYTES + 1, (1 << 30) - 1])
def test_a_volume_has_at_least_what_was_asked_for(tmp_path: Path, asked: int) -> None:
    made = opened(tmp_path).create("data", asked).size_bytes
    assert asked <= made < asked + 4096
    assert made % 4096 == 0


def test_labels_are_bounded(tmp_path: Path) -> None:
    volumes = opened(tmp_path)
    for labels in ({str(n): "" for n in range(257)}, {"a": "x" * 70_000}):
        with pytest.raises(InvalidArgument, match="labels"):
            volumes.create("data", labels=labels)
    assert not list(tmp_path.iterdir())


def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_store, "MAX_VOLUMES", 2)
    volumes = opened(tmp_path)
    volumes.create("one")
    volumes.create("two")
    with pytest.raises(Unavailable, match="no more"):
        volumes.create("three")


def test_of_many_who_make_one_name_one_does(tmp_path: Path) -> None:
    start = Barrier(8)

    def late_disk(path: Path, size_bytes: int) -> None:
        start.wait()
        plain_disk(path, size_bytes)

    volumes = opened(tmp_path, late_disk)

    def attempt(number: int) -> str:
        try:
            return volumes.create("data", labels={"by": str(number)}).labels["by"]
        except Conflict:
            return ""

    with ThreadPoolExecutor(8) as pool:
        winners = [winner for winner in pool.map(attempt, range(8)) if winner]
    assert len(winners) == 1
    assert volumes.inspect("data").labels == {"by": winners[0]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_what_is_obtained_keeps_what_is_there(tmp_path: Path) -> None:
    volumes = opened(tmp_path)
    assert volumes.obtain("data", MIN_BYTES).stat().st_size == MIN_BYTES
    assert volumes.obtain("data", 2 * MIN_BYTES).stat().st_size == MIN_BYTES


def test_a_disk_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path, size_bytes: int) -> None:
        plain_disk(path, size_bytes)
        raise Unavailable("mke2fs is not installed")

    def full(path: Path, size_bytes: int) -> None:
        raise OSError(28, "No space left on device", str(path))

    for make in (fail, full):
        with pytest.raises(Unavailable):
            opened(tmp_path, make).create("data")
        assert not list(tmp_path.iterdir())


def test_a_damaged_volume_is_said_to_be_and_can_be_removed(tmp_path: Path) -> None:
    volumes = opened(tmp_path)
    for name, content in (("empty", b""), ("wrong", b"{}"), ("deep", b"[" * 50_000), ("bytes", b"\xff")):
        volumes.create(name)
        (tmp_path / name / "volume.json").write_bytes(content)
    volumes.create("no-disk")
    (tmp_path / "no-disk" / "disk.img").unlink()
    volumes.create("good")
    assert [one.name for one in volumes.find()] == ["good"]
    for name in ("empty", "wrong", "deep", "bytes", "no-disk"):
        with pytest.raises(Unavailable, match=name):
            volumes.inspect(name)
        volumes.remove(name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["good"]


DYING = """
import os, sys
from pathlib import Path
from hypercontainer.volume import store

root, action, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
count = 0

def dying(name):
    true = getattr(os, name)
    def call(*args, **more):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), 9)
        return true(*args, **more)
    setattr(os, name, call)

volumes = store.VolumeStore(root, lambda path, size: path.write_bytes(b""))
for name in ("mkdir", "open", "fsync", "rename", "unlink", "rmdir"):
    dying(name)
volumes.create("data") if action == "create" else volumes.remove("data")
"""


@pytest.mark.parametrize("action", ["create", "remove"])
def test_whenever_it_dies_the_volume_is_there_or_it_is_not(tmp_path: Path, action: str) -> None:
    """Killed before its first, second, ... call that changes something, until it gets through."""
    for step in range(1, 60):
        root = tmp_path / str(step)
        if action == "remove":
            opened(root).create("data")
        done = subprocess.run([sys.executable, "-c", DYING, root, action, str(step)], check=False)
        volumes = opened(root)
        left = [entry.name for entry in root.iterdir()]
        assert left in ([], ["data"])
        for name in left:
            assert volumes.inspect(name).name == "data"
        if done.returncode == 0:
            assert left == (["data"] if action == "create" else [])
            assert step > 5
            return
        assert done.returncode == -signal.SIGKILL
    raise AssertionError("it never gets through")


def test_a_root_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HyperError, match="file"):
        opened(tmp_path / "file")


def test_a_volume_grows_and_never_gets_smaller(tmp_path: Path) -> None:
    volumes = opened(tmp_path / "volumes")
    made = volumes.create("data", 64 << 20, {"app": "db"})
    assert volumes.grow("data", (100 << 20) - 5) == 100 << 20
    told = volumes.inspect("data")
    assert (told.size_bytes, told.labels, told.created) == (100 << 20, {"app": "db"}, made.created)
    assert volumes.disk("data").stat().st_size == 100 << 20
    with pytest.raises(InvalidArgument, match="does not get smaller"):
        volumes.grow("data", 64 << 20)
    with pytest.raises(InvalidArgument, match="possible"):
        volumes.grow("data", MAX_BYTES + 1)
    with pytest.raises(NotFound):
        volumes.grow("other", 1 << 30)
    assert [entry.name for entry in (tmp_path / "volumes").iterdir()] == ["data"]


def test_growth_that_was_broken_off_goes_on_with_the_next(tmp_path: Path) -> None:
    """Killed after its disk has grown, and before that was written down."""
    volumes = opened(tmp_path / "volumes")
    volumes.create("data", 64 << 20)
    os.truncate(volumes.disk("data"), 1 << 30)
    assert opened(tmp_path / "volumes").inspect("data").size_bytes == 64 << 20
    assert volumes.grow("data", 1 << 29) == 1 << 29
    assert volumes.disk("data").stat().st_size == 1 << 30, "no byte that may be in use is cut off"
