"""Opens what disks consist of."""

from __future__ import annotations

import contextlib
import os
import stat
from functools import partial
from pathlib import Path

from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.linux import block
from hypercontainer.linux.users import as_user, open_theirs


def open_extents(disk: DiskSpec, stack: contextlib.ExitStack) -> list[int]:
    """The disk's files, open as the hypervisor needs them.  Raises ``InvalidArgument`` for one that is too short, and
    ``Conflict`` for one that somebody else has."""
    fds = []
    for path, size in disk.extents:
        fd = _open(disk, path)
        stack.callback(os.close, fd)
        right = stat.S_ISBLK if disk.device else stat.S_ISREG
        if not right(os.fstat(fd).st_mode):
            raise InvalidArgument(f"disk {disk.serial}: {path} is another kind of file by now")
        if disk.format == "raw" and os.lseek(fd, 0, os.SEEK_END) < size:
            raise InvalidArgument(f"disk {disk.serial}: {path} has fewer than {size} bytes")
        if disk.locked and locks.taken(fd, read_only=disk.read_only):
            raise Conflict(
                f"disk {path} is in use by another virtual machine",
                hint="one writes to it alone, or any number only read it",
            )
        fds.append(fd)
    return fds


def open_locked(disk: DiskSpec, stack: contextlib.ExitStack) -> list[int]:
    """As ``open_extents``, with QEMU's locks on what QEMU would lock: who is handed the descriptors has them."""
    opened = open_extents(disk, stack)
    if disk.locked or not disk.read_only:
        for fd, (path, _) in zip(opened, disk.extents, strict=True):
            if not locks.take(fd, read_only=disk.read_only):
                raise Conflict(f"disk {path} is in use by another virtual machine")
    return opened


def _open(disk: DiskSpec, path: Path) -> int:
    if disk.device:
        return as_user(disk.user, partial(block.open_unheld, str(path), write=not disk.read_only))
    flags = (os.O_RDONLY if disk.read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    if disk.user is None:
        return os.open(path, flags)
    return as_user(disk.user, partial(open_theirs, str(path), flags | os.O_NOFOLLOW))
