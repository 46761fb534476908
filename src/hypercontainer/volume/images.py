"""A user's file, or a block device, as a disk: what has to be true of it before a hypervisor sees it.

The format is what the user says, never what the content looks like: a guest that may write to a raw disk could
otherwise turn it into a qcow2 whose header names any file of the host.  A file of another format is taken only where
its header names no other file; QEMU is told the same (``backing`` null), so that a header changed afterwards gains
nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument, NotFound, Unavailable
from hypercontainer.linux import block
from hypercontainer.linux.users import User, as_user, open_theirs
from hypercontainer.volume import qcow2, vdi, vmdk
from hypercontainer.volume.sizes import check_size

FORMATS = ("raw", "qcow2", "vdi", "vmdk")


@dataclass(frozen=True)
class DiskFile:
    """``file_bytes``: the length of the file; ``size_bytes``: of the disk that it is.  ``device``: it is a block
    device, and ``path`` leads to it by no link."""

    path: Path
    format: str
    size_bytes: int
    file_bytes: int
    device: bool = False


def check(path: str, format_: str, *, write: bool = True, user: User | None = None) -> DiskFile:
    """Opens it as ``user`` would.  What is raised names the file and what is wrong with it."""
    if format_ not in FORMATS:
        raise InvalidArgument(f"disk {path}: format {format_!r}: {_either(FORMATS)}, it is never guessed")
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"disk {path!r}: an absolute path")
    with _opened(path, write, user) as (fd, found):
        device = stat.S_ISBLK(os.fstat(fd).st_mode)
        if device and format_ != "raw":
            raise InvalidArgument(f"disk {path}: is a block device, whose format is raw, not {format_}")
        file_bytes = os.lseek(fd, 0, os.SEEK_END)
        size_bytes = _size(path, format_, fd, file_bytes, write=write)
    return DiskFile(Path(found), format_, size_bytes, file_bytes, device)


def _size(path: str, format_: str, fd: int, file_bytes: int, *, write: bool) -> int:
    """Of the disk."""
    match format_:
        case "qcow2":
            return qcow2.qcow2_size(path, os.pread(fd, qcow2.HEADER_BYTES, 0), file_bytes)
        case "vdi":
            return vdi.vdi_size(path, os.pread(fd, vdi.HEADER_BYTES, 0), file_bytes)
        case "vmdk":
            footer = os.pread(fd, vmdk.FOOTER_BYTES, max(0, file_bytes + vmdk.FOOTER_AT))
            return vmdk.vmdk_size(path, os.pread(fd, vmdk.HEADER_BYTES, 0), footer, write=write)
    check_size(path, file_bytes)
    return file_bytes


@contextmanager
def _opened(path: str, write: bool, user: User | None) -> Iterator[tuple[int, str]]:
    """A descriptor of a regular file or a block device, and where that is.  A link is followed to a device alone, whose
    lasting names are links; and nothing else is opened: a FIFO would block."""
    try:
        fd, found = as_user(user, lambda: _open(path, write=write))
    except FileNotFoundError:
        raise NotFound(f"disk {path}: there is no such file") from None
    except PermissionError:
        what = "read and write" if write else "read"
        raise InvalidArgument(f"disk {path}: whoever asks for it may not {what} it") from None
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise block.held(path) from None
        raise Unavailable(f"disk {path}: cannot be opened: {error.strerror or error}") from error
    try:
        if not stat.S_ISREG(mode := os.fstat(fd).st_mode) and not stat.S_ISBLK(mode):
            raise InvalidArgument(f"disk {path}: a regular file or a block device")
        yield fd, found
    finally:
        os.close(fd)


def _open(path: str, *, write: bool) -> tuple[int, str]:
    """By the thread's rights."""
    kind = os.lstat(path).st_mode  # opening a device can have effects of its own
    found = path
    if stat.S_ISLNK(kind) and stat.S_ISBLK(os.stat(path).st_mode):
        found = os.path.realpath(path)
        kind = os.lstat(found).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):
        raise InvalidArgument(f"disk {path}: a regular file or a block device, not {_kind(kind)}")
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | (os.O_RDWR if write else os.O_RDONLY)
    return open_theirs(found, flags), found


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _kind(mode: int) -> str:
    for test, word in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISFIFO, "a FIFO"),
    ):
        if test(mode):
            return word
    return "a socket"
