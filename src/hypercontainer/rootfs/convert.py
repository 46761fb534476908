"""One pass from a layer's tar to its disk image: data goes to its place as it comes, the tree is written last."""

from __future__ import annotations

import stat
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from . import erofs, tar, xattr
from .blockfile import BlockFile
from .layertree import LayerTree
from .limits import LayerLimits, Refusal, refusal_named
from .stream import Readable, layer_stream
from .tree import BLOCK_BITS, BLOCK_SIZE, HOLE, Body, Data, Directory, Inode
from .writer import write_layer

MAX_ID = 0xFFFFFFFF
MAX_TARGET_BYTES = 4095
MAX_CHUNKS = 4096
# What Go has as nanoseconds since 1970; containerd, Docker and podman make 1970 of any other time.
LAST_TIME_NS = (1 << 63) - 1
TYPE_BITS = {
    tar.FILE: stat.S_IFREG,
    tar.SYMLINK: stat.S_IFLNK,
    tar.CHAR: stat.S_IFCHR,
    tar.BLOCK_DEVICE: stat.S_IFBLK,
    tar.DIRECTORY: stat.S_IFDIR,
    tar.FIFO: stat.S_IFIFO,
}


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
) -> Conversion:
    """Write the image of ``source`` to the empty file ``fd``.

    Raises LayerError for content that is refused (``layer`` is what it calls the layer), CancelledError, and what
    ``source`` raises.
    """
    out = BlockFile(fd, limits.max_image_bytes, cancelled)
    out.skip_to(BLOCK_SIZE)
    with layer_stream(source, compression, limits.max_bytes, progress, cancelled) as stream:
        reader = tar.TarReader(stream, limits)
        with refusal_named(layer, lambda: reader.name):
            tree = _Converter(reader, out, limits).run()
        with refusal_named(layer):
            diff_id = stream.finish()
            image_bytes = write_layer(out, tree, uuid)
        return Conversion(diff_id, stream.position, image_bytes)


class _Converter:
    """Takes entries from ``reader``, puts data in ``out`` and everything else in a tree."""

    def __init__(self, reader: tar.TarReader, out: BlockFile, limits: LayerLimits) -> None:
        self._reader = reader
        self._out = out
        self._tree = LayerTree(limits)
        self._packed: dict[bytes, bytes] = {}

    def run(self) -> Inode:
        while (entry := self._reader.next_entry()) is not None:
            if entry.kind == tar.LINK:
                self._tree.link(entry.name, entry.target)
            else:
                self._tree.add(entry.name, self._inode(entry))
        return self._tree.finish()

    def _inode(self, entry: tar.Entry) -> Inode:
        if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
            raise Refusal(f"owner {entry.uid}:{entry.gid} does not fit 32 bits")
        # No Linux file system keeps a link's permissions.
        mode = TYPE_BITS[entry.kind] | (0o777 if entry.kind == tar.SYMLINK else entry.mode)
        xattrs = self._xattrs(entry.xattrs) if entry.xattrs else b""
        mtime_ns = entry.mtime_ns if 0 <= entry.mtime_ns <= LAST_TIME_NS else 0
        return Inode(mode, entry.uid, entry.gid, mtime_ns, self._body(entry), xattrs)

    def _body(self, entry: tar.Entry) -> Body:
        if entry.kind == tar.FILE:
            return self._data(entry)
        if entry.kind == tar.DIRECTORY:
            return Directory()
        if entry.kind == tar.SYMLINK:
            if not 0 < len(entry.target) <= MAX_TARGET_BYTES or b"\0" in entry.target:
                raise Refusal(f"a symbolic link's target of {len(entry.target)} bytes, or with a NUL in it")
            self._tree.account(len(entry.target))
            return entry.target
        return erofs.encode_device(*entry.device)

    def _xattrs(self, attributes: dict[bytes, bytes]) -> bytes:
        """Packed, and shared between the many files that have the same."""
        packed = xattr.pack(
            {name: value for name, value in attributes.items() if not name.startswith(xattr.RESERVED)}
        )
        self._tree.account(len(packed))
        return self._packed.setdefault(packed, packed)

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
        self._tree.account(4 * len(chunks))
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
