"""Several files as one, for hypervisors whose disks are one file each.

What they are made of names them, so that all VMs of an image have the same one.  The file system shares their blocks
with the files' where it can.  They are kept: made again, they cost the image's size.  One is removed when nobody has
had it for some time and another one is made.  All calls block, and raise ``OSError``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.linux import sparse

SUFFIX = ".raw"
# Nobody who is about to open one takes so long; and so long they are kept.
KEPT_S = 24 * 3600
_COPY_BYTES = 1 << 30


def one_file(disk: DiskSpec, folder: Path) -> DiskSpec:
    """The same disk, of one file in ``folder`` where it is of several; that is locked while a VM has it.  Raises
    ``InvalidArgument`` for a file that is too short."""
    if len(disk.extents) == 1:
        return disk
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as fds:
        files = []
        for path, size in disk.extents:
            files.append((os.open(path, os.O_RDONLY | os.O_CLOEXEC), size))
            fds.callback(os.close, files[-1][0])
            if os.fstat(files[-1][0]).st_size < size:
                raise InvalidArgument(f"disk {disk.serial}: {path} has fewer than {size} bytes")
        whole = folder / f"{_key(files)}{SUFFIX}"
        try:
            os.utime(whole)
        except FileNotFoundError:
            sweep(folder)
            _make(whole, files)
    return replace(disk, extents=((whole, sum(size for _, size in disk.extents)),), locked=True)


def _key(files: Sequence[tuple[int, int]]) -> str:
    known = hashlib.sha256()
    for fd, size in files:
        info = os.fstat(fd)
        known.update(f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns} {size}\n".encode())
    return known.hexdigest()[:32]


def _make(whole: Path, files: Sequence[tuple[int, int]]) -> None:
    """It is there complete, or not at all; who makes the same at the same time makes it, too."""
    new = os.open(whole.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(new, sum(size for _, size in files))
        start = 0
        for fd, size in files:
            _copy(fd, new, size, start)
            start += size
        os.fsync(new)
        with contextlib.suppress(FileExistsError):
            os.link(f"/proc/self/fd/{new}", whole, src_dir_fd=new)  # which has Python follow the link
    finally:
        os.close(new)


def _copy(source: int, target: int, size: int, start: int) -> None:
    """Its holes stay holes."""
    for at, end in sparse.data_ranges(source, size):
        while at < end:
            done = os.copy_file_range(source, target, min(end - at, _COPY_BYTES), at, start + at)
            if done == 0:
                raise InvalidArgument("a disk's file has just become shorter")
            at += done


def sweep(folder: Path, kept_s: float = KEPT_S) -> None:
    """Removes those that no VM has, and that nobody asked for since so long."""
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_mtime < time.time() - kept_s and not locks.taken(fd, read_only=False):
                    path.unlink()
            finally:
                os.close(fd)
