"""Byte streams that are read once: sniffing, decompressing, hashing, counting."""

from __future__ import annotations

import io
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from isal import igzip, isal_zlib

from hypercontainer.errors import ImageError
from hypercontainer.image.blobs import CHUNK_BYTES, compression_of
from hypercontainer.image.cancel import Cancellation, Guard
from hypercontainer.linux.unpack import FORMATS, Damaged, Unpacked

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError, ZstdFile
else:
    from backports.zstd import ZstdError, ZstdFile

HEAD_BYTES = 8
# What the decompressors raise; the stubs of one of them do not say that its error is an exception.
DAMAGE: tuple[type[Exception], ...] = (
    EOFError,
    zlib.error,
    cast(type[Exception], isal_zlib.error),
    igzip.BadGzipFile,
    ZstdError,
    Damaged,
)
# As layers are kept; what comes in other compressions is unpacked.
STORED = frozenset({"none", "gzip", "zstd"})
GZIP_LEVEL = 1  # of isal's 0-3: a push is bound by it, and the others gain a few percent


class Metered(io.RawIOBase):
    """Reads of a stream, from whatever it is: cancellable, counted, limited.

    ``observe`` sees every piece.  ``budget`` bytes may be read before ImageError; None is no limit.
    """

    def __init__(
        self,
        stream: BinaryIO,
        guard: Guard,
        limit_bytes: int,
        what: str,
        observe: Callable[[bytes], object] = len,
    ) -> None:
        self._stream, self._guard, self._limit, self._what = stream, guard, limit_bytes, what
        self.observe = observe
        self._ahead = b""
        self.count = 0
        self.budget: int | None = None

    def readable(self) -> bool:
        return True

    def peek(self) -> bytes:
        """The first bytes, which stay to be read."""
        while len(self._ahead) < HEAD_BYTES and (more := self._stream.read(HEAD_BYTES - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def read(self, size: int = -1) -> bytes:
        self._guard.check()
        size = CHUNK_BYTES if size < 0 else size
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._stream.read(size)
        self.count += len(data)
        if self.budget is not None:
            self.budget -= len(data)
            if self.budget < 0:
                raise ImageError(f"{self._what}: the header of an entry is too large")
        if self.count > self._limit:
            raise ImageError(f"{self._what}: larger than {self._limit} bytes")
        self.observe(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def decompressed(stream: Metered, compression: str) -> BinaryIO:
    """The plain bytes of ``stream``; several members or frames are one stream."""
    if compression in FORMATS:
        return cast(BinaryIO, Unpacked(stream, compression))
    if compression == "gzip":
        return cast(BinaryIO, igzip.GzipFile(fileobj=stream, mode="rb"))  # type: ignore[no-untyped-call]
    if compression == "zstd":
        return cast(BinaryIO, ZstdFile(cast(BinaryIO, stream)))
    return cast(BinaryIO, stream)


def sniffed(stream: Metered) -> BinaryIO:
    """The plain bytes of a stream of unknown compression."""
    return decompressed(stream, compression_of(stream.peek()))


def begins_as_tar(first: bytes) -> bool:
    """``first``: the first 512 bytes."""
    if first == b"\0" * len(first):
        return len(first) == tarfile.BLOCKSIZE  # an archive of nothing
    try:
        tarfile.TarInfo.frombuf(first, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def compressor(target: BinaryIO) -> BinaryIO:
    """Writes gzip into ``target``, the same bytes for the same content."""
    file = igzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=GZIP_LEVEL, mtime=0)  # type: ignore[no-untyped-call]
    return cast(BinaryIO, file)


@contextmanager
def damage_errors(what: str) -> Iterator[None]:
    """Turns what decompressors raise on damaged input into ImageError."""
    try:
        yield
    except DAMAGE as error:
        raise ImageError(f"{what}: the compressed data is damaged or ends early: {error}") from error


def unpacked(stream: BinaryIO, out: BinaryIO, cancelled: Cancellation) -> None:
    """A context of a build, of whatever compression, into ``out`` in plain; as large as it is: who takes it says when
    it is too much."""
    with damage_errors("the context"):
        out.writelines(
            pieces(sniffed(Metered(stream, Guard("build", cancelled), sys.maxsize, "the context")))
        )
    out.flush()


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.read(CHUNK_BYTES):
        yield data
