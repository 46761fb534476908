"""A layer's bytes: decompressed in a thread of its own, hashed and counted where they are consumed.

Decompression, hashing and writing release the interpreter's lock, so that two threads keep two processors busy.
What waits between them is bounded by ``QUEUED_CHUNKS``.
"""

from __future__ import annotations

import hashlib
import queue
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

from isal import igzip, isal_zlib

from hypercontainer.errors import NotSupported
from hypercontainer.linux.unpack import Damaged, Unpacked

from .limits import Refusal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 1 << 18
QUEUED_CHUNKS = 8
MAGIC_BYTES = 6
MAGICS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"))
# The decompressors' own errors; gzip's are OSErrors, as a failing source's may be.
ISAL_ERROR = cast(type[Exception], isal_zlib.error)
DAMAGE = (OSError, EOFError, zlib.error, ISAL_ERROR, zstd.ZstdError, Damaged)


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class CompressedSource:
    """A source that can be peeked at, counts what was read and knows whether reading it failed."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._peeked = b""
        self.count = 0
        self.failed = False

    def peek(self, size: int) -> bytes:
        while len(self._peeked) < size and (more := self._read(size - len(self._peeked))):
            self._peeked += more
        return self._peeked

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        data, self._peeked = self._peeked[:size], self._peeked[size:]
        data = data or self._read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        self.failed = True
        data = self._source.read(size)
        self.failed = False
        return data


def compression_of(start: bytes) -> str:
    """By its first `MAGIC_BYTES`; "none" of what is not known."""
    return next((name for magic, name in MAGICS if start.startswith(magic)), "none")


def open_decompressed(source: CompressedSource, compression: str) -> Readable:
    """``source`` as the uncompressed bytes; "auto" goes by the first bytes, and takes what it does not know for
    an uncompressed tar.  Frames and members that follow one another are read as one stream."""
    if compression == "auto":
        compression = compression_of(source.peek(MAGIC_BYTES))
    raw = cast(BinaryIO, source)
    match compression:
        case "none":
            return source
        case "gzip":
            return cast(Readable, igzip.open(raw))  # type: ignore[no-untyped-call]
        case "zstd":
            return cast(Readable, zstd.ZstdFile(raw))
        case "xz" | "bzip2":
            return Unpacked(source, compression)
    raise NotSupported(f"layer compression {compression!r}", hint="none, gzip, zstd, xz and bzip2 are")


Item = bytes | BaseException | None


class LayerStream:
    """The uncompressed bytes, taken in order; ``position`` counts those taken.

    Raises Refusal where the bytes are damaged or more than ``max_bytes``, CancelledError once ``cancelled`` says
    so, and whatever the source raised.
    """

    def __init__(self, receive: Callable[[], bytes | None], max_bytes: int) -> None:
        self.position = 0
        self._receive = receive
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._received = 0
        self._chunk = memoryview(b"")
        self._at = 0

    def read(self, count: int) -> bytes:
        end = self._at + count
        if end <= len(self._chunk):
            data = bytes(self._chunk[self._at : end])
            self._at = end
            self.position += count
            return data
        pieces: list[memoryview] = []
        self.copy(count, pieces.append)
        return b"".join(pieces)

    def copy(self, count: int, write: Callable[[memoryview], object]) -> int:
        left = count
        while left and (self._at < len(self._chunk) or self._next_chunk()):
            piece = self._chunk[self._at : self._at + left]
            write(piece)
            self._at += len(piece)
            left -= len(piece)
        self.position += count - left
        return count - left

    def finish(self) -> str:
        """Take what is left and return the digest of everything, as "sha256:..."."""
        self.position += len(self._chunk) - self._at
        while self._next_chunk():
            self.position += len(self._chunk)
        return "sha256:" + self._hash.hexdigest()

    def _next_chunk(self) -> bool:
        chunk = self._receive()
        self._at = 0
        if chunk is None:
            self._chunk = memoryview(b"")
            return False
        self._chunk = memoryview(chunk)
        self._received += len(chunk)
        if self._received > self._max_bytes:
            raise Refusal(f"the uncompressed layer has more than {self._max_bytes} bytes")
        self._hash.update(chunk)
        return True


@contextmanager
def layer_stream(
    source: Readable,
    compression: str,
    max_bytes: int,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[LayerStream]:
    """The stream of a compressed layer, with the thread that decompresses it.

    Leaving waits for that thread, which ends after the read of ``source`` that it is in: the source's owner sees
    to it that a read ends.
    """
    compressed = CompressedSource(source)
    chunks: queue.Queue[Item] = queue.Queue(QUEUED_CHUNKS)
    stop = threading.Event()
    ended = False

    def receive() -> bytes | None:
        nonlocal ended
        if ended:
            return None
        if cancelled is not None and cancelled():
            raise CancelledError
        item = chunks.get()
        if progress is not None:
            progress(compressed.count)
        ended = not isinstance(item, bytes)
        if isinstance(item, BaseException):
            raise item
        return item

    thread = threading.Thread(
        target=_decompress, args=(compressed, compression, chunks, stop), name="layer", daemon=True
    )
    thread.start()
    try:
        yield LayerStream(receive, max_bytes)
    finally:
        stop.set()
        while not ended:
            ended = not isinstance(chunks.get(), bytes)
        thread.join()


def _decompress(
    source: CompressedSource, compression: str, chunks: queue.Queue[Item], stop: threading.Event
) -> None:
    """Put all chunks, then None or the reason why there are no more."""
    end: BaseException | None = None
    try:
        reader = open_decompressed(source, compression)
        while not stop.is_set() and (chunk := reader.read(CHUNK_BYTES)):
            chunks.put(chunk)
    except DAMAGE as error:
        # What the source did not raise, the decompressor did, for bytes that it could not use.
        end = error if source.failed else Refusal(f"the compressed data is damaged: {error}")
    except BaseException as error:
        end = error
    chunks.put(end)
