"""The parts of EROFS's on-disk format that are used (Linux fs/erofs/erofs_fs.h), as of Linux 5.16.

An image here is

    block 0        1024 bytes of nothing, the superblock
    data           of regular files, each from a block's start (a layer image only)
    blocks         full directory blocks and whatever does not fit behind its inode
    inodes         from ``meta_blkaddr`` on; an inode's nid is its offset from there in units of 32 bytes

All inodes are of the extended form, 64 bytes, since only that one has a time of its own.  What belongs to an
inode follows it: xattrs, then the short tail of a directory or a link's target (never across a block's end),
or the block map of a sparse file.
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass

from .limits import Refusal

MAGIC = 0xE0F5E1E2
SUPERBLOCK_AT = 1024
# magic, checksum, compat, blkszbits, extslots, root nid, inos, build time s, ns, blocks, meta, xattr, uuid, name,
# incompat, algorithms, extra devices, device slot, reserved
SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHH38s")
INODE = struct.Struct("<HHHHQIIIIqII16x")
DIRENT = struct.Struct("<QHBB")
INODE_BYTES = 64
NID_BYTES = 32
ROOT_NID = 1  # not 0: programs take a directory entry of inode 0 for a deleted one

INCOMPAT_CHUNKED = 0x4
EXTENDED = 1
FLAT_PLAIN, FLAT_INLINE, CHUNK_BASED = 0, 2, 4

FILE_TYPE = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}

NAME = b"hyper"
MARKS, ROOT_ATTRIBUTES = b"m", b"r"


@dataclass(frozen=True)
class Superblock:
    """``marks``: has whiteouts or other marks, so it is only of use merged.  ``own_root``: the root's attributes
    are the layer's.  Both are letters in the volume's name."""

    meta_block: int
    blocks: int
    inodes: int
    uuid: bytes
    marks: bool = False
    own_root: bool = True

    def pack(self) -> bytes:
        flags = (MARKS if self.marks else b"") + (ROOT_ATTRIBUTES if self.own_root else b"")
        name = NAME + b"-" + flags if flags else NAME
        return SUPERBLOCK.pack(
            *(MAGIC, 0, 0, 12, 0, ROOT_NID, self.inodes, 0, 0, self.blocks, self.meta_block, 0),
            *(self.uuid, name, INCOMPAT_CHUNKED, 0, 0, 0, b""),
        )

    @staticmethod
    def unpack(raw: bytes) -> Superblock:
        """Raises ValueError for anything that this project did not write."""
        if len(raw) < SUPERBLOCK.size:
            raise ValueError("no superblock")
        fields = SUPERBLOCK.unpack_from(raw)
        magic, bits, root, inodes, blocks, meta = (fields[i] for i in (0, 3, 5, 6, 9, 10))
        uuid, name, incompat = fields[12:15]
        if (magic, bits, root, incompat) != (MAGIC, 12, ROOT_NID, INCOMPAT_CHUNKED):
            raise ValueError("not a root disk image")
        flags = name.rstrip(b"\0").partition(b"-")[2]
        return Superblock(meta, blocks, inodes, uuid, MARKS in flags, ROOT_ATTRIBUTES in flags)


def encode_device(major: int, minor: int) -> int:
    """The kernel's ``new_encode_dev``; raises Refusal beyond 12 bits of major or 20 of minor."""
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise Refusal(f"device number {major}:{minor} is out of range")
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
