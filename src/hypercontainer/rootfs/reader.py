"""Reads root disks on the host: looks paths up, lists directories, reads files and whole trees.

Nothing is followed: a path is a list of names, a link is a link.  The images are this project's own, yet a disk
can rot, so that every offset is checked and damage is an ImageError, never a wrong answer from another place.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hypercontainer.errors import ImageError

from . import erofs, xattr
from .limits import Tally
from .tree import BLOCK_BITS, BLOCK_SIZE, HOLE, Data, Directory, FarLink, Inode

AGAIN = "pull or load the image again"


@dataclass(frozen=True)
class Extent:
    """A file of ``size_bytes`` bytes (a multiple of 4096) that is a part of a disk."""

    path: Path
    size_bytes: int


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, struct.error, KeyError, IndexError) as error:
        raise ImageError(f"root disk image {path} is damaged: {error}", hint=AGAIN) from error


class RootReader:
    """A root disk, open.  All metadata is in the first extent; file data may be in any.

    A context manager, which owns the descriptors.  Inodes that it returns know their ``nid`` and ``links``;
    a Directory's ``children`` are filled by ``tree`` only.
    """

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._path = extents[0].path
        with ExitStack() as stack:
            self._extents: list[
                tuple[int, int, int]
            ] = []  # first byte on the disk, byte after the last, descriptor
            start = 0
            for extent in extents:
                fd = os.open(extent.path, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                self._extents.append((start, start + extent.size_bytes, fd))
                start += extent.size_bytes
            with _damage_named(self._path):
                self._meta = stack.enter_context(mmap.mmap(self._extents[0][2], 0, prot=mmap.PROT_READ))
                self.superblock = erofs.Superblock.unpack(self._meta[erofs.SUPERBLOCK_AT : BLOCK_SIZE])
            self._inodes_at = self.superblock.meta_block * BLOCK_SIZE
            self._closer = stack.pop_all()

    def __enter__(self) -> RootReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closer.close()

    def root(self) -> Inode:
        return self.inode(erofs.ROOT_NID)

    def lookup(self, path: bytes) -> Inode | None:
        """The inode at ``path`` from the root; None where there is none or a parent is not a directory.

        ``..`` is not understood, since no directory has it as a name.
        """
        inode = self.root()
        for name in path.split(b"/"):
            if name in (b"", b"."):
                continue
            nid = dict(self.entries(inode)).get(name) if isinstance(inode.body, Directory) else None
            if nid is None:
                return None
            inode = self.inode(nid)
        return inode

    def entries(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        """Name and nid of everything in a directory, sorted by name, without '.' and '..'."""
        with _damage_named(self._path):
            content = self._content(inode.nid)
            for at in range(0, len(content), BLOCK_SIZE):
                yield from self._block_entries(content[at : at + BLOCK_SIZE])

    def inode(self, nid: int) -> Inode:
        with _damage_named(self._path):
            return self._inode(nid, 0)

    def read(self, inode: Inode, offset: int, length: int) -> bytes:
        """At most ``length`` bytes of a regular file from ``offset``; fewer only at its end."""
        data = inode.body
        assert isinstance(data, Data), "only regular files have data"
        end = min(data.size, offset + length)
        pieces = []
        while offset < end:
            address, piece_end = self._place(data, offset)
            count = min(end, piece_end) - offset
            pieces.append(bytes(count) if address is None else self._pread(address, count))
            offset += count
        return b"".join(pieces)

    def attributes(self, inode: Inode) -> dict[bytes, bytes]:
        """Extended attributes by full name."""
        with _damage_named(self._path):
            return dict(xattr.entries(inode.xattrs))

    def tree(self, base_block: int, tally: Tally) -> Inode:
        """The whole tree, marks included, with ``base_block`` added to every data address and nothing planned;
        ``tally`` counts its names."""
        with _damage_named(self._path):
            return self._tree(base_block, tally)

    @staticmethod
    def _place(data: Data, offset: int) -> tuple[int | None, int]:
        """Where on the disk ``offset`` of a file is (None in a hole), and up to which offset that is so."""
        if data.chunks is None:
            return data.block * BLOCK_SIZE + offset, data.size
        bits = BLOCK_BITS + data.chunk_bits
        index = offset >> bits
        block = data.chunks[index]
        address = None if block == HOLE else block * BLOCK_SIZE + offset - (index << bits)
        return address, (index + 1) << bits

    def _pread(self, address: int, count: int) -> bytes:
        pieces = []
        for start, end, fd in self._extents:
            while start <= address < end and count:
                piece = os.pread(fd, min(count, end - address), address - start)
                if not piece:
                    raise ImageError(f"root disk image {self._path} is shorter than its metadata says")
                pieces.append(piece)
                address += len(piece)
                count -= len(piece)
        if count:
            raise ImageError(f"root disk image {self._path} points at byte {address}, beyond the disk")
        return b"".join(pieces)

    def _inode(self, nid: int, base_block: int) -> Inode:
        at = self._inodes_at + nid * erofs.NID_BYTES
        layout, units, mode, _, size, address, _, uid, gid, seconds, nanoseconds, links = (
            erofs.INODE.unpack_from(self._meta, at)
        )
        kind = mode & 0o170000
        body: Directory | Data | bytes | int | FarLink
        if kind == stat.S_IFREG:
            body = self._data(at, layout, units, size, address, base_block)
        elif kind == stat.S_IFDIR:
            body = Directory()
        elif kind == stat.S_IFLNK:
            body = self._content(nid)
        else:
            body = address
        inode = Inode(mode, uid, gid, seconds * 1_000_000_000 + nanoseconds, body, b"", nid, links)
        if units:
            start = at + erofs.INODE_BYTES + xattr.HEADER_BYTES
            self._take_marks(inode, self._slice(start, (units - 1) * 4))
        return inode

    def _data(self, at: int, layout: int, units: int, size: int, address: int, base_block: int) -> Data:
        if layout >> 1 != erofs.CHUNK_BASED:
            return Data(size, address + base_block if size else 0)
        count = -(-size >> (BLOCK_BITS + address)) if size else 0
        raw = self._slice(at + erofs.INODE_BYTES + _xattr_bytes(units), 4 * count)
        blocks = (block for (block,) in struct.iter_unpack("<I", raw))
        return Data(
            size, 0, address, array("I", (block if block == HOLE else block + base_block for block in blocks))
        )

    def _take_marks(self, inode: Inode, packed: bytes) -> None:
        """Set the inode's xattrs, and turn those that are marks back into what they mean."""
        inode.xattrs = packed
        if not any(mark in packed for mark in (b"overlay.opaque", b"hypercontainer.")):
            return
        attributes = dict(xattr.entries(packed))
        opaque, implicit = attributes.pop(xattr.OPAQUE, b""), attributes.pop(xattr.IMPLICIT, b"")
        target = attributes.pop(xattr.FAR_LINK, None)
        if isinstance(inode.body, Directory):
            inode.body.opaque, inode.body.implicit = bool(opaque), bool(implicit)
        elif target is not None:
            inode.body = FarLink(target)
        inode.xattrs = xattr.pack(attributes)

    def _content(self, nid: int) -> bytes:
        """All bytes of a directory or link."""
        at = self._inodes_at + nid * erofs.NID_BYTES
        layout, units, _, _, size, address, *_ = erofs.INODE.unpack_from(self._meta, at)
        if layout >> 1 == erofs.FLAT_PLAIN:
            return self._slice(address * BLOCK_SIZE, size)
        tail = size % BLOCK_SIZE
        inline = self._slice(at + erofs.INODE_BYTES + _xattr_bytes(units), tail)
        return self._slice(address * BLOCK_SIZE, size - tail) + inline

    def _slice(self, at: int, length: int) -> bytes:
        if at + length > len(self._meta):
            raise ValueError(f"{length} bytes at {at} are beyond the metadata")
        return self._meta[at : at + length]

    def _block_entries(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        names_at = erofs.DIRENT.unpack_from(block)[1]
        entries = list(erofs.DIRENT.iter_unpack(block[:names_at]))
        ends = [offset for _, offset, _, _ in entries[1:]] + [len(block)]
        for (nid, offset, _, _), end in zip(entries, ends, strict=True):
            name = block[offset:end].rstrip(b"\0")
            if name not in (b".", b".."):
                yield name, nid

    def _tree(self, base_block: int, tally: Tally) -> Inode:
        root = self._inode(erofs.ROOT_NID, base_block)
        assert isinstance(root.body, Directory)
        root.body.implicit = not self.superblock.own_root
        shared: dict[int, Inode] = {}
        stack = [root]
        known = 1
        while stack:
            parent = stack.pop()
            assert isinstance(parent.body, Directory)
            children = parent.body.children
            for name, nid in self.entries(parent):
                tally.add()
                child = shared.get(nid)
                if child is None:
                    child = self._inode(nid, base_block)
                    if isinstance(child.body, Directory):
                        stack.append(child)
                        known += 1
                    elif child.links > 1:
                        shared[nid] = child
                    child.links = 0
                children[name] = child
            if known > self.superblock.inodes:
                raise ValueError("directories without end")
        root.links = 0
        return root


def _xattr_bytes(units: int) -> int:
    return xattr.HEADER_BYTES + (units - 1) * 4 if units else 0
