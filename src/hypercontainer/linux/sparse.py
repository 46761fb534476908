"""Files with holes (lseek(2), SEEK_DATA), and copies of them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator

COPY_BYTES = 1 << 16
_FICLONE = 0x40049409
# What a file system says that has no such copies, or none to there.
_NO_CLONE = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM})


def data_ranges(fd: int, size_bytes: int, align_bytes: int = 1) -> Iterator[tuple[int, int]]:
    """``(start, end)`` of what is no hole, in order, widened to multiples of ``align_bytes`` without overlapping."""
    end = 0
    while end < size_bytes:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        end = min(size_bytes, end + -end % align_bytes)
        yield start - start % align_bytes, end


def write_all(fd: int, data: bytes, at: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], at + written)


def clone(source: int, target: int) -> bool:
    """Makes an empty file the same as another, with which it shares what is on the disk; False where the file system
    cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def copy(source: int, target: int, before: Callable[[], None] = lambda: None) -> None:
    """Into an empty file, leaving out what is a hole or zero; ``before`` each piece of data."""
    size = os.fstat(source).st_size
    os.truncate(target, size)
    for start, end in data_ranges(source, size):
        for at in range(start, end, COPY_BYTES):
            before()
            piece = os.pread(source, min(COPY_BYTES, end - at), at)
            if piece.count(0) != len(piece):
                write_all(target, piece, at)
