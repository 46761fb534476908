"""Hashes by which a guest notices that a disk is not what was written: dm-verity's tree over blocks of 4 KiB.

    leaves        the SHA-256 of each block of the disk: level 0
    level n       of each block of level n - 1, which has 128 hashes
    the tree      the levels one behind the other, the highest first, each in whole blocks (Linux: dm-verity, version 1)
    root hash     of the one block of the highest level

There is no salt: a layer's leaves have to be the same in every image, and what a salt makes dearer, hashes prepared for
many disks at once, needs collisions of SHA-256.
"""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from .tree import BLOCK_SIZE

HASH_BYTES = 32
CHUNK_BYTES = 1 << 20
LEAF_OF_ZEROS = hashlib.sha256(bytes(BLOCK_SIZE)).digest()
ZERO_LEAVES = LEAF_OF_ZEROS * (1 << 15)


def leaves(data: bytes | bytearray) -> bytes:
    """The hashes of the blocks of ``data``, which is whole blocks."""
    sha256 = hashlib.sha256
    with memoryview(data) as view:
        return b"".join(
            [sha256(view[at : at + BLOCK_SIZE]).digest() for at in range(0, len(view), BLOCK_SIZE)]
        )


def leaves_bytes(data_bytes: int) -> int:
    return data_bytes // BLOCK_SIZE * HASH_BYTES


def tree_bytes(data_bytes: int) -> int:
    """How long the tree is of so much data, which is two blocks at least."""
    total, hashes = 0, data_bytes // BLOCK_SIZE
    while hashes > 1:
        blocks = -(-hashes * HASH_BYTES // BLOCK_SIZE)
        total, hashes = total + blocks * BLOCK_SIZE, blocks
    return total


def build(data_bytes: int, pieces: Iterable[bytes], write: Callable[[int, bytes], object]) -> str:
    """The root hash, as hexadecimal digits; ``write`` gets the tree, in pieces with their places.  ``pieces``: the
    leaves, however they are cut."""
    lowest = _padded(leaves_bytes(data_bytes))
    at = tree_bytes(data_bytes) - lowest
    level, rest = bytearray(), b""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % BLOCK_SIZE
        write(at, rest[:whole])
        level += leaves(rest[:whole])
        at, rest = at + whole, rest[whole:]
    if rest:
        last = rest + bytes(-len(rest) % BLOCK_SIZE)
        write(at, last)
        level += leaves(last)
    end = tree_bytes(data_bytes) - lowest
    while len(level) > HASH_BYTES:
        level += bytes(_padded(len(level)) - len(level))
        end -= len(level)
        write(end, bytes(level))
        level = bytearray(leaves(level))
    return level.hex()


def _padded(size: int) -> int:
    return size + -size % BLOCK_SIZE


def leaves_of(fd: int, start: int, end: int) -> Iterator[bytes]:
    """Of the file's blocks between two places, a piece at a time; what the file has not counts as zeros, and so do its
    holes, which are not read."""
    at = start
    while at < end:
        data_at = min(_next_data(fd, at), end) & -BLOCK_SIZE
        while at < data_at:
            blocks = min((data_at - at) // BLOCK_SIZE, len(ZERO_LEAVES) // HASH_BYTES)
            yield ZERO_LEAVES[: blocks * HASH_BYTES]
            at += blocks * BLOCK_SIZE
        if wanted := min(CHUNK_BYTES, end - at):
            data = os.pread(fd, wanted, at)
            yield leaves(data + bytes(wanted - len(data)) if len(data) < wanted else data)
            at += wanted


def _next_data(fd: int, at: int) -> int:
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:  # there is none, or a file system does not tell
        return sys.maxsize if error.errno == errno.ENXIO else at


class Following:
    """Makes the leaves of a file in a thread, behind its writer; a context manager.

    ``reached`` is told how far the file is written; until ``finish``, nothing before that is written again but for its
    first block.  Owns neither descriptor: ``fd`` is the file's, ``out`` what its leaves are written to, which stays
    empty of one of more than ``max_bytes``.
    """

    def __init__(self, fd: int, out: int, max_bytes: int) -> None:
        self._fd, self._out, self._max_bytes = fd, out, max_bytes
        self._places: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._error: OSError | None = None
        self._is_large = False
        self._thread = threading.Thread(target=self._run, name="leaves", daemon=True)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._places.put(None)
        self._thread.join()

    def reached(self, position: int) -> None:
        self._places.put(position)

    def finish(self) -> None:
        """All of what was ``reached`` has its leaves; raises OSError."""
        self._places.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._is_large:
            os.ftruncate(self._out, 0)
            return
        for first in leaves_of(self._fd, 0, BLOCK_SIZE):
            os.pwrite(self._out, first, 0)

    def _run(self) -> None:
        done = 0
        try:
            while (position := self._places.get()) is not None:
                end = position & -BLOCK_SIZE
                self._is_large = end > self._max_bytes
                if self._is_large:
                    return
                at = done // BLOCK_SIZE * HASH_BYTES
                for piece in leaves_of(self._fd, done, end):
                    at += os.pwrite(self._out, piece, at)
                done = end
        except OSError as error:
            self._error = error
