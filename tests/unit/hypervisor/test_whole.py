"""Several files as one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.hypervisor.whole import one_file, sweep

SECTOR = 512


def written(path: Path, content: bytes, size: int) -> Path:
    with path.open("wb") as file:
        file.write(content)
        file.truncate(size)
    return path


@pytest.fixture
def disk(tmp_path: Path) -> DiskSpec:
    first = written(tmp_path / "first", b"first", 3 * SECTOR)
    second = written(tmp_path / "second", b"", 1 << 20)
    with second.open("r+b") as file:
        file.seek((1 << 20) - SECTOR)
        file.write(b"last")
    return DiskSpec("image", ((first, SECTOR), (second, 1 << 20), (first, 2 * SECTOR)), read_only=True)


def test_they_are_one_after_the_other_and_made_once(disk: DiskSpec, tmp_path: Path) -> None:
    whole = one_file(disk, tmp_path / "state/whole")
    ((path, size),) = whole.extents
    assert (whole.serial, whole.read_only, whole.locked, size) == (
        "image",
        True,
        True,
        (1 << 20) + 3 * SECTOR,
    )
    expected = b"".join(each.read_bytes()[:length] for each, length in disk.extents)
    assert path.read_bytes() == expected
    assert path.stat().st_blocks * 512 < 1 << 19  # holes are none of its bytes
    made = path.stat().st_ino
    assert one_file(disk, path.parent) == whole
    assert path.stat().st_ino == made
    assert os.listdir(path.parent) == [path.name]


def test_another_content_is_another_file(disk: DiskSpec, tmp_path: Path) -> None:
    first = one_file(disk, tmp_path / "whole")
    written(disk.extents[0][0], b"other", 3 * SECTOR)
    assert one_file(disk, tmp_path / "whole").extents != first.extents


def test_one_file_stays_what_it_is(disk: DiskSpec, tmp_path: Path) -> None:
    alone = DiskSpec("image", disk.extents[:1], read_only=True)
    assert one_file(alone, tmp_path / "whole") is alone
    assert not (tmp_path / "whole").exists()


def test_one_that_is_too_short_is_refused(disk: DiskSpec, tmp_path: Path) -> None:
    os.truncate(disk.extents[1][0], SECTOR)
    with pytest.raises(InvalidArgument, match="second has fewer"):
        one_file(disk, tmp_path / "whole")
    assert os.listdir(tmp_path / "whole") == []


def test_what_no_vm_has_goes_after_some_time(disk: DiskSpec, tmp_path: Path) -> None:
    ((path, _),) = one_file(disk, tmp_path / "whole").extents
    sweep(path.parent)
    assert path.exists()
    os.utime(path, (0, 0))
    fd = os.open(path, os.O_RDONLY)
    assert locks.take(fd, read_only=True)
    sweep(path.parent)
    assert path.exists()
    os.close(fd)
    sweep(path.parent)
    assert not path.exists()
