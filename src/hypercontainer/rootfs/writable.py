"""The writable disk of a container: a sparse raw file with an empty ext4, copied from one made once per size."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.linux import disk, sparse
from hypercontainer.rootfs import ext4

MIB = 1 << 20
BLOCK_BYTES = ext4.BLOCK_BYTES
MIN_BYTES = 64 * MIB
MAX_BYTES = 1 << 44  # 16 TiB, the largest file of an ext4 host
MAX_ROOM_BYTES = MAX_BYTES - (1 << 40)
FORMAT_VERSION = 3  # of the cached files: raise it with any change of what is in them


# What the first directories on a disk take of its room, and the tables of files that lie in many places.
DIRECTORIES_BYTES = 64 << 10
_STEP_BYTES = 64 << 10


def create_writable_disk(path: Path, size_bytes: int, cache: Path) -> None:
    """Make ``path``, a disk of ``size_bytes`` (rounded up to 4096) that takes some hundred KiB of the host's.

    ``cache`` is a folder for the empty disks of each size.  Raises Conflict where ``path`` exists,
    InvalidArgument for a size that cannot be, Unavailable where the host cannot make it.
    """
    if not MIN_BYTES <= size_bytes <= MAX_BYTES:
        raise InvalidArgument(
            f"writable disk of {size_bytes} bytes: from {MIN_BYTES} to {MAX_BYTES} are possible"
        )
    _create(path, _whole(size_bytes), cache)


def create_disk_with_room(path: Path, room_bytes: int, cache: Path) -> None:
    """The same, for files of ``room_bytes`` together, 1 to ``MAX_ROOM_BYTES``, and little more."""
    _create(path, _size_with_room(_whole(room_bytes) + DIRECTORIES_BYTES), cache)


def _whole(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _size_with_room(room_bytes: int) -> int:
    size_bytes = room_bytes
    while (short := room_bytes - ext4.Empty(size_bytes, _journal_bytes(size_bytes), b"", 0).room_bytes) > 0:
        # The beginning of a last group is of no use, and no step there makes the next one shorter.
        size_bytes += max(short, _STEP_BYTES)
    return size_bytes


def _journal_bytes(size_bytes: int) -> int:
    return (4 if size_bytes < 1024 * MIB else 16) * MIB


def _create(path: Path, size_bytes: int, cache: Path) -> None:
    pristine = cache / f"ext4-v{FORMAT_VERSION}-{size_bytes}.img"
    with _host_disk(path):
        if not pristine.exists():
            _make_pristine(pristine, size_bytes)
        _copy_sparse(pristine, path)


def _make_pristine(pristine: Path, size_bytes: int) -> None:
    """Two makers do no harm."""
    pristine.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    empty = ext4.Empty(
        size_bytes, _journal_bytes(size_bytes), os.urandom(ext4.RANDOM_BYTES), int(time.time())
    )
    with tempfile.TemporaryDirectory(prefix=".mkfs-", dir=pristine.parent) as folder:
        made = Path(folder, "made")
        with made.open("xb", buffering=0) as file:
            file.truncate(size_bytes)
            for at, data in empty.pieces():
                sparse.write_all(file.fileno(), data, at)
        made.rename(pristine)


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy ``source`` to the new file ``target``, leaving out what is a hole or zero; nothing is left of a failure."""
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        try:
            sparse.copy(reader.fileno(), writer.fileno())
        except BaseException:
            target.unlink()
            raise


@contextmanager
def _host_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise Conflict(f"writable disk {path} exists already") from None
    except OSError as error:
        raise disk.unavailable("cannot make a writable disk", path, error) from error
