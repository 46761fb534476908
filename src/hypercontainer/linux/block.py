"""Block devices of the host, opened so that nobody else uses them.

With O_EXCL and without O_CREAT a block device is opened by one at a time, as the kernel itself does for what is
mounted, a swap area, or a part of a RAID, a volume group or another device; of its partitions too.  It is held until
the last copy of the descriptor is closed, whoever has that.
"""

from __future__ import annotations

import errno
import os

from hypercontainer.errors import Conflict
from hypercontainer.linux.users import open_theirs

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_unheld(path: str, *, write: bool) -> int:
    """By the thread's rights.  To write: a descriptor by which the device is held.  To read: of one that is not held
    now, so that any number may.  Raises ``Conflict`` where it is held, and OSError."""
    try:
        if write:
            return open_theirs(path, _FLAGS | os.O_RDWR | os.O_EXCL)
        os.close(open_theirs(path, _FLAGS | os.O_RDONLY | os.O_EXCL))
        return open_theirs(path, _FLAGS | os.O_RDONLY)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise held(path) from error
        raise


def held(path: str) -> Conflict:
    return Conflict(
        f"disk {path}: this device is in use, by the host or by another virtual machine",
        hint="is it, or a part of it, mounted, or in use by LVM, RAID or swap? `lsblk` shows it",
    )
