"""Snapshots: whole or not there, bounded, and put back in one step."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Unavailable
from hypercontainer.linux import disk, sparse
from hypercontainer.volume import snapshots
from hypercontainer.volume.store import VolumeStore

MEBIBYTE = 1 << 20


def plain_disk(path: Path, size_bytes: int) -> None:
    with path.open("xb") as file:
        file.write(b"first")
        file.truncate(size_bytes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = VolumeStore(tmp_path / "volumes", plain_disk)
    store.create("data", 64 * MEBIBYTE)
    return store.disk("data").parent


def taken(folder: Path, name: str) -> Path:
    return snapshots.keep(snapshots.copy(folder / "disk.img", folder), name).path


def test_what_was_written_since_is_not_in_it_and_goes_when_it_is_put_back(folder: Path) -> None:
    first = taken(folder, "one")
    with (folder / "disk.img").open("r+b") as file:
        file.write(b"later")
    assert first.read_bytes()[:5] == b"first" and first.stat().st_size == 64 * MEBIBYTE
    assert first.stat().st_blocks < 64, "holes stay holes"
    os.truncate(folder / "disk.img", 128 * MEBIBYTE)
    snapshots.put(snapshots.copy(first, folder), folder / "disk.img")
    assert (folder / "disk.img").read_bytes()[:5] == b"first"
    assert (folder / "disk.img").stat().st_size == 128 * MEBIBYTE, "a volume keeps its size"
    assert [each.name for each in snapshots.kept(folder)] == ["one"]


def test_names_are_checked_and_made_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = snapshots.check_new(folder, None)
    taken(folder, made)
    monkeypatch.setattr(time, "strftime", lambda *_: made)
    assert snapshots.check_new(folder, None) == f"{made}-2"
    for wrong in ("", "../x", ".new-x", "a/b", "x" * 129):
        with pytest.raises(InvalidArgument):
            snapshots.check_new(folder, wrong)
        with pytest.raises(NotFound):
            snapshots.find(folder, wrong)
    with pytest.raises(Conflict, match=made):
        snapshots.check_new(folder, made)
    copied = snapshots.copy(folder / "disk.img", folder)
    with pytest.raises(Conflict, match=made):
        snapshots.keep(copied, made)
    monkeypatch.setattr(snapshots, "SNAPSHOTS_MAX", 1)
    with pytest.raises(Unavailable, match="takes no more"):
        snapshots.check_new(folder, "another")


def test_what_a_killed_process_left_is_swept(folder: Path, tmp_path: Path) -> None:
    taken(folder, "kept")
    left = snapshots.copy(folder / "disk.img", folder)
    VolumeStore(tmp_path / "volumes", plain_disk)
    assert not left.exists() and [each.name for each in snapshots.kept(folder)] == ["kept"]


def test_a_full_disk_leaves_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(sparse, "clone", lambda *_: False)
    monkeypatch.setattr(disk, "keep_room", full)
    with pytest.raises(OSError, match="full"):
        snapshots.copy(folder / "disk.img", folder)
    assert list((folder / "snapshots").iterdir()) == []


def test_they_are_counted_with_their_volume(folder: Path, tmp_path: Path) -> None:
    store = VolumeStore(tmp_path / "volumes", plain_disk)
    assert (store.inspect("data").snapshots, store.inspect("data").snapshots_bytes) == (0, 0)
    taken(folder, "one")
    told = store.inspect("data")
    assert told.snapshots == 1 and told.snapshots_bytes > 0
