"""Reads a tar archive as a stream: v7, ustar, GNU and PAX, with all that container layers are known to hold.

The rules are those of POSIX.1-2017 (pax, "ustar Interchange Format" and "pax Extended Header") and of GNU tar's
manual ("Basic Tar Format", "Storing Sparse Files"); where they leave something open, this does what Go's
``archive/tar`` does, since that is what made and what reads nearly every layer.

An archive is input from strangers: every length is bounded before it is read, every number is checked, and what
does not make sense is a Refusal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from . import pax, sparse
from .limits import LayerLimits, Refusal

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
# name, mode, uid, gid, size, mtime, checksum, type, link name, magic and version, user, group, major, minor, prefix
HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
CHECKSUM_AT, CHECKSUM_END = 148, 156
POSIX_MAGIC = b"ustar\0"

FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
OLD_SPARSE = b"S"
EXTENDED, GLOBAL, LONG_NAME, LONG_LINK = b"x", b"g", b"L", b"K"
KINDS = {
    **{kind: kind for kind in (FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO, OLD_SPARSE)},
    b"\0": FILE,
    b"7": FILE,
    **{kind: kind for kind in (EXTENDED, GLOBAL, LONG_NAME, LONG_LINK)},
    b"X": EXTENDED,
}


class Source(Protocol):
    """A stream of bytes; ``position`` counts those taken."""

    position: int

    def read(self, count: int) -> bytes:
        """``count`` bytes, fewer only at the end."""

    def copy(self, count: int, write: Callable[[memoryview], None]) -> int:
        """Hand ``count`` bytes to ``write`` in pieces; returns how many there were."""


@dataclass(slots=True)
class Entry:
    """``size``: of the file.  ``stored``: of its data in the archive, which differs for a sparse file, whose
    ``segments`` are the (offset, length) of what is not a hole.  ``mode`` is without type bits."""

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    stored: int
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    segments: list[tuple[int, int]] | None = None


class TarReader:
    """Entries in their order.  ``name`` is that of the entry being read, for messages, as far as it is known."""

    def __init__(self, source: Source, limits: LayerLimits) -> None:
        self._source = source
        self._limits = limits
        self._data_left = 0
        self._padding = 0
        self.name = b""

    def next_entry(self) -> Entry | None:
        """The next entry, None at the archive's end; data of the last one that was not copied is skipped."""
        self.copy_data(_discard)
        self._source.read(self._padding)
        self._padding = 0
        records: pax.Records | None = None
        long_names: dict[bytes, bytes] = {}
        while (header := self._header()) is not None:
            fields = HEADER.unpack(header)
            kind = KINDS.get(fields[7])
            if kind is None:
                self.name = _text(fields[0])
                raise Refusal(f"unknown entry type {fields[7]!r}")
            if kind == EXTENDED:
                records = pax.parse(self._payload(fields))
            elif kind == GLOBAL:
                pax.parse(self._payload(fields))  # of no effect, as for all that is written in Go
            elif kind in (LONG_NAME, LONG_LINK):
                long_names[kind] = _text(self._payload(fields))
            else:
                return self._entry(header, fields, kind, records, long_names)
        if records is not None or long_names:
            raise Refusal("the archive ends after an extended header")
        return None

    def copy_data(self, write: Callable[[memoryview], None], count: int | None = None) -> None:
        """Hand ``count`` bytes of the current entry's stored data (or all that are left) to ``write``."""
        count = self._data_left if count is None else count
        assert count <= self._data_left
        self._data_left -= count
        if count and self._source.copy(count, write) < count:
            raise Refusal("the archive ends in the middle of its data")

    def _header(self) -> bytes | None:
        header = self._source.read(BLOCK)
        if not header:
            return None
        if header == ZERO_BLOCK:
            if self._source.read(BLOCK) in (ZERO_BLOCK, b""):
                return None
            raise Refusal("a block of zeros is not followed by another")
        if len(header) < BLOCK:
            raise Refusal("the archive ends in the middle of a header")
        _verify_checksum(header)
        return header

    def _payload(self, fields: tuple[bytes, ...]) -> bytes:
        """What an extended header holds."""
        size = number(fields[4], "size")
        if not 0 <= size <= self._limits.max_header_bytes:
            raise Refusal(f"an extended header of {size} bytes, at most {self._limits.max_header_bytes}")
        payload = self._source.read(size)
        if len(payload) < size:
            raise Refusal("the archive ends in the middle of an extended header")
        self._source.read(-size % BLOCK)
        return payload

    def _entry(
        self,
        header: bytes,
        fields: tuple[bytes, ...],
        kind: bytes,
        records: pax.Records | None,
        long_names: dict[bytes, bytes],
    ) -> Entry:
        self.name = long_names.get(LONG_NAME) or _name(fields)
        entry = Entry(
            self.name,
            kind,
            number(fields[1], "mode") & 0o7777,
            number(fields[2], "uid"),
            number(fields[3], "gid"),
            number(fields[5], "mtime") * 1_000_000_000,
            *(0, number(fields[4], "size")),
            long_names.get(LONG_LINK) or _text(fields[8]),
        )
        if records:
            pax.apply(records, entry)
            if LONG_NAME in long_names:
                entry.name = self.name
            self.name = entry.name
        if kind in (CHAR, BLOCK_DEVICE):
            entry.device = number(fields[12], "major"), number(fields[13], "minor")
        if kind == FILE and entry.name.endswith(b"/"):
            entry.kind = DIRECTORY  # how archives older than ustar mark one
        self._start_data(entry, header, records or {})
        return entry

    def _start_data(self, entry: Entry, header: bytes, records: pax.Records) -> None:
        if entry.kind not in (FILE, OLD_SPARSE):
            entry.stored = 0
        if not 0 <= entry.stored <= self._limits.max_bytes - self._source.position:
            raise Refusal(
                f"its size of {entry.stored} bytes takes the layer beyond {self._limits.max_bytes} bytes"
            )
        entry.size = entry.stored
        if entry.kind == OLD_SPARSE:
            entry.kind = FILE
            entry.segments, entry.size = sparse.from_header(header, self._source.read, number)
        self._data_left, self._padding = entry.stored, -entry.stored % BLOCK
        if entry.kind == FILE and records:
            found = sparse.from_records(records, self._read_data)
            if found is not None:
                entry.segments, entry.size, name = found
                entry.name = self.name = name or entry.name
                entry.stored = self._data_left
        if entry.segments is not None:
            sparse.verify(entry.segments, entry.size, entry.stored)

    def _read_data(self, count: int) -> bytes:
        data = self._source.read(min(count, self._data_left))
        self._data_left -= len(data)
        return data


def _discard(_: memoryview) -> None:
    return None


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


def _name(fields: tuple[bytes, ...]) -> bytes:
    name = fields[0].partition(b"\0")[0]
    if fields[9].startswith(POSIX_MAGIC) and fields[14][0]:
        return fields[14].partition(b"\0")[0] + b"/" + name
    return name


def number(raw: bytes, what: str) -> int:
    """A numeric field: octal digits, or GNU's base-256 (two's complement, big endian, marked by the top bit)."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ((1 << (8 * len(raw) - 1)) - 1)
        return value - (1 << (8 * len(raw) - 1)) if raw[0] & 0x40 else value
    digits = raw.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    try:
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise Refusal(f"its {what} is not a number: {digits!r}")


def _verify_checksum(header: bytes) -> None:
    stored = number(header[CHECKSUM_AT:CHECKSUM_END], "checksum")
    spaces = 8 * ord(" ")
    total = sum(header) - sum(header[CHECKSUM_AT:CHECKSUM_END]) + spaces
    if stored == total:
        return
    # Some old programs summed signed characters.
    negative = sum(byte >= 0x80 for byte in header[:CHECKSUM_AT] + header[CHECKSUM_END:])
    if stored != total - 256 * negative:
        raise Refusal(f"a header's checksum is {stored}, its bytes make {total}")
