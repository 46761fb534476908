"""Reads the little of ELF that matters here: the notes of a kernel, the sections of a module.

64-bit files only, in either order of bytes (System V ABI, chapters 4 and 5).  Every offset and count comes from the
file, so none is followed before it is checked against the file's length: a broken file is a ``ValueError``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap

MAGIC = b"\x7fELF"
Data = bytes | mmap

_HEADER = "16sHHIQQQIHHHHHH"
_PROGRAM = "IIQQQQQQ"
_SECTION = "IIQQQQIIQQ"
_NOTE = "III"
# By class and order of bytes.
_ORDERS = {b"\x02\x01": "<", b"\x02\x02": ">"}
PPC64LE = (21, "<")  # EM_PPC64
_PT_NOTE = 4
_SHT_NOBITS = 8


def _header(data: Data) -> tuple[str, tuple[int, ...]]:
    """The order of its bytes, as ``struct`` has it, and the header's fields but the first."""
    if len(data) < struct.calcsize("<" + _HEADER) or data[:4] != MAGIC:
        raise ValueError("not an ELF file")
    order = _ORDERS.get(data[4:6])
    if order is None:
        raise ValueError("not a 64-bit ELF file")
    return order, struct.unpack_from(order + _HEADER, data)[1:]


def machine(data: Data) -> tuple[int, str]:
    """For which processor it is, and in which order of bytes."""
    order, header = _header(data)
    return header[1], order


def _slice(data: Data, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(data):
        raise ValueError(f"{what} lies outside the file")
    return data[offset : offset + size]


def _table(data: Data, form: str, offset: int, size: int, count: int, what: str) -> Iterator[tuple[int, ...]]:
    record = struct.Struct(form)
    if count and size != record.size:
        raise ValueError(f"{what}: entries of {size} bytes, {record.size} expected")
    return record.iter_unpack(_slice(data, offset, record.size * count, what))


def notes(data: Data) -> Iterator[tuple[bytes, int]]:
    """The name and type of every note in the program headers (``Elf64_Nhdr``, 4-byte alignment)."""
    order, header = _header(data)
    table = _table(data, order + _PROGRAM, header[4], header[8], header[9], "the program header table")
    for kind, _flags, offset, _vaddr, _paddr, size, *_ in table:
        if kind == _PT_NOTE:
            yield from _segment_notes(order, _slice(data, offset, size, "a note segment"))


def _segment_notes(order: str, segment: bytes) -> Iterator[tuple[bytes, int]]:
    record = struct.Struct(order + _NOTE)
    position = 0
    while position + record.size <= len(segment):
        name_size, value_size, kind = record.unpack_from(segment, position)
        position += record.size
        yield segment[position : position + name_size].rstrip(b"\0"), kind
        position += (name_size + 3 & ~3) + (value_size + 3 & ~3)


def section(data: Data, name: bytes) -> bytes:
    """The content of the first section called ``name``, empty where there is none."""
    order, header = _header(data)
    offset, size, count, names_index = header[5], header[10], header[11], header[12]
    sections = list(_table(data, order + _SECTION, offset, size, count, "the section header table"))
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
