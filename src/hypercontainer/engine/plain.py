"""An archive that comes in pieces, as it was before it was compressed: by gzip, zstd, xz or bzip2, or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import BinaryIO

from hypercontainer.engine.pipes import Pieces, read_by, written
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import InvalidArgument
from hypercontainer.rootfs.stream import (
    CHUNK_BYTES,
    DAMAGE,
    MAGIC_BYTES,
    CompressedSource,
    compression_of,
    open_decompressed,
)

CUT_WORDS = "the archive ended in the middle of the data"
WORK_MAX = 64

_WORK = Workers("compressed archives", WORK_MAX)  # each at its client's pace


async def plain(pieces: Pieces) -> Pieces:
    """What is not compressed goes through as it comes, by no thread.  InvalidArgument where what is compressed is
    damaged, Unavailable where too many come at once."""
    async with aclosing(pieces):
        head = bytearray()
        async for piece in pieces:
            head += piece
            if len(head) >= MAGIC_BYTES:
                break
        compressed = compression_of(bytes(head)) != "none"
        async with aclosing(
            _unpacked(bytes(head), pieces) if compressed else _whole(bytes(head), pieces)
        ) as found:
            async for data in found:
                yield data


async def _whole(head: bytes, rest: Pieces) -> AsyncGenerator[bytes, None]:
    yield head
    async for piece in rest:
        yield bytes(piece)


def _unpacked(head: bytes, rest: Pieces) -> AsyncGenerator[bytes, None]:
    async def read(out: BinaryIO) -> None:
        await read_by(_whole(head, rest), lambda source: _WORK.run(lambda: _copy(source, out)), CUT_WORDS)

    return written(read)


def _copy(packed: BinaryIO, out: BinaryIO) -> None:
    source = CompressedSource(packed)
    try:
        reader = open_decompressed(source, "auto")
        while data := reader.read(CHUNK_BYTES):
            out.write(data)
        out.flush()
    except BrokenPipeError:
        raise
    except DAMAGE as error:
        if source.failed:
            raise
        raise InvalidArgument(f"the archive is damaged: {error}") from None
