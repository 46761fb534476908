"""The form of a container's log on disk: records in files that are only ever appended to.

    0       4     5        6     8        12     16        24            32            40      44        44+length
    +-------+-----+--------+-----+--------+------+---------+-------------+-------------+-------+-- ... ---+--------+
    | magic | kind| stream | 0   | length | run  | time_ns | stdout_end  | stderr_end  | crc   | payload  | size   |
    +-------+-----+--------+-----+--------+------+---------+-------------+-------------+-------+-- ... ---+--------+

Little-endian.  The two ends are how far each stream of this run has come with this record, so the last record of
a log tells all.  ``crc`` is the CRC-32 of the header before it and the payload; ``size`` is the whole record's,
so that a file can be read from its end.  A record that does not check is damage: what follows is looked for.
"""

from __future__ import annotations

import enum
import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

MAGIC: Final = b"\xe9hL\x01"
PAYLOAD_MAX: Final = 65536
HEADER: Final = struct.Struct("<4sBBHIIQQQ")
_CRC: Final = struct.Struct("<I")
_SIZE: Final = struct.Struct("<I")
HEAD_BYTES: Final = HEADER.size + _CRC.size
OVERHEAD_BYTES: Final = HEAD_BYTES + _SIZE.size
_SEARCH_BYTES: Final = 65536
# Looking for a record behind damage: after so many that look like one and are none, the file is given up.
_CANDIDATES_MAX: Final = 1000


class Kind(enum.IntEnum):
    DATA = 1
    BEGIN = 2  # of a run
    END = 3  # of a run
    DROPPED = 4  # payload: u64, so many bytes of the stream could not be written


class Record(NamedTuple):
    """``stdout_end`` and ``stderr_end`` count bytes since the run began."""

    kind: Kind
    stream: int
    run: int
    time_ns: int
    stdout_end: int
    stderr_end: int
    payload: bytes

    @property
    def offset(self) -> int:
        """Where the payload begins in its stream."""
        end = self.stdout_end if self.stream == 1 else self.stderr_end
        return end - len(self.payload)

    @property
    def size(self) -> int:
        return OVERHEAD_BYTES + len(self.payload)


class Damage(NamedTuple):
    """Bytes of a file that are no records."""

    size: int


def pack(record: Record) -> list[bytes]:
    """The record's bytes, in parts for writev(2)."""
    kind, stream, run, time_ns, stdout_end, stderr_end, payload = record
    head = HEADER.pack(MAGIC, kind, stream, 0, len(payload), run, time_ns, stdout_end, stderr_end)
    crc = zlib.crc32(payload, zlib.crc32(head))
    return [head, _CRC.pack(crc), payload, _SIZE.pack(OVERHEAD_BYTES + len(payload))]


def read_at(file: BinaryIO, position: int) -> Record | None:
    """The record that begins at ``position``; None where there is none, whole and undamaged."""
    file.seek(position)
    head = file.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return None
    magic, kind, stream, zero, length, run, time_ns, stdout_end, stderr_end = HEADER.unpack_from(head)
    if magic != MAGIC or zero or length > PAYLOAD_MAX or not Kind.DATA <= kind <= Kind.DROPPED:
        return None
    rest = file.read(length + _SIZE.size)
    if len(rest) < length + _SIZE.size:
        return None
    payload = rest[:length]
    if _CRC.unpack_from(head, HEADER.size)[0] != zlib.crc32(payload, zlib.crc32(head[: HEADER.size])):
        return None
    if _SIZE.unpack_from(rest, length)[0] != OVERHEAD_BYTES + length:
        return None
    return Record(Kind(kind), stream, run, time_ns, stdout_end, stderr_end, payload)


def read_before(file: BinaryIO, end: int) -> Record | None:
    """The record that ends at ``end``, or None where none does."""
    if end < OVERHEAD_BYTES:
        return None
    file.seek(end - _SIZE.size)
    size = _SIZE.unpack(file.read(_SIZE.size))[0]
    if not OVERHEAD_BYTES <= size <= min(end, OVERHEAD_BYTES + PAYLOAD_MAX):
        return None
    record = read_at(file, end - size)
    return record if record is not None and record.size == size else None


def forward(file: BinaryIO, position: int = 0) -> Iterator[tuple[int, Record | Damage]]:
    """(position, record or damage) up to the file's present end; bytes at the end that may be the beginning of
    a record are damage too."""
    end = os.fstat(file.fileno()).st_size
    while position < end:
        item: Record | Damage | None = read_at(file, position)
        if item is None:
            item = Damage(_next_record(file, position + 1, end) - position)
        yield position, item
        position += item.size


def _next_record(file: BinaryIO, position: int, end: int) -> int:
    """Where the next whole record begins, or ``end``."""
    for _ in range(_CANDIDATES_MAX):
        found = _find_magic(file, position, end)
        if found == end or read_at(file, found) is not None:
            return found
        position = found + 1
    return end


def _find_magic(file: BinaryIO, position: int, end: int) -> int:
    while position < end:
        file.seek(position)
        block = file.read(_SEARCH_BYTES + len(MAGIC) - 1)
        at = block.find(MAGIC)
        if at >= 0:
            return position + at
        position += _SEARCH_BYTES
    return end


def last_record(file: BinaryIO) -> tuple[int, Record | None]:
    """(where the file's last whole record ends, that record); behind it lies what a crash has torn."""
    end = os.fstat(file.fileno()).st_size
    if (record := read_before(file, end)) is not None:
        return end, record
    good, last = 0, None
    for position, item in forward(file):
        if isinstance(item, Record):
            good, last = position + item.size, item
    return good, last
