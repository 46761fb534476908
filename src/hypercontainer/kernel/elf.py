"""Reads the little of ELF that matters here: the notes of a kernel, the sections of a module.

64-bit little-endian files only (System V ABI, chapters 4 and 5).  Every offset and count comes from the file,
so none is followed before it is checked against the file's length: a broken file is a ``ValueError``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap

MAGIC = b"\x7fELF"
Data = bytes | mmap

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOTE = struct.Struct("<III")
_CLASS_64_LITTLE_ENDIAN = b"\x02\x01"
_PT_NOTE = 4
_SHT_NOBITS = 8


def _header(data: Data) -> tuple[int, ...]:
    if len(data) < _HEADER.size or data[:4] != MAGIC:
        raise ValueError("not an ELF file")
    if data[4:6] != _CLASS_64_LITTLE_ENDIAN:
        raise ValueError("not a 64-bit little-endian ELF file")
    return _HEADER.unpack_from(data)[1:]


def _slice(data: Data, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(data):
        raise ValueError(f"{what} lies outside the file")
    return data[offset : offset + size]


def _table(data: Data, record: struct.Struct, offset: int, size: int, count: int, what: str) -> bytes:
    if count and size != record.size:
        raise ValueError(f"{what}: entries of {size} bytes, {record.size} expected")
    return _slice(data, offset, record.size * count, what)


def notes(data: Data) -> Iterator[tuple[bytes, int]]:
    """The name and type of every note in the program headers (``Elf64_Nhdr``, 4-byte alignment)."""
    header = _header(data)
    table = _table(data, _PROGRAM, header[4], header[8], header[9], "the program header table")
    for kind, _flags, offset, _vaddr, _paddr, size, *_ in _PROGRAM.iter_unpack(table):
        if kind == _PT_NOTE:
            yield from _segment_notes(_slice(data, offset, size, "a note segment"))


def _segment_notes(segment: bytes) -> Iterator[tuple[bytes, int]]:
    position = 0
    while position + _NOTE.size <= len(segment):
        name_size, value_size, kind = _NOTE.unpack_from(segment, position)
        position += _NOTE.size
        yield segment[position : position + name_size].rstrip(b"\0"), kind
        position += (name_size + 3 & ~3) + (value_size + 3 & ~3)


def section(data: Data, name: bytes) -> bytes:
    """The content of the first section called ``name``, empty where there is none."""
    header = _header(data)
    offset, size, count, names_index = header[5], header[10], header[11], header[12]
    sections = list(
        _SECTION.iter_unpack(_table(data, _SECTION, offset, size, count, "the section header table"))
    )
    if not sections:
        return b""
    if names_index >= len(sections):
        raise ValueError("the section names lie outside the section table")
    names = _content(data, sections[names_index])
    for entry in sections:
        if names[entry[0] :].startswith(name + b"\0"):
            return _content(data, entry)
    return b""


def _content(data: Data, entry: tuple[int, ...]) -> bytes:
    if entry[1] == _SHT_NOBITS:
        return b""
    return _slice(data, entry[4], entry[5], "a section")
