"""Writes a tree as EROFS metadata, behind the data of a layer or, for a merged image, before that of its layers.

Two passes over the tree: ``plan`` gives every inode its place and counts its names, then blocks and inodes are
written in the planned order.  What is written depends on the tree alone, so equal layers give equal images.
"""

from __future__ import annotations

import stat
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from . import erofs, xattr
from .blockfile import BlockFile
from .limits import Refusal
from .tree import BLOCK_SIZE, HOLE, Body, Data, Directory, FarLink, Inode

MAX_BLOCKS = 0xFFFFFFFF
MAX_IMAGE_BYTES = MAX_BLOCKS * BLOCK_SIZE
OPAQUE_ENTRY = xattr.pack({xattr.OPAQUE: b"y"})
IMPLICIT_ENTRY = xattr.pack({xattr.IMPLICIT: b"y"})


@dataclass(slots=True)
class Plan:
    """``order``: every inode, as they are laid out.  ``parents``: nid of a directory's parent by the directory's.
    ``outside``: the directories and links with content that is not behind their inode, in ``outside_blocks``
    blocks; the inode area is ``inode_bytes`` long."""

    order: list[Inode] = field(default_factory=list)
    parents: dict[int, int] = field(default_factory=dict)
    outside: list[Inode] = field(default_factory=list)
    outside_blocks: int = 0
    inode_bytes: int = erofs.ROOT_NID * erofs.NID_BYTES
    marks: bool = False

    @property
    def total_blocks(self) -> int:
        return self.outside_blocks + -(-self.inode_bytes // BLOCK_SIZE)


def plan(root: Inode, look: Callable[[], None] = lambda: None) -> Plan:
    """Places for all inodes of a tree that has not been planned before; the root comes first, as its 16-bit nid
    demands, and a directory's files follow it.  ``look`` is called at times, and may raise what ends it."""
    result = Plan()
    _place(result, root)
    result.parents[root.nid] = root.nid
    stack = [root]
    while stack:
        look()
        parent = stack.pop()
        parent.links = 2
        assert isinstance(parent.body, Directory)
        for child in parent.body.children.values():
            if isinstance(child.body, Directory):
                _place(result, child)
                result.parents[child.nid] = parent.nid
                parent.links += 1
                stack.append(child)
            else:
                if child.links == 0:
                    _place(result, child)
                child.links += 1
    return result


def _place(result: Plan, inode: Inode) -> None:
    at = result.inode_bytes
    body = inode.body
    marks = _marks(body)
    if marks or inode.is_whiteout:
        result.marks = True
    size = erofs.INODE_BYTES + len(xattr.body(inode.xattrs + marks))
    if isinstance(body, Data):
        size += 4 * len(body.chunks) if body.chunks is not None else 0
    elif isinstance(body, Directory | bytes):
        sizes = _directory_sizes(body) if isinstance(body, Directory) else [len(body)]
        if _is_inline(size, sizes[-1]):
            size += sizes.pop()
            if at % BLOCK_SIZE + size > BLOCK_SIZE:
                at += -at % BLOCK_SIZE
        if sizes:
            result.outside.append(inode)
            result.outside_blocks += len(sizes)
    inode.nid = at // erofs.NID_BYTES
    result.order.append(inode)
    result.inode_bytes = at + size + -size % erofs.NID_BYTES


def _is_inline(head_bytes: int, tail_bytes: int) -> bool:
    return head_bytes + tail_bytes <= BLOCK_SIZE


def _marks(body: Body) -> bytes:
    """Packed attributes that say what the merge must know of an inode."""
    if isinstance(body, Directory):
        return (OPAQUE_ENTRY if body.opaque else b"") + (IMPLICIT_ENTRY if body.implicit else b"")
    if isinstance(body, FarLink):
        return xattr.pack({xattr.FAR_LINK: body.target})
    return b""


def _directory_names(body: Directory) -> list[bytes]:
    return sorted((b".", b"..", *body.children))


def _directory_sizes(body: Directory) -> list[int]:
    """Bytes used in each of a directory's blocks; all but the last count as full."""
    total = sum(map(len, body.children)) + 3 + erofs.DIRENT.size * (len(body.children) + 2)
    if total <= BLOCK_SIZE:
        return [total]
    return [_used(group) for group in _groups(_directory_names(body))]


def _used(names: Iterable[bytes]) -> int:
    return sum(erofs.DIRENT.size + len(name) for name in names)


def _groups(names: list[bytes]) -> Iterator[list[bytes]]:
    """Sorted names, in as many as fit a block together."""
    group: list[bytes] = []
    used = 0
    for name in names:
        size = erofs.DIRENT.size + len(name)
        if used + size > BLOCK_SIZE:
            yield group
            group, used = [], 0
        group.append(name)
        used += size
    yield group


def _directory_blocks(inode: Inode, parent_nid: int) -> list[bytes]:
    """The directory's blocks; the last one is not padded."""
    assert isinstance(inode.body, Directory)
    children = inode.body.children
    blocks = []
    for group in _groups(_directory_names(inode.body)):
        entries = bytearray()
        offset = erofs.DIRENT.size * len(group)
        for name in group:
            if name in (b".", b".."):
                nid, kind = (inode.nid if name == b"." else parent_nid), stat.S_IFDIR
            else:
                child = children[name]
                nid, kind = child.nid, child.mode & 0o170000
            entries += erofs.DIRENT.pack(nid, offset, erofs.FILE_TYPE[kind], 0)
            offset += len(name)
        blocks.append(bytes(entries) + b"".join(group))
    return blocks


@dataclass(slots=True)
class _Emitter:
    """``shift``: added to every data block's address.  ``next_block``: of those outside the inode area."""

    out: BlockFile
    planned: Plan
    shift: int
    next_block: int

    def content(self, inode: Inode) -> list[bytes]:
        """The blocks of a directory or link, which are all outside but for an inline tail."""
        if isinstance(inode.body, bytes):
            return [inode.body]
        return _directory_blocks(inode, self.planned.parents[inode.nid])

    def write_blocks(self) -> None:
        for inode in self.planned.outside:
            blocks = self.content(inode)
            head = erofs.INODE_BYTES + len(xattr.body(inode.xattrs + _marks(inode.body)))
            if _is_inline(head, len(blocks[-1])):
                blocks.pop()
            for block in blocks:
                self.out.write(block)
                self.out.align()

    def write_inodes(self) -> None:
        start = self.out.position
        for inode in self.planned.order:
            self.out.skip_to(start + inode.nid * erofs.NID_BYTES)
            self.out.write(self.inode(inode))

    def inode(self, inode: Inode) -> bytes:
        packed = inode.xattrs + _marks(inode.body)
        head = xattr.body(packed)
        body = inode.body
        layout, size, address, tail = erofs.FLAT_PLAIN, 0, 0, b""
        if isinstance(body, Data):
            size = body.size
            if body.chunks is not None:
                layout, address, tail = erofs.CHUNK_BASED, body.chunk_bits, self.chunk_map(body.chunks)
            elif size:
                address = body.block + self.shift
        elif isinstance(body, int):
            address = body
        elif not isinstance(body, FarLink):
            blocks = self.content(inode)
            size = (len(blocks) - 1) * BLOCK_SIZE + len(blocks[-1])
            if _is_inline(erofs.INODE_BYTES + len(head), len(blocks[-1])):
                layout, tail = erofs.FLAT_INLINE, blocks.pop()
            address = self.next_block if blocks else 0
            self.next_block += len(blocks)
        seconds, nanoseconds = divmod(inode.mtime_ns, 1_000_000_000)
        fixed = erofs.INODE.pack(
            *(layout << 1 | erofs.EXTENDED, xattr.units(packed), inode.mode, 0, size, address, inode.nid),
            *(inode.uid, inode.gid, seconds, nanoseconds, inode.links),
        )
        return fixed + head + tail

    def chunk_map(self, chunks: array[int]) -> bytes:
        return b"".join(
            (block if block == HOLE else block + self.shift).to_bytes(4, "little") for block in chunks
        )


def write_layer(out: BlockFile, root: Inode, uuid: bytes) -> int:
    """Finish a layer's image, whose data is in ``out``; returns its size in bytes."""
    own_root = not _take_implicit(root)
    return _write(out, plan(root, out.look), uuid, own_root=own_root, shift=0, following_blocks=0)


def write_merged(out: BlockFile, root: Inode, uuid: bytes, data_blocks: int) -> int:
    """Write the metadata of a tree whose data is in ``data_blocks`` blocks that follow the file; returns its size
    in bytes.  Addresses in the tree count from the end of this file."""
    _take_implicit(root)
    planned = plan(root, out.look)
    out.skip_to(BLOCK_SIZE)
    shift = 1 + planned.total_blocks
    if shift + data_blocks > MAX_BLOCKS:
        raise Refusal(f"{shift + data_blocks} blocks are more than a disk image can address")
    return _write(out, planned, uuid, own_root=True, shift=shift, following_blocks=data_blocks)


def _take_implicit(root: Inode) -> bool:
    """Whether the root is implicit.  That is said in the superblock, so that the usual layer has no marks."""
    assert isinstance(root.body, Directory)
    implicit, root.body.implicit = root.body.implicit, False
    return implicit


def _write(
    out: BlockFile, planned: Plan, uuid: bytes, *, own_root: bool, shift: int, following_blocks: int
) -> int:
    first_block = out.align()
    emitter = _Emitter(out, planned, shift, first_block)
    emitter.write_blocks()
    meta_block = out.align()
    assert meta_block == first_block + planned.outside_blocks
    emitter.write_inodes()
    blocks = out.close_at_block()
    assert not shift or blocks == shift, "the addresses were shifted by this file's length"
    total = blocks + following_blocks
    superblock = erofs.Superblock(meta_block, total, len(planned.order), uuid, planned.marks, own_root)
    out.overwrite(erofs.SUPERBLOCK_AT, superblock.pack())
    return blocks * BLOCK_SIZE
