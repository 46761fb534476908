"""Opens what disks consist of."""

from __future__ import annotations

import contextlib
import os
from functools import partial

from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.driver import DiskSpec
from hypercontainer.linux.users import as_user, open_theirs


def open_extents(disk: DiskSpec, stack: contextlib.ExitStack) -> list[int]:
    """The disk's files, open as the hypervisor needs them; raises ``InvalidArgument`` for one that is too short."""
    fds = []
    flags = (os.O_RDONLY if disk.read_only else os.O_RDWR) | os.O_CLOEXEC
    for path, size in disk.extents:
        if disk.user is None:
            fd = os.open(path, flags)
        else:
            theirs = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
            fd = as_user(disk.user, partial(open_theirs, str(path), theirs))
        stack.callback(os.close, fd)
        if disk.format == "raw" and os.fstat(fd).st_size < size:
            raise InvalidArgument(f"disk {disk.serial}: {path} has fewer than {size} bytes")
        if disk.locked and locks.taken(fd, read_only=disk.read_only):
            raise Conflict(
                f"disk {path} is in use by another virtual machine",
                hint="one writes to it alone, or any number only read it",
            )
        fds.append(fd)
    return fds
