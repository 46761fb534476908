"""A file that is written from its start to its end through one buffer, with holes where nothing is written."""

from __future__ import annotations

import os

from hypercontainer.errors import Unavailable

from .limits import Refusal
from .tree import BLOCK_SIZE

BUFFER_BYTES = 1 << 20
HOLE_BYTES = 1 << 16  # a shorter gap is cheaper written than skipped


class BlockFile:
    """Invariant: everything before ``position`` is in the file or in the buffer, which is at most some
    ``BUFFER_BYTES`` long.  Does not own the descriptor.  Raises Refusal past ``max_bytes``."""

    def __init__(self, fd: int, max_bytes: int) -> None:
        self._fd = fd
        self._buffer = bytearray()
        self._start = 0
        self._max_bytes = max_bytes

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
            self._buffer += bytes(gap)
        else:
            self.flush()
            self._start = position

    def align(self) -> int:
        """Go on at the next block's start, whose number is returned."""
        end = self.position
        self.skip_to(end + -end % BLOCK_SIZE)
        return self.position // BLOCK_SIZE

    def flush(self) -> None:
        view = memoryview(self._buffer)
        at = 0
        while at < len(view):
            at += self._pwrite(view[at:], self._start + at)
        view.release()
        self._start += at
        self._buffer.clear()

    def _pwrite(self, data: memoryview, at: int) -> int:
        try:
            return os.pwrite(self._fd, data, at)
        except OSError as error:
            raise Unavailable(
                f"cannot write a disk image: {error.strerror}", hint="see to the disk's space and health"
            ) from error

    def close_at_block(self) -> int:
        """Write everything and make the file's size whole blocks, whose count is returned."""
        blocks = self.align()
        self.flush()
        os.ftruncate(self._fd, blocks * BLOCK_SIZE)
        return blocks
