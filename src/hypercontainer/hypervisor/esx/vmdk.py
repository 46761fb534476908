"""Disks as streams of compressed grains: a VMDK of type streamOptimized (VMware's "Virtual Disk Format 1.1").

It is how vSphere takes disks in and gives them out, in one pass: grains as they come, each behind a marker, then the
tables that say where they are, and a footer which says where the tables are.  Pure: bytes in, bytes out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

from hypercontainer.errors import HypervisorError

SECTOR = 512
GRAIN_SECTORS = 128
GRAIN = GRAIN_SECTORS * SECTOR
CAPACITY_STEP = 1 << 20  # of a disk's bytes, for a host counts KiB, and its tools MiB
# Of what others send.
MAX_GRAIN_SECTORS = 2048
MAX_CAPACITY_SECTORS = 1 << 37  # 64 TiB

_MAGIC = 0x564D444B
_VERSION = 3
_FLAGS = 0x30001  # line ends can be tested, grains are compressed, there are markers
_AT_END = (1 << 64) - 1
_DEFLATE = 1
_TABLE_ENTRIES = 512
_DESCRIPTOR_SECTORS = 20
_OVERHEAD_SECTORS = 128
_HEADER = struct.Struct("<IIIQQQQIQQQB4sH433x")
_MARKER = struct.Struct("<QII496x")
_GRAIN_HEAD = struct.Struct("<QI")
_END, _TABLE, _DIRECTORY, _FOOTER = range(4)
_FULLEST = 64 * 1024  # of bytes that a grain's deflate may have beyond it


def capacity_of(size_bytes: int) -> int:
    """In bytes, of the disk that has so many."""
    return -(-size_bytes // CAPACITY_STEP) * CAPACITY_STEP


def write(capacity_bytes: int, grains: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """The stream of a disk of ``capacity_bytes``, a multiple of ``CAPACITY_STEP``.

    ``grains`` are ``(offset in the disk, its bytes)``, in order, at multiples of ``GRAIN``; the last one may be short.
    One that is missing, or all zeros, reads as zeros.
    """
    capacity = capacity_bytes // SECTOR
    yield _header(capacity, _AT_END)
    yield _padded(_descriptor(capacity), _DESCRIPTOR_SECTORS)
    yield bytes((_OVERHEAD_SECTORS - 1 - _DESCRIPTOR_SECTORS) * SECTOR)
    at = _OVERHEAD_SECTORS
    directory = [0] * -(-capacity // (GRAIN_SECTORS * _TABLE_ENTRIES))
    number, table = 0, [0] * _TABLE_ENTRIES
    for offset, data in grains:
        if not data.strip(b"\0"):
            continue
        place = offset // GRAIN
        if place // _TABLE_ENTRIES != number:
            if any(table):
                yield _table(table)
                directory[number], at = at + 1, at + 5
            number, table = place // _TABLE_ENTRIES, [0] * _TABLE_ENTRIES
        packed = zlib.compress(data.ljust(GRAIN, b"\0"), 6)
        grain = _whole(_GRAIN_HEAD.pack(offset // SECTOR, len(packed)) + packed)
        table[place % _TABLE_ENTRIES] = at
        yield grain
        at += len(grain) // SECTOR
    if any(table):
        yield _table(table)
        directory[number], at = at + 1, at + 5
    content = _whole(struct.pack(f"<{len(directory)}I", *directory))
    yield _MARKER.pack(len(content) // SECTOR, 0, _DIRECTORY) + content
    yield _MARKER.pack(1, 0, _FOOTER) + _header(capacity, at + 1) + _MARKER.pack(0, 0, _END)


def read(take: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """The grains of a stream, as ``write`` takes them; ``take(n)`` gives its next n bytes, fewer only at its end.

    Raises ``HypervisorError`` for what is no such stream, whoever made it.
    """
    head = _HEADER.unpack(_exactly(take, SECTOR))
    magic, version, flags, capacity, grain_sectors = head[:5]
    overhead, algorithm = head[10], head[13]
    if magic != _MAGIC or version != _VERSION or flags & 0x30000 != 0x30000 or algorithm != _DEFLATE:
        raise HypervisorError("a disk from vSphere is no stream of compressed grains")
    if not 0 < grain_sectors <= MAX_GRAIN_SECTORS or not 0 < capacity <= MAX_CAPACITY_SECTORS:
        raise HypervisorError("a disk from vSphere has a size that no disk has")
    if not 1 <= overhead <= MAX_CAPACITY_SECTORS:
        raise HypervisorError("a disk from vSphere does not say where it begins")
    _skip(take, overhead - 1)
    while True:
        block = _exactly(take, SECTOR)
        where, size = _GRAIN_HEAD.unpack_from(block)
        if size:
            yield where * SECTOR, _grain(take, block, where, size, capacity, grain_sectors * SECTOR)
            continue
        kind = _MARKER.unpack(block)[2]
        if kind == _END:
            return
        if kind not in (_TABLE, _DIRECTORY, _FOOTER):
            raise HypervisorError(f"a disk from vSphere has a marker of kind {kind}")
        _skip(take, where)


def _grain(
    take: Callable[[int], bytes], block: bytes, where: int, size: int, capacity: int, most: int
) -> bytes:
    if size > most + _FULLEST or where >= capacity:
        raise HypervisorError("a disk from vSphere has a grain where there is none")
    begun = block[_GRAIN_HEAD.size : _GRAIN_HEAD.size + size]
    rest = -(-(_GRAIN_HEAD.size + size) // SECTOR) - 1
    packed = (begun + _exactly(take, rest * SECTOR))[:size]
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(packed, most)
    except zlib.error as error:
        raise HypervisorError("a grain of a disk from vSphere is damaged") from error
    if not inflate.eof:
        raise HypervisorError("a grain of a disk from vSphere is larger than it says, or cut off")
    return data[: (capacity - where) * SECTOR]


def _exactly(take: Callable[[int], bytes], size: int) -> bytes:
    data = take(size) if size else b""
    if len(data) != size:
        raise HypervisorError("a disk from vSphere is cut off")
    return data


def _skip(take: Callable[[int], bytes], sectors: int) -> None:
    while sectors > 0:
        turn = min(sectors, 2048)
        _exactly(take, turn * SECTOR)
        sectors -= turn


def _header(capacity: int, directory: int) -> bytes:
    return _HEADER.pack(
        *(_MAGIC, _VERSION, _FLAGS, capacity, GRAIN_SECTORS, 1, _DESCRIPTOR_SECTORS, _TABLE_ENTRIES, 0),
        *(directory, _OVERHEAD_SECTORS, 0, b"\n \r\n", _DEFLATE),
    )


def _descriptor(capacity: int) -> bytes:
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        "CID=fffffffe",
        "parentCID=ffffffff",
        'createType="streamOptimized"',
        "# Extent description",
        f'RW {capacity} SPARSE "disk.vmdk"',
        "# The Disk Data Base",
        "#DDB",
        'ddb.adapterType = "lsilogic"',
        f'ddb.geometry.cylinders = "{min(capacity // (255 * 63), 65535)}"',
        'ddb.geometry.heads = "255"',
        'ddb.geometry.sectors = "63"',
        'ddb.virtualHWVersion = "4"',
    ]
    return ("\n".join(lines) + "\n").encode()


def _table(entries: list[int]) -> bytes:
    content = struct.pack(f"<{_TABLE_ENTRIES}I", *entries)
    return _MARKER.pack(len(content) // SECTOR, 0, _TABLE) + content


def _whole(data: bytes) -> bytes:
    return data + bytes(-len(data) % SECTOR)


def _padded(data: bytes, sectors: int) -> bytes:
    return data.ljust(sectors * SECTOR, b"\0")
