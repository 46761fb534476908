"""A kernel that is none: a PVH ELF file that says a word on the serial port and then stands still for ever.

The entry is that of Xen's PVH ABI (docs/misc/pvh.pandoc): 32-bit protected mode, flat segments, no paging.
"""

from __future__ import annotations

import struct
from pathlib import Path

LOAD_AT = 0x100000
SERIAL_PORT = 0x3F8
_NOTE_PHYS32_ENTRY = 18
_PT_LOAD, _PT_NOTE = 1, 4
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")


def write(path: Path, word: bytes) -> Path:
    note = struct.pack("<III", 4, 4, _NOTE_PHYS32_ENTRY) + b"Xen\0" + struct.pack("<I", LOAD_AT)
    code = _code(word)
    note_at = _EHDR.size + 2 * _PHDR.size
    code_at = 0x1000
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = _EHDR.pack(ident, 2, 62, 1, LOAD_AT, _EHDR.size, 0, 0, _EHDR.size, _PHDR.size, 2, 0, 0, 0)
    load = _PHDR.pack(_PT_LOAD, 5, code_at, LOAD_AT, LOAD_AT, len(code), len(code), 0x1000)
    marks = _PHDR.pack(_PT_NOTE, 4, note_at, 0, 0, len(note), len(note), 4)
    path.write_bytes((header + load + marks + note).ljust(code_at, b"\0") + code)
    path.chmod(0o644)
    return path


def _code(word: bytes) -> bytes:
    """``mov dx, port``; for each byte ``mov al, byte; out dx, al``; then ``cli; hlt`` for ever."""
    out = b"".join(b"\xb0" + bytes([byte]) + b"\xee" for byte in word)
    return b"\x66\xba" + struct.pack("<H", SERIAL_PORT) + out + b"\xfa\xf4\xeb\xfc"
