"""Files with holes (lseek(2), SEEK_DATA)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator


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
