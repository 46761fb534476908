"""The disks of such a VM: what it can have, and what its process is given of each."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from hypercontainer.errors import Conflict, NotSupported
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.extents import open_extents
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.hypervisor.vmm.places import seen_disk

HINT = "run it on QEMU: hypervisor qemu"


def check(disks: Sequence[DiskSpec], title: str) -> None:
    """Raises ``NotSupported``."""
    for disk in disks:
        problem = (
            f"disks of format {disk.format}"
            if disk.format != "raw"
            else "files of another user's as disks"
            if disk.user is not None
            else "block devices as disks"
            if disk.device
            else ""
        )
        if problem:
            raise NotSupported(f"disk {disk.serial}: {title} has no {problem} here", hint=HINT)


def held(disks: Sequence[DiskSpec], fds: contextlib.ExitStack) -> list[int]:
    """Their files, open, with QEMU's locks on what QEMU would lock: whoever inherits the descriptors has these.

    Raises what ``open_extents`` does.
    """
    found = []
    for disk in disks:
        (fd,) = open_extents(disk, fds)
        if (disk.locked or not disk.read_only) and not locks.take(fd, read_only=disk.read_only):
            raise Conflict(f"disk {disk.extents[0][0]} is in use by another virtual machine")
        found.append(fd)
    return found


def granted(disks: Sequence[DiskSpec], *, read_only: bool) -> tuple[tuple[str, str], ...]:
    """Where those are that are, or are not, ``read_only``, and by which name the process finds them."""
    return tuple(
        (str(disk.extents[0][0]), seen_disk(disk.serial)) for disk in disks if disk.read_only == read_only
    )
