"""A file that is written from its start to its end through one buffer, with holes where nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from hypercontainer.linux import disk

from .limits import Refusal
from .tree import BLOCK_SIZE

BUFFER_BYTES = 1 << 20
HOLE_BYTES = 1 << 16  # a shorter gap is cheaper written than skipped
ZEROS = bytes(HOLE_BYTES)


class BlockFile:
    """Invariant: everything before ``position`` is in the file or in the buffer, which is at most some
    ``BUFFER_BYTES`` long.  ``reached`` is told how far the file is written.  Does not own the descriptor, whose file is
    empty at first.  Raises Refusal past ``max_bytes``, CancelledError once ``cancelled`` returns true, Unavailable if
    the host's disk is full or would be left with too little room."""

    def __init__(
        self,
        fd: int,
        max_bytes: int,
        cancelled: Callable[[], bool] | None = None,
        reached: Callable[[int], object] | None = None,
    ) -> None:
        self._fd = fd
        self._buffer = bytearray()
        self._start = 0
        self._max_bytes = max_bytes
        self._cancelled = cancelled
        self._reached = reached

    @property
    def position(self) -> int:
        return self._start + len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()

    def skip_to(self, position: int) -> None:
        """Go on at ``position``, not before the current one; what is between reads as zeros."""
        gap = position - self.position
        assert gap >= 0, "the file is written in one direction"
        if position > self._max_bytes:
            raise Refusal(f"the disk image would be larger than {self._max_bytes} bytes")
        if gap < HOLE_BYTES:
            if gap:
                self._buffer += bytes(gap)
        else:
            self.flush()
            self._start = position

    def align(self) -> int:
        """Go on at the next block's start, whose number is returned."""
        end = self.position
        self.skip_to(end + -end % BLOCK_SIZE)
        return self.position // BLOCK_SIZE

    def look(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise CancelledError

    def flush(self) -> None:
        """Blocks of zeros become holes, which take no room."""
        self.look()
        with self.host_disk():
            disk.keep_room(self._fd)
        with memoryview(self._buffer) as view:
            for start, end in _filled(self._buffer, self._start):
                self.overwrite(self._start + start, view[start:end])
        self._start += len(self._buffer)
        self._buffer.clear()
        if self._reached is not None:
            self._reached(self._start)

    def overwrite(self, at: int, data: bytes | memoryview) -> None:
        """Write ``data`` at ``at`` now, past the buffer."""
        view = memoryview(data)
        written = 0
        with self.host_disk():
            while written < len(view):
                written += os.pwrite(self._fd, view[written:], at + written)

    def close_at_block(self) -> int:
        """Write everything and make the file's size whole blocks, whose count is returned."""
        blocks = self.align()
        self.flush()
        with self.host_disk():
            os.ftruncate(self._fd, blocks * BLOCK_SIZE)
        return blocks

    @contextmanager
    def host_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk.unavailable("cannot write a disk image", disk.folder_of(self._fd), error) from error


def _filled(data: bytearray, at: int) -> Iterator[tuple[int, int]]:
    """The parts of ``data``, which belongs at ``at`` of a file, without what is zeros in a whole block of `HOLE_BYTES`,
    or in as much of it as ``data`` has."""
    begin = start = 0
    while start < len(data):
        end = min(len(data), start + HOLE_BYTES - (at + start) % HOLE_BYTES)
        if data.startswith(ZEROS[: end - start], start):
            if begin < start:
                yield begin, start
            begin = end
        start = end
    if begin < start:
        yield begin, start
