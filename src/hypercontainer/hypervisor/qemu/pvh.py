"""The smallest kernel that QEMU takes for one: an ELF file with a PVH entry (Xen's ``elfnote.h``)."""

from __future__ import annotations

import struct

_ENTRY = 0x100000
_EHDR_BYTES, _PHDR_BYTES = 64, 56
_EXECUTABLE, _X86_64 = 2, 62
_PT_LOAD, _PT_NOTE = 1, 4
_PHYS32_ENTRY = 18  # XEN_ELFNOTE_PHYS32_ENTRY


def _smallest() -> bytes:
    note = struct.pack("<III4sQ", 4, 8, _PHYS32_ENTRY, b"Xen", _ENTRY)
    at = _EHDR_BYTES + 2 * _PHDR_BYTES
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = identity + struct.pack(
        "<HHIQQQIHHHHHH",
        *(_EXECUTABLE, _X86_64, 1, _ENTRY, _EHDR_BYTES, 0, 0),
        *(_EHDR_BYTES, _PHDR_BYTES, 2, 0, 0, 0),
    )
    segments = b"".join(
        struct.pack("<IIQQQQQQ", kind, 5, at, _ENTRY, _ENTRY, len(note), len(note), align)
        for kind, align in ((_PT_LOAD, 0x1000), (_PT_NOTE, 4))
    )
    return header + segments + note


SMALLEST = _smallest()
