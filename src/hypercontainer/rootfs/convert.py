"""One pass from a layer's tar to its disk image: data goes to its place as it comes, the tree is written last."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from . import tar
from .blockfile import BlockFile
from .entries import Entries
from .limits import LayerLimits, refusal_named
from .stream import Readable, layer_stream
from .tree import BLOCK_BITS, BLOCK_SIZE, HOLE, Data, Inode
from .verity import Following
from .writer import write_layer

MAX_CHUNKS = 4096


@dataclass(frozen=True)
class Conversion:
    """``diff_id``: of the tar as it was.  ``tar_bytes``: its length.  ``image_bytes``: the image's apparent size."""

    diff_id: str
    tar_bytes: int
    image_bytes: int


def convert(
    source: Readable,
    fd: int,
    *,
    compression: str,
    limits: LayerLimits,
    layer: str,
    uuid: bytes,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    following: Following | None = None,
) -> Conversion:
    """Write the image of ``source`` to the empty file ``fd``; ``following`` makes its leaves.

    Raises LayerError for content that is refused (``layer`` is what it calls the layer), CancelledError, and what
    ``source`` raises.
    """
    out = BlockFile(fd, limits.max_image_bytes, cancelled, following.reached if following else None)
    out.skip_to(BLOCK_SIZE)
    with layer_stream(source, compression, limits.max_bytes, progress, cancelled) as stream:
        reader = tar.TarReader(stream, limits)
        with refusal_named(layer, lambda: reader.name):
            tree = _Converter(reader, out, limits).run()
        with refusal_named(layer):
            diff_id = stream.finish()
            image_bytes = write_layer(out, tree, uuid)
        if following is not None:
            with out.host_disk():
                following.finish()
        return Conversion(diff_id, stream.position, image_bytes)


class _Converter:
    """Takes entries from ``reader``, puts data in ``out`` and everything else in a tree."""

    def __init__(self, reader: tar.TarReader, out: BlockFile, limits: LayerLimits) -> None:
        self._reader = reader
        self._out = out
        self._entries = Entries(limits, self._data)

    def run(self) -> Inode:
        while (entry := self._reader.next_entry()) is not None:
            self._entries.take(entry)
        return self._entries.tree.finish()

    def _data(self, entry: tar.Entry) -> Data:
        if entry.segments is not None:
            return self._sparse(entry.size, entry.segments)
        if not entry.size:
            return Data(0, 0)
        block = self._out.align()
        self._reader.copy_data(self._out.write)
        return Data(entry.size, block)

    def _sparse(self, size: int, segments: list[tuple[int, int]]) -> Data:
        """Only chunks that have data get blocks; inside them the image file has holes."""
        bits = 0
        while size > MAX_CHUNKS << (BLOCK_BITS + bits):
            bits += 1
        chunk = BLOCK_SIZE << bits
        chunks = array("I", [HOLE]) * -(-size // chunk)
        self._entries.tree.account(4 * len(chunks))
        self._out.align()
        chunk_end = self._out.position
        for offset, length in segments:
            while length:
                index = offset // chunk
                if chunks[index] == HOLE:
                    self._out.skip_to(chunk_end)
                    chunks[index] = self._out.align()
                    chunk_end = self._out.position + min(chunk, size - index * chunk)
                count = min(length, (index + 1) * chunk - offset)
                self._out.skip_to(chunks[index] * BLOCK_SIZE + offset % chunk)
                self._reader.copy_data(self._out.write, count)
                offset += count
                length -= count
        self._out.skip_to(chunk_end)
        return Data(size, 0, bits, chunks)
