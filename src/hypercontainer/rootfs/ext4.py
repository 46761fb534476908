"""An empty ext4, written down: where what lies in a file of zeros that is one.

Pure.  Features are those of Linux 4 and later.  A guest must not spend its first seconds initialising tables, so the
inode tables are declared zeroed, which in a sparse file costs nothing, and a group that nobody has used has no bitmaps.
There is a journal, since a VM can be killed at any time, and no lost+found: it would be the first thing in every new
volume.

    group 0      superblock, descriptors of all groups, [of 16 groups: block bitmaps, inode bitmaps, inode tables],
                 the root directory's block, the journal
    group 16 n   [the same of the next 16]; what stands before it in group 0 also in groups 1, 3^n, 5^n, 7^n

Source: Documentation/filesystems/ext4 and fs/jbd2 of Linux.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK_BYTES = 4096
GROUP_BLOCKS = 8 * BLOCK_BYTES  # what a bitmap of one block tells
GROUP_INODES = 8192  # one for 16 KiB
INODE_BYTES = 256
TABLE_BLOCKS = GROUP_INODES * INODE_BYTES // BLOCK_BYTES
FLEX_LOG = 4
FLEX_GROUPS = 1 << FLEX_LOG
DESCRIPTOR_BYTES = 64
LABEL = b"hyper"
RANDOM_BYTES = 32
# A last group with less left than this is left out.
LEAST_USE_BLOCKS = 50
# What Linux keeps for its own tables in a file system with extents: the smaller one (ext4_set_resv_clusters).
KEPT_PART, KEPT_BLOCKS = 50, 4096

_SUPERBLOCK_AT, _SUPERBLOCK_BYTES = 1024, 1024
_HAS_JOURNAL, _EXT_ATTR, _DIR_INDEX = 0x4, 0x8, 0x20
_FILETYPE, _EXTENTS, _64BIT, _FLEX_BG = 0x2, 0x40, 0x80, 0x200
_SPARSE_SUPER, _LARGE_FILE, _HUGE_FILE, _DIR_NLINK, _EXTRA_ISIZE, _METADATA_CSUM = 1, 2, 8, 0x20, 0x40, 0x400
_COMPATIBLE = _HAS_JOURNAL | _EXT_ATTR | _DIR_INDEX
_INCOMPATIBLE = _FILETYPE | _EXTENTS | _64BIT | _FLEX_BG
_READ_ONLY_COMPATIBLE = _SPARSE_SUPER | _LARGE_FILE | _HUGE_FILE | _DIR_NLINK | _EXTRA_ISIZE | _METADATA_CSUM
_INODES_UNUSED, _BLOCKS_UNUSED, _TABLE_ZEROED = 1, 2, 4  # flags of a group
_ROOT_INODE, _JOURNAL_INODE, _FIRST_INODE = 2, 8, 11
_EXTENTS_FL, _EXTENT_MAGIC = 0x80000, 0xF30A
_EXTRA_BYTES = 32
_DIRECTORY, _FILE = 0o040755, 0o100600
_DESCRIPTOR = struct.Struct("<IIIHHHHIHHHHIIIHHHHIHHI")
_INODE = struct.Struct("<HHIIIIIHHIII60sIIIIHHHHHHHHIIIIIII")


@dataclass(frozen=True)
class Empty:
    """``random`` is the UUID and the seed of the directories' hashes; ``now_s`` is when it was made."""

    size_bytes: int
    journal_bytes: int
    random: bytes
    now_s: int

    @functools.cached_property
    def blocks(self) -> int:
        """Of the file system, which ends before a last group that would be too small to be of use."""
        blocks = self.size_bytes // BLOCK_BYTES
        groups = -(-blocks // GROUP_BLOCKS)
        overhead = 1 + _descriptor_blocks(groups) + 2 + TABLE_BLOCKS + LEAST_USE_BLOCKS
        rest = blocks % GROUP_BLOCKS
        return blocks - rest if groups > 1 and 0 < rest < overhead else blocks

    @functools.cached_property
    def groups(self) -> int:
        return -(-self.blocks // GROUP_BLOCKS)

    @functools.cached_property
    def journal_blocks(self) -> int:
        return self.journal_bytes // BLOCK_BYTES

    @functools.cached_property
    def seed(self) -> int:
        """What every checksum begins with."""
        return crc32c(self.random[:16])

    @functools.cached_property
    def free_blocks(self) -> int:
        return sum(self._group_blocks(group) - self._used(group) for group in range(self.groups))

    @property
    def room_bytes(self) -> int:
        """For files and directories: Linux keeps some of what is free to itself."""
        return (self.free_blocks - min(self.blocks // KEPT_PART, KEPT_BLOCKS)) * BLOCK_BYTES

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of all that is not zero, at most a MiB or so each."""
        descriptors = b"".join(self._descriptor(group) for group in range(self.groups))
        free = self.free_blocks
        for group in range(self.groups):
            start = group * GROUP_BLOCKS * BLOCK_BYTES
            if has_superblock(group):
                yield start + (0 if group else _SUPERBLOCK_AT), self._superblock(group, free)
                yield start + BLOCK_BYTES, descriptors
            if not self._unused(group):
                yield self._place(group).block_bitmap * BLOCK_BYTES, self._block_bitmap(group)
        first = self._place(0)
        yield first.inode_bitmap * BLOCK_BYTES, _inode_bitmap()
        table = first.inode_table * BLOCK_BYTES
        yield table + (_ROOT_INODE - 1) * INODE_BYTES, self._inode(_ROOT_INODE, _DIRECTORY, 2, self._root, 1)
        yield table + (_JOURNAL_INODE - 1) * INODE_BYTES, self._journal_inode()
        yield self._root * BLOCK_BYTES, self._directory()
        yield (self._root + 1) * BLOCK_BYTES, self._journal()

    # ---- where things are ----

    def _head(self, group: int) -> int:
        """Blocks of the superblock and the descriptors."""
        return 1 + _descriptor_blocks(self.groups) if has_superblock(group) else 0

    def _place(self, group: int) -> _Place:
        leader, number = group - group % FLEX_GROUPS, group % FLEX_GROUPS
        groups = min(FLEX_GROUPS, self.groups - leader)
        start = leader * GROUP_BLOCKS + self._head(leader)
        table = start + 2 * groups + number * TABLE_BLOCKS
        return _Place(start + number, start + groups + number, table)

    @property
    def _root(self) -> int:
        """The root directory's block; the journal follows it."""
        return self._head(0) + min(FLEX_GROUPS, self.groups) * (2 + TABLE_BLOCKS)

    def _group_blocks(self, group: int) -> int:
        return min(GROUP_BLOCKS, self.blocks - group * GROUP_BLOCKS)

    def _used(self, group: int) -> int:
        """Its first so many blocks."""
        used = self._head(group)
        if group % FLEX_GROUPS == 0:
            used += min(FLEX_GROUPS, self.groups - group) * (2 + TABLE_BLOCKS)
        return used + (1 + self.journal_blocks if group == 0 else 0)

    def _unused(self, group: int) -> bool:
        """Of its blocks none but what the kernel knows of without a bitmap."""
        return group % FLEX_GROUPS != 0 and group != self.groups - 1

    # ---- what is there ----

    def _block_bitmap(self, group: int) -> bytes:
        return _bitmap(self._used(group), self._group_blocks(group))

    def _descriptor(self, group: int) -> bytes:
        place, free = self._place(group), self._group_blocks(group) - self._used(group)
        inodes, flags, bits, inode_bits = GROUP_INODES, _TABLE_ZEROED, 0, 0
        if self._unused(group):
            flags |= _BLOCKS_UNUSED
        else:
            bits = _sum_of(self.seed, self._block_bitmap(group))
        if group == 0:
            inodes -= _FIRST_INODE - 1
            inode_bits = _sum_of(self.seed, _inode_bitmap()[: GROUP_INODES // 8])
        else:
            flags |= _INODES_UNUSED
        where = (place.block_bitmap, place.inode_bitmap, place.inode_table)
        low = (*(block & 0xFFFFFFFF for block in where), free, inodes, int(group == 0), flags, 0)
        high = (*(block >> 32 for block in where), 0, 0, 0, 0, 0, bits >> 16, inode_bits >> 16, 0)
        sums = (bits & 0xFFFF, inode_bits & 0xFFFF, inodes)
        bare = _DESCRIPTOR.pack(*low, *sums, 0, *high)
        total = crc32c(bare, crc32c(struct.pack("<I", group), self.seed)) & 0xFFFF
        return _DESCRIPTOR.pack(*low, *sums, total, *high)

    def _superblock(self, group: int, free: int) -> bytes:
        inodes = self.groups * GROUP_INODES
        block = bytearray(_SUPERBLOCK_BYTES)
        for at, form, values in (
            (0x00, "6I", (inodes, self.blocks & 0xFFFFFFFF, 0, free & 0xFFFFFFFF, inodes - 10, 0)),
            (0x18, "5I", (2, 2, GROUP_BLOCKS, GROUP_BLOCKS, GROUP_INODES)),
            (0x30, "IHHHHHH", (self.now_s, 0, 0xFFFF, 0xEF53, 1, 1, 0)),
            (0x40, "4I", (self.now_s, 0, 0, 1)),
            (0x54, "IHH", (_FIRST_INODE, INODE_BYTES, group & 0xFFFF)),
            (0x5C, "3I16s16s", (_COMPATIBLE, _INCOMPATIBLE, _READ_ONLY_COMPATIBLE, self.random[:16], LABEL)),
            (0xE0, "3I16s", (_JOURNAL_INODE, 0, 0, self.random[16:])),
            (0xFC, "BBH", (1, 1, DESCRIPTOR_BYTES)),  # half MD4, a copy of the journal's inode follows
            (
                0x100,
                "3I",
                (0xC, 0, self.now_s),
            ),  # extended attributes and access lists without being asked for
            (0x10C, "60sII", (_extents(self._root + 1, self.journal_blocks), 0, self.journal_bytes)),
            (0x150, "3I", (self.blocks >> 32, 0, free >> 32)),
            (0x15C, "HHI", (_EXTRA_BYTES, _EXTRA_BYTES, 1)),
            (0x174, "BB", (FLEX_LOG, 1)),
            (0x248, "I", (self.blocks - free - 1,)),  # what statfs does not count: all but the root directory
        ):
            struct.pack_into(f"<{form}", block, at, *values)
        struct.pack_into("<I", block, 0x3FC, crc32c(bytes(block[:0x3FC])))
        return bytes(block)

    def _journal_inode(self) -> bytes:
        return self._inode(_JOURNAL_INODE, _FILE, 1, self._root + 1, self.journal_blocks)

    def _inode(self, number: int, mode: int, links: int, start: int, blocks: int) -> bytes:
        def packed(total: int) -> bytes:
            times = (self.now_s, self.now_s, self.now_s, 0)
            head = (
                mode,
                0,
                blocks * BLOCK_BYTES,
                *times,
                0,
                links,
                blocks * BLOCK_BYTES // 512,
                _EXTENTS_FL,
                0,
            )
            middle = (_extents(start, blocks), 0, 0, 0, 0, 0, 0, 0, 0, total & 0xFFFF, 0)
            tail = (_EXTRA_BYTES, total >> 16, 0, 0, 0, self.now_s, 0, 0, 0)
            return _INODE.pack(*head, *middle, *tail).ljust(INODE_BYTES, b"\0")

        return packed(crc32c(packed(0), self._inode_seed(number)))

    def _inode_seed(self, number: int) -> int:
        return crc32c(struct.pack("<II", number, 0), self.seed)

    def _directory(self) -> bytes:
        """``.``, ``..``, and a checksum that passes for an entry without a name."""
        room = BLOCK_BYTES - 12
        block = struct.pack("<IHBB4sIHBB4s", _ROOT_INODE, 12, 1, 2, b".", _ROOT_INODE, room - 12, 2, 2, b"..")
        block = block.ljust(room, b"\0")
        return block + struct.pack("<IHBBI", 0, 12, 0, 0xDE, crc32c(block, self._inode_seed(_ROOT_INODE)))

    def _journal(self) -> bytes:
        """Its superblock, of an empty one; big-endian."""
        head = struct.pack(">9I", 0xC03B3998, 4, 0, BLOCK_BYTES, self.journal_blocks, 1, 1, 0, 0)
        return head + struct.pack(">3I16sI", 0, 0, 0, self.random[:16], 1)


@dataclass(frozen=True)
class _Place:
    """Of what describes a group, in blocks."""

    block_bitmap: int
    inode_bitmap: int
    inode_table: int


def has_superblock(group: int) -> bool:
    """The groups of ``sparse_super``."""
    return group < 2 or any(_is_power(group, of) for of in (3, 5, 7))


def _is_power(number: int, of: int) -> bool:
    while number % of == 0:
        number //= of
    return number == 1


def _descriptor_blocks(groups: int) -> int:
    return -(-groups * DESCRIPTOR_BYTES // BLOCK_BYTES)


def _extents(start: int, blocks: int) -> bytes:
    """Of an inode whose blocks are in one row."""
    head = struct.pack("<HHHHI", _EXTENT_MAGIC, 1, 4, 0, 0)
    return head + struct.pack("<IHHI", 0, blocks, start >> 32, start & 0xFFFFFFFF)


def _bitmap(used: int, bits: int) -> bytes:
    """A block whose first ``used`` bits of ``bits`` are set, and all that are none."""
    value = ((1 << used) - 1) | ((1 << GROUP_BLOCKS) - (1 << bits))
    return value.to_bytes(BLOCK_BYTES, "little")


def _inode_bitmap() -> bytes:
    return _bitmap(_FIRST_INODE - 1, GROUP_INODES)


@functools.lru_cache(maxsize=32)
def _sum_of(seed: int, bitmap: bytes) -> int:
    """Most groups' bitmaps are the same."""
    return crc32c(bitmap, seed)


def crc32c(data: bytes, seed: int = 0xFFFFFFFF) -> int:
    """Castagnoli's, as ext4 has it: without the last inversion."""
    for byte in data:
        seed = _CRC[(seed ^ byte) & 0xFF] ^ seed >> 8
    return seed


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC = tuple(map(_crc_of, range(256)))
