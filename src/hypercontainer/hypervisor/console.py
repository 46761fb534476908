"""The last 64 KiB of a guest's serial console, in a file that never grows.

The guest decides how much it prints, so nothing may grow with it, and nobody may wait for a reader: QEMU's end is
a socket, which it discards output for while no daemon is connected and which the daemon always drains.  What was
read goes into a ring in the run directory, so that it survives both the guest's crash and the daemon's.

    bytes 0-7   how many bytes were ever written, little endian
    bytes 8-    the ring; byte N of the stream is at 8 + N mod CAPACITY_BYTES
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import Self

CAPACITY_BYTES = 65536
_HEAD = struct.Struct("<Q")


class ConsoleRing:
    """Owns the file's descriptor; one writer at a time."""

    def __init__(self, fd: int, written: int) -> None:
        self._fd = fd
        self._written = written

    @classmethod
    def create(cls, path: Path) -> Self:
        """Raises ``OSError``; a full disk is found out here, not on the way."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _HEAD.size + CAPACITY_BYTES)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, 0)

    @classmethod
    def open(cls, path: Path) -> Self:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        head = os.pread(fd, _HEAD.size, 0)
        return cls(fd, _HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0)

    def write(self, data: bytes) -> None:
        """Appends; a failure loses console output and nothing else."""
        skipped = max(0, len(data) - CAPACITY_BYTES)
        data = data[skipped:]
        position = (self._written + skipped) % CAPACITY_BYTES
        until_end = CAPACITY_BYTES - position
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, data[:until_end], _HEAD.size + position)
            if len(data) > until_end:
                os.pwrite(self._fd, data[until_end:], _HEAD.size)
            self._written += skipped + len(data)
            os.pwrite(self._fd, _HEAD.pack(self._written), 0)

    def tail(self, max_bytes: int = CAPACITY_BYTES) -> bytes:
        """The last bytes written; none once the ring is closed."""
        if self._fd < 0:
            return b""
        ring = os.pread(self._fd, CAPACITY_BYTES, _HEAD.size)
        if self._written <= CAPACITY_BYTES:
            whole = ring[: self._written]
        else:
            position = self._written % CAPACITY_BYTES
            whole = ring[position:] + ring[:position]
        return whole[-max_bytes:] if max_bytes > 0 else b""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
