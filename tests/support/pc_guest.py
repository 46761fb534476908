"""A disc that a PC's BIOS starts a few hundred bytes of code from: El Torito without emulation (ISO 9660, one file)."""

from __future__ import annotations

import functools
import struct
import subprocess
import tempfile
from pathlib import Path

_SECTOR = 2048
_SOURCE = Path(__file__).with_name("pc_guest.S")
_CATALOG, _CODE = 19, 20  # sectors


def disc(letter: str) -> bytes:
    """``letter``: what the guest does (pc_guest.S)."""
    return _disc(_code()[:-1] + letter.encode())


@functools.cache
def _code() -> bytes:
    with tempfile.TemporaryDirectory() as work:
        made, linked = Path(work) / "guest.o", Path(work) / "guest"
        subprocess.run(["as", "--32", "-o", str(made), str(_SOURCE)], check=True)
        link = [
            "ld",
            "-m",
            "elf_i386",
            "-Ttext",
            "0x7c00",
            "--oformat",
            "binary",
            "-o",
            str(linked),
            str(made),
        ]
        subprocess.run(link, check=True)
        return linked.read_bytes()


def _disc(code: bytes) -> bytes:
    boot = b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(64, b"\0") + struct.pack("<I", _CATALOG)
    entry = bytearray(struct.pack("<BBH24s2sBB", 1, 0, 0, b"", b"\0\0", 0x55, 0xAA))
    entry[28:30] = struct.pack("<H", -sum(struct.unpack("<16H", entry)) & 0xFFFF)
    sectors = -(-len(code) // 512)
    entry += struct.pack("<BBHBBHI20s", 0x88, 0, 0, 0, 0, sectors, _CODE, b"")
    parts = [_volume(), boot, b"\xffCD001\1", bytes(entry), code]
    return bytes(16 * _SECTOR) + b"".join(part.ljust(_SECTOR, b"\0") for part in parts)


def _volume() -> bytes:
    """As much of it as a BIOS, and who looks what kind of disc it is, want to see."""
    volume = bytearray(_SECTOR)
    volume[:8] = b"\1CD001\1\0"
    volume[8:72] = b" " * 64
    for at, number in ((80, _CODE + 1), (120, 1), (124, 1), (128, _SECTOR)):
        kind = "I" if at == 80 else "H"
        volume[at : at + 2 * struct.calcsize(kind)] = struct.pack("<" + kind, number) + struct.pack(
            ">" + kind, number
        )
    volume[881] = 1
    return bytes(volume)
