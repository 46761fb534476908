"""Whose QEMU has a disk: asked of the kernel, by the bytes that QEMU locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

import pytest

from hypercontainer.errors import Conflict
from hypercontainer.hypervisor import extents as disks
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.spec import DiskSpec

SETLK = 37  # F_OFD_SETLK
READER = (100, 201, 203)  # reads; no write or resize beside it
WRITER = (100, 101, 201, 203)


def held(path: Path, which: tuple[int, ...]) -> int:
    fd = os.open(path, os.O_RDONLY)
    for byte in which:
        fcntl.fcntl(fd, SETLK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
    return fd


@pytest.mark.parametrize(
    ("there", "read_only", "taken"),
    [
        ((), True, False),
        ((), False, False),
        (READER, True, False),
        (READER, False, True),
        (WRITER, True, True),
        (WRITER, False, True),
    ],
)
def test_who_may_have_a_disk_beside_another(
    tmp_path: Path, there: tuple[int, ...], read_only: bool, taken: bool
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(512))
    theirs, ours = held(path, there), os.open(path, os.O_RDONLY)
    assert locks.taken(ours, read_only=read_only) == taken
    disk = DiskSpec("v", ((path, 512),), read_only, locked=True)
    with contextlib.ExitStack() as stack:
        if taken:
            with pytest.raises(Conflict, match=f"disk {path} is in use by another virtual machine"):
                disks.open_extents(disk, stack)
        else:
            disks.open_extents(disk, stack)
    os.close(theirs)
    assert not locks.taken(ours, read_only=read_only)
    os.close(ours)
