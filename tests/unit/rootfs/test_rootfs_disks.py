"""Writable disks as the guest takes them."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from hypercontainer.errors import Conflict, InvalidArgument, Unavailable
from hypercontainer.rootfs import create_writable_disk
from hypercontainer.rootfs.writable import mkfs_argv

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
    monkeypatch.setattr("hypercontainer.rootfs.writable.PROGRAM_PATH", "/nowhere")
    create_writable_disk(tmp_path / "b", 64 * MIB, tmp_path / "cache")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(Unavailable, match="e2fsprogs"):
        create_writable_disk(tmp_path / "c", 65 * MIB, tmp_path / "cache")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "cache"]
    assert len(os.listdir(tmp_path / "cache")) == 1


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


def test_mkfs_command_line() -> None:
    argv = mkfs_argv("/sbin/mke2fs", Path("/x"), 10 << 30)
    features = argv.pop(argv.index("-O") + 1)
    assert features.split(",")[0] == "none", "the host's mke2fs.conf would add to them"
    assert " ".join(argv) == (
        "/sbin/mke2fs -q -F -t ext4 -b 4096 -I 256 -i 16384 -m 0 -L hyper -O -J size=16 "
        "-E lazy_itable_init=0,lazy_journal_init=1,nodiscard,root_owner=0:0 -- /x"
    )
