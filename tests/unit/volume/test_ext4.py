"""What is known of an ext4 without mounting it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hypercontainer.rootfs import create_writable_disk
from hypercontainer.volume.ext4 import SUPERBLOCK_AT, is_smaller, needs_recovery


def test_a_journal_that_was_left_is_seen(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    create_writable_disk(disk, 64 << 20, tmp_path / "cache")
    assert not needs_recovery(disk)
    with disk.open("r+b") as file:
        file.seek(SUPERBLOCK_AT + 96)
        flags = int.from_bytes(file.read(4), "little")
        file.seek(SUPERBLOCK_AT + 96)
        file.write((flags | 4).to_bytes(4, "little"))
    assert needs_recovery(disk)


@pytest.mark.parametrize("content", [b"", b"\xff" * 1100, bytes(4096)])
def test_what_is_no_ext4_needs_none(tmp_path: Path, content: bytes) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(content)
    assert not needs_recovery(disk)
    assert not is_smaller(disk)


@pytest.mark.parametrize("size_mib", [64, 128, 129, 133, 1000, 20_000])
def test_a_disk_that_has_got_larger_is_seen(tmp_path: Path, size_mib: int) -> None:
    """Its last group may be too small to be of use, as it is made."""
    disk = tmp_path / "disk"
    create_writable_disk(disk, size_mib << 20, tmp_path / "cache")
    assert not is_smaller(disk)
    os.truncate(disk, disk.stat().st_size + (16 << 20))
    assert is_smaller(disk)
