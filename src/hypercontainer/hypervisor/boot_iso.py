"""A CD that boots a kernel, for hypervisors that start none by themselves: ISO 9660 with El Torito, and ISOLINUX.

The same bytes from the same files, whenever and wherever; nothing but a sector is held in memory.  ECMA-119 numbers the
fields; El Torito and the table that a boot program of ISOLINUX's has in it are described with these.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from hypercontainer.errors import InvalidArgument, Unavailable

SECTOR = 2048
BZIMAGE = "bzImage"
_ELF = b"\x7fELF"
_VOLUME, _BOOT_RECORD, _END, _PATHS, _PATHS_BIG, _ROOT, _CATALOG, _FILES = range(16, 24)
_FILE_MAX = (1 << 32) - 1
_ARGUMENTS_MAX = 2047  # the kernel's COMMAND_LINE_SIZE, without its end
_TABLE_AT, _TABLE_END = 8, 64  # of ISOLINUX's program; its checksum is of what follows
_CONFIGURATION = (
    "DEFAULT hyper\nPROMPT 0\nLABEL hyper\n  KERNEL /kernel\n  INITRD /initrd\n  APPEND {arguments}\n"
)


@dataclass(frozen=True)
class Loader:
    """ISOLINUX: its boot program, and the module that this loads."""

    program: Path = Path("/usr/lib/ISOLINUX/isolinux.bin")
    module: Path = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")

    def check_installed(self) -> None:
        """Raises Unavailable, which says what to install."""
        for path in (self.program, self.module):
            if not path.is_file():
                raise Unavailable(
                    f"the boot loader for a guest's CD is missing: {path}",
                    hint="apt-get install isolinux syslinux-common",
                )


@dataclass(frozen=True)
class _File:
    name: bytes
    content: Path | bytes
    length: int
    sector: int

    def open(self) -> BinaryIO:
        return BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


def for_loaders(kernel: Path) -> Path:
    """What a boot loader takes of this kernel: itself, or of an ELF file, which it does not, the bzImage beside it.

    Raises InvalidArgument, OSError.
    """
    with kernel.open("rb") as file:
        if file.read(len(_ELF)) != _ELF:
            return kernel
    beside = kernel.with_name(BZIMAGE)
    if not beside.is_file():
        raise InvalidArgument(
            f"kernel {kernel}: a boot loader takes a bzImage",
            hint="build one with `make kernel FLAVOUR=wide`",
        )
    return beside


def write(out: Path, bzimage: Path, initrd: Path, arguments: Sequence[str], loader: Loader) -> None:
    """Makes ``out``, which must not exist; ``arguments`` are the kernel's.

    Raises InvalidArgument, Unavailable, OSError; ``out`` may be there then, and not whole.
    """
    loader.check_installed()
    configuration = _CONFIGURATION.format(arguments=_line(arguments)).encode()
    files = _placed(
        [
            (b"INITRD.;1", initrd),
            (b"ISOLINUX.BIN;1", loader.program.read_bytes()),
            (b"ISOLINUX.CFG;1", configuration),
            (b"KERNEL.;1", bzimage),
            (b"LDLINUX.C32;1", loader.module),
        ]
    )
    program = files[1]
    end = _after(files[-1])
    with out.open("xb") as image:
        for sector in _structure(files, program, end):
            image.write(sector.ljust(SECTOR, b"\0"))
        for file in files:
            with _booting(file) if file is program else file.open() as content:
                shutil.copyfileobj(content, image, 1 << 20)
            if image.tell() != file.sector * SECTOR + file.length:
                raise Unavailable(f"{file.content!r} has changed while a CD was made of it")
            image.write(bytes(-file.length % SECTOR))


def _line(arguments: Sequence[str]) -> str:
    line = " ".join(arguments)
    if not line.isascii() or not line.isprintable():
        raise InvalidArgument(f"kernel arguments {line!r}: not all of it can be printed")
    if len(line) > _ARGUMENTS_MAX:
        raise InvalidArgument(f"kernel arguments: {len(line)} bytes are more than {_ARGUMENTS_MAX}")
    return line


def _placed(contents: Sequence[tuple[bytes, Path | bytes]]) -> list[_File]:
    """One after the other; the names are in their order already, as a directory wants them."""
    files: list[_File] = []
    for name, content in contents:
        length = len(content) if isinstance(content, bytes) else content.stat().st_size
        if not 0 < length <= _FILE_MAX:
            raise InvalidArgument(f"{content!r}: {length} bytes do not go on a CD")
        files.append(_File(name, content, length, _after(files[-1]) if files else _FILES))
    return files


def _after(file: _File) -> int:
    return file.sector + -(-file.length // SECTOR)


def _booting(program: _File) -> BinaryIO:
    """With the table by which it finds itself on the CD."""
    with program.open() as file:
        data = file.read()
    words = data[_TABLE_END:] + bytes(-len(data) % 4)
    checksum = sum(struct.unpack(f"<{len(words) // 4}I", words)) & 0xFFFFFFFF
    table = struct.pack("<4I40x", _VOLUME, program.sector, len(data), checksum)
    return BytesIO(data[:_TABLE_AT] + table + data[_TABLE_END:])


def _structure(files: list[_File], program: _File, end: int) -> Iterator[bytes]:
    """The sectors before the files."""
    yield from [b""] * _VOLUME
    root = _record(b"\0", _ROOT, SECTOR, directory=True)
    yield _volume(root, end)
    yield struct.pack("<B5sB32s32xI", 0, b"CD001", 1, b"EL TORITO SPECIFICATION", _CATALOG)
    yield struct.pack("<B5sB", 255, b"CD001", 1)
    for order in "<>":
        yield struct.pack(f"{order}BBIH2s", 1, 0, _ROOT, 1, b"\0\0")
    records = [_record(file.name, file.sector, file.length) for file in files]
    yield b"".join([root, _record(b"\1", _ROOT, SECTOR, directory=True), *records])
    yield _catalog(program)


def _both(value: int, kind: str) -> bytes:
    return struct.pack(f"<{kind}", value) + struct.pack(f">{kind}", value)


def _record(name: bytes, sector: int, length: int, *, directory: bool = False) -> bytes:
    size = 33 + len(name)
    size += size % 2
    parts = [
        struct.pack("BB", size, 0),
        _both(sector, "I"),
        _both(length, "I"),
        bytes(7),  # no date
        struct.pack("BBB", 2 if directory else 0, 0, 0),
        _both(1, "H"),
        struct.pack("B", len(name)),
        name,
    ]
    return b"".join(parts).ljust(size, b"\0")


def _volume(root: bytes, end: int) -> bytes:
    no_date = b"0" * 16 + b"\0"
    parts = [
        struct.pack("<B5sBB32s32s8x", 1, b"CD001", 1, 0, b" " * 32, b"HYPER".ljust(32)),
        _both(end, "I"),
        bytes(32),
        _both(1, "H"),
        _both(1, "H"),
        _both(SECTOR, "H"),
        _both(10, "I"),  # of a table of paths
        struct.pack("<II", _PATHS, 0) + struct.pack(">II", _PATHS_BIG, 0),
        root,
        b" " * (4 * 128 + 3 * 37),
        no_date * 4,
        struct.pack("BB", 1, 0),
    ]
    return b"".join(parts)


def _catalog(program: _File) -> bytes:
    """One entry: a program for a PC's BIOS, of which it loads 2048 bytes."""
    validation = bytearray(struct.pack("<BBH24sHBB", 1, 0, 0, b"hyper", 0, 0x55, 0xAA))
    checksum = -sum(struct.unpack("<16H", validation)) & 0xFFFF
    struct.pack_into("<H", validation, 28, checksum)
    return bytes(validation) + struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 4, program.sector)
