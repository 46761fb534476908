"""Volumes that are directories, and those that become of the other kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.volume import shared
from hypercontainer.volume.store import VolumeStore

DEEP = 3000


def make_disk(path: Path, size_bytes: int) -> None:
    with path.open("xb") as file:
        file.truncate(size_bytes)


def store_at(place: Path, kind: str = "disk") -> VolumeStore:
    return VolumeStore(place / "volumes", make_disk, kind)


def test_a_shared_volume_is_a_directory(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    made = store.create("s", labels={"a": "b"}, kind="shared")
    assert (made.kind, made.size_bytes, made.labels) == ("shared", 0, {"a": "b"})
    files = Path(made.disk)
    assert files == store.content("s") == tmp_path / "volumes/s/files"
    assert files.stat().st_mode & 0o7777 == 0o755
    (files / "f").write_bytes(bytes(1 << 20))
    assert store.inspect("s").used_bytes >= 1 << 20
    assert not store.make_missing("s")
    store.remove("s")
    assert store.find() == []


def test_kinds_are_chosen(tmp_path: Path) -> None:
    store = store_at(tmp_path, "shared")
    assert store.create("a").kind == "shared"
    assert store.create("b", 64 << 20).kind == "disk"  # of which a size is said
    assert store.create("c", kind="disk").kind == "disk"
    with pytest.raises(InvalidArgument, match="has no size"):
        store.create("d", 64 << 20, kind="shared")
    with pytest.raises(InvalidArgument, match="type"):
        store.create("d", kind="nfs")


@pytest.mark.parametrize("kind", ["disk", "shared"])
def test_another_takes_its_place_at_once(tmp_path: Path, kind: str) -> None:
    store = store_at(tmp_path)
    before = store.create("v", labels={"a": "b"}, kind={"disk": "shared", "shared": "disk"}[kind])
    with pytest.raises(RuntimeError), store.converted("v", kind):
        raise RuntimeError
    assert store.inspect("v") == before
    with store.converted("v", kind) as new:
        assert store.kind(new) == kind
        assert store.kind("v") == before.kind
        if kind == "shared":
            (store.content(new) / "f").write_text("x")
    after = store.inspect("v")
    assert (after.kind, after.created, after.labels) == (kind, before.created, before.labels)
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == ["v"]


def test_what_is_left_of_a_conversion_goes(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.create("v", kind="shared")
    left = tmp_path / "volumes/.new-1/files/a/b"
    left.mkdir(parents=True)
    again = store_at(tmp_path)
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == ["v"]
    assert again.kind("v") == "shared"


def test_untouched(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.create("s", kind="shared")
    store.create("d")
    assert store.untouched("s")
    assert store.untouched("d")
    (store.content("s") / "f").touch()
    with store.content("d").open("r+b") as file:
        file.write(b"x")
    os.utime(store.content("d"))
    assert not store.untouched("s")
    assert not store.untouched("d")


def test_a_tree_is_removed_however_deep(tmp_path: Path) -> None:
    top = tmp_path / "gone"
    top.mkdir()
    (top / "outside").symlink_to(tmp_path)
    here = os.open(top, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        here = inner
    os.close(here)
    (tmp_path / "kept").touch()
    shared.remove_tree(top)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_there_is_one_of_this_name(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.create("s", kind="shared")
    with pytest.raises(Conflict, match="already"):
        store.create("s")
