"""A user's file as a disk: what has to be true of it before a hypervisor sees it.

The format is what the user says, never what the content looks like: a guest that may write to a raw disk could
otherwise turn it into a qcow2 whose header names any file of the host.  A qcow2 file is taken only where its header
names no other file; QEMU is told the same (``backing`` null), so that a header changed afterwards gains nothing.
Source: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument, NotFound, NotSupported, Unavailable
from hypercontainer.linux.users import User, as_user, open_theirs

FORMATS = ("raw", "qcow2")
SECTOR_BYTES = 512
MAX_BYTES = 1 << 44  # what a drive can hold
MAGIC = 0x514649FB
# The fields that versions 2 and 3 share; version 3 goes on with three sets of feature bits, refcount order, length.
_HEAD = struct.Struct(">IIQIIQIIQQIIQ")
_MORE = struct.Struct(">QQQII")
HEADER_BYTES = _HEAD.size + _MORE.size
# Incompatible: dirty (its refcounts are rebuilt), corrupt, an external data file, a compression type, wide L2 entries.
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = _DIRTY | _COMPRESSION | _EXTENDED_L2
_CLUSTER_BITS = range(9, 22)
_MAX_L1_BYTES = 32 << 20  # as QEMU has it
_MAX_REFCOUNT_ORDER = 6
_MAX_SNAPSHOTS = 65_536


@dataclass(frozen=True)
class DiskFile:
    """``file_bytes``: the length of the file; ``size_bytes``: of the disk that it is."""

    path: Path
    format: str
    size_bytes: int
    file_bytes: int


def check(path: str, format_: str, *, write: bool = True, user: User | None = None) -> DiskFile:
    """Opens it as ``user`` would.  What is raised names the file and what is wrong with it."""
    if format_ not in FORMATS:
        raise InvalidArgument(f"disk {path}: format {format_!r}: raw or qcow2, it is never guessed")
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"disk {path!r}: an absolute path")
    with _opened(path, write, user) as fd:
        file_bytes = os.fstat(fd).st_size
        if format_ == "qcow2":
            size_bytes = qcow2_size(path, os.pread(fd, HEADER_BYTES, 0), file_bytes)
        else:
            size_bytes = file_bytes
            _check_size(path, size_bytes)
    return DiskFile(Path(path), format_, size_bytes, file_bytes)


@contextmanager
def _opened(path: str, write: bool, user: User | None) -> Iterator[int]:
    """A descriptor of a regular file; a link is not followed, and nothing else is opened: a FIFO would block."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | (os.O_RDWR if write else os.O_RDONLY)

    def opened() -> int:
        kind = os.lstat(path).st_mode  # opening a device can have effects of its own
        if not stat.S_ISREG(kind):
            raise InvalidArgument(f"disk {path}: a regular file, not {_kind(kind)}")
        return open_theirs(path, flags)

    try:
        fd = as_user(user, opened)
    except FileNotFoundError:
        raise NotFound(f"disk {path}: there is no such file") from None
    except PermissionError:
        what = "read and write" if write else "read"
        raise InvalidArgument(f"disk {path}: whoever asks for it may not {what} it") from None
    except OSError as error:
        raise Unavailable(f"disk {path}: cannot be opened: {error.strerror or error}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidArgument(f"disk {path}: a regular file")
        yield fd
    finally:
        os.close(fd)


def qcow2_size(name: str, head: bytes, file_bytes: int) -> int:
    """The size of the disk in a qcow2 file that begins like ``head`` (``HEADER_BYTES`` of it are enough)."""
    if len(head) < _HEAD.size or file_bytes < _HEAD.size:
        raise InvalidArgument(f"disk {name}: too short for a qcow2 file")
    fields: tuple[int, ...] = _HEAD.unpack_from(head)
    magic, version, backing, _, cluster_bits, size, crypt, l1_entries, l1_at, _, _, snapshots, _ = fields
    if magic != MAGIC:
        raise InvalidArgument(f"disk {name}: not a qcow2 file", hint="is its format raw?")
    if version not in (2, 3):
        raise NotSupported(f"disk {name}: qcow2 version {version}: 2 or 3")
    if backing:
        hint = f"make it whole: qemu-img convert -O qcow2 {name} NEW"
        raise NotSupported(
            f"disk {name}: has a backing file, and another file is not opened for it", hint=hint
        )
    if crypt:
        raise NotSupported(f"disk {name}: is encrypted")
    if version == 3:
        _check_features(name, head, cluster_bits)
    _check_sizes(name, cluster_bits, size, l1_entries, l1_at, snapshots)
    return size


def _check_features(name: str, head: bytes, cluster_bits: int) -> None:
    if len(head) < HEADER_BYTES:
        raise InvalidArgument(f"disk {name}: too short for a qcow2 file of version 3")
    incompatible, _, _, refcount_order, length = _MORE.unpack_from(head, _HEAD.size)
    if incompatible & _DATA_FILE:
        raise NotSupported(f"disk {name}: keeps its data in another file, which is not opened for it")
    if incompatible & _CORRUPT:
        raise InvalidArgument(f"disk {name}: is marked as corrupt", hint="qemu-img check -r all")
    if unknown := incompatible & ~_KNOWN:
        raise NotSupported(f"disk {name}: needs features that are not known here: {unknown:#x}")
    if refcount_order > _MAX_REFCOUNT_ORDER:
        raise InvalidArgument(f"disk {name}: refcount order {refcount_order}: at most {_MAX_REFCOUNT_ORDER}")
    if not HEADER_BYTES <= length <= 1 << min(cluster_bits, _CLUSTER_BITS.stop):
        raise InvalidArgument(f"disk {name}: a header of {length} bytes")


def _check_sizes(
    name: str, cluster_bits: int, size: int, l1_entries: int, l1_at: int, snapshots: int
) -> None:
    if cluster_bits not in _CLUSTER_BITS:
        raise InvalidArgument(f"disk {name}: clusters of 2^{cluster_bits} bytes: 2^9 to 2^21")
    _check_size(name, size)
    if l1_entries * 8 > _MAX_L1_BYTES or l1_at % (1 << cluster_bits):
        raise InvalidArgument(f"disk {name}: its table of {l1_entries} entries at {l1_at} cannot be")
    if snapshots > _MAX_SNAPSHOTS:
        raise InvalidArgument(f"disk {name}: {snapshots} snapshots: at most {_MAX_SNAPSHOTS}")


def _check_size(name: str, size: int) -> None:
    if not 0 < size <= MAX_BYTES or size % SECTOR_BYTES:
        raise InvalidArgument(
            f"disk {name}: {size} bytes: a disk has a positive multiple of {SECTOR_BYTES}, at most {MAX_BYTES}"
        )


def _kind(mode: int) -> str:
    for test, word in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISFIFO, "a FIFO"),
    ):
        if test(mode):
            return word
    return "a socket"
