"""Writable disks as the guest takes them."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercontainer.errors import Conflict, InvalidArgument, Unavailable
from hypercontainer.rootfs import create_disk_with_room, create_writable_disk
from hypercontainer.rootfs.ext4 import Empty, crc32c, has_superblock

MIB = 1 << 20
SIZE = 2048 * MIB


def test_writable_disk_is_a_clean_small_ext4(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    create_writable_disk(disk, SIZE - 100, tmp_path / "cache")
    assert disk.stat().st_size == SIZE
    assert disk.stat().st_blocks * 512 < MIB
    checked = subprocess.run(["/usr/sbin/e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    listed = subprocess.run(
        ["/usr/sbin/debugfs", "-R", "ls -p /", disk], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split("/")[5] for line in listed.split()] == [".", ".."]
    described = subprocess.run(
        ["/usr/sbin/dumpe2fs", disk], capture_output=True, text=True, check=True
    ).stdout
    assert "has_journal" in described
    assert "Reserved block count:     0" in described
    groups = [line for line in described.splitlines() if line.startswith("Group ") and "Blocks" in line]
    assert len(groups) == SIZE // (128 * MIB)
    assert all("ITABLE_ZEROED" in line for line in groups), "the guest would have to initialise the tables"


def test_disks_of_one_size_are_copies_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_writable_disk(tmp_path / "a", 64 * MIB, tmp_path / "cache")
    assert len(os.listdir(tmp_path / "cache")) == 1
    create_writable_disk(tmp_path / "b", 64 * MIB, tmp_path / "cache")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    monkeypatch.setattr(Empty, "pieces", full_disk)
    with pytest.raises(Unavailable):
        create_writable_disk(tmp_path / "c", 65 * MIB, tmp_path / "cache")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "cache"]
    assert len(os.listdir(tmp_path / "cache")) == 1


def full_disk(_: Empty) -> Iterator[tuple[int, bytes]]:
    yield 0, b"something"
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# One group, whole or not; a last one that is too small, or just not; a second flex group of one; backups.
@pytest.mark.parametrize(
    "mib", [64, 100, 128, 129, 130, 131, 1024, 2048, 2049, 2051, 9 * 128 + 7, 10240, 51200]
)
def test_every_size_is_a_clean_ext4(tmp_path: Path, mib: int) -> None:
    disk = tmp_path / "disk.img"
    create_writable_disk(disk, mib * MIB + 4096, tmp_path / "cache")
    done = subprocess.run(["/usr/sbin/e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("room", [1, MIB, 100 * MIB + 1, 123 * MIB, 1010 * MIB, 10240 * MIB])
def test_a_disk_has_the_room_that_is_wanted_and_little_more(room: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    create_disk_with_room(disk, room, tmp_path / "cache")
    done = subprocess.run(["/usr/sbin/e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    shown = subprocess.run(["/usr/sbin/dumpe2fs", "-h", disk], capture_output=True, text=True, check=True)
    told = dict(line.split(":", 1) for line in shown.stdout.splitlines() if ":" in line)
    free, blocks = int(told["Free blocks"]), int(told["Block count"])
    room_there = (free - min(blocks // 50, 4096)) * 4096
    assert 0 <= room_there - room - (64 << 10) < (64 << 10) + 4096


def test_the_features_and_the_layout_are_those_of_mke2fs(tmp_path: Path) -> None:
    """Whose own answer to the same wishes differs in nothing but UUID, seed, times and what it has written so far."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    create_writable_disk(ours, 2048 * MIB, tmp_path / "cache")
    with theirs.open("xb") as file:
        file.truncate(2048 * MIB)
    features = (
        "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
        "dir_nlink,extra_isize,metadata_csum"
    )
    options = (
        "-q -F -t ext4 -b 4096 -I 256 -i 16384 -m 0 -L hyper -J size=16 -E lazy_journal_init=1 -O".split()
    )
    subprocess.run(["/usr/sbin/mke2fs", *options, features, theirs], check=True)
    subprocess.run(
        ["/usr/sbin/debugfs", "-w", "-R", "rmdir lost+found", theirs], check=True, capture_output=True
    )
    assert described(ours) == described(theirs)


def described(disk: Path) -> list[str]:
    told = subprocess.run(["/usr/sbin/dumpe2fs", "-h", disk], capture_output=True, text=True, check=True)
    own = (
        "Filesystem UUID",
        "Filesystem created",
        "Last write",
        "Last checked",
        "Lifetime",
        "Directory Hash Seed",
    )
    return [
        line for line in told.stdout.splitlines() if not line.startswith((*own, "Checksum:", "Journal seq"))
    ]


def test_the_largest_disk_is_written_in_seconds() -> None:
    written = 0
    for at, data in Empty(1 << 44, 16 * MIB, bytes(32), 0).pieces():
        assert at + len(data) <= 1 << 44
        written += len(data)
    assert written < 600 * MIB


def test_castagnoli() -> None:
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283  # RFC 3720's polynomial, the catalogue's check


def test_groups_with_a_superblock() -> None:
    assert [group for group in range(130) if has_superblock(group)] == [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]


def test_a_disk_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("precious")
    with pytest.raises(Conflict):
        create_writable_disk(tmp_path / "disk", 64 * MIB, tmp_path / "cache")
    assert (tmp_path / "disk").read_text() == "precious"


@pytest.mark.parametrize("size", [0, -1, 63 * MIB, 1 << 50])
def test_sizes_that_cannot_be(tmp_path: Path, size: int) -> None:
    with pytest.raises(InvalidArgument):
        create_writable_disk(tmp_path / "disk", size, tmp_path / "cache")


def test_makers_at_the_same_time(tmp_path: Path) -> None:
    threads = [
        threading.Thread(
            target=create_writable_disk, args=(tmp_path / str(number), 64 * MIB, tmp_path / "cache")
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2", "3", "cache"]
