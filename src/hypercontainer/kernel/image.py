"""Tells what a kernel file is: a bzImage, an ELF ``vmlinux`` that a hypervisor can enter by PVH, User Mode Linux, or
another architecture's plain image.

The bzImage header is that of the kernel's Documentation/x86/boot.rst; the note that marks a PVH entry is
XEN_ELFNOTE_PHYS32_ENTRY of Xen's public/elfnote.h.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.kernel import elf
from hypercontainer.kernel.targets import TARGETS
from hypercontainer.linux.architectures import AMD64

_BOOT_FLAG_AT, _BOOT_FLAG = 0x1FE, b"\x55\xaa"
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_PROTOCOL_AT, _OLDEST_PROTOCOL = 0x206, 0x0206
_VERSION_POINTER_AT = 0x20E
_XEN_NOTE_NAME, _XEN_NOTE_PHYS32_ENTRY = b"Xen", 18
_BANNER = re.compile(rb"Linux version ([\x21-\x7e]{1,128}) ")
_PLAIN_MAGIC_AT = 0x38  # of arm64's and riscv64's images
_PROGRAM = b"uml_dir="  # an argument that only User Mode Linux has
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Image:
    """``version`` is what ``uname -r`` prints in the guest, or '' where the file does not tell."""

    version: str
    pvh: bool
    program: bool = False
    architecture: str = AMD64


def inspect(path: Path) -> Image:
    """Raises NotFound, or InvalidArgument where ``path`` is not a kernel that can be started."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if not _MAGIC_AT < size <= _MAX_BYTES:
                raise InvalidArgument(f"kernel {path}: {size} bytes is no size for a kernel")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(data)
    except FileNotFoundError:
        raise NotFound(f"kernel {path} does not exist") from None
    except OSError as error:
        raise InvalidArgument(f"kernel {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(
            f"kernel {path}: {error}",
            hint="give a bzImage (the distribution's vmlinuz), a vmlinux built with CONFIG_PVH=y, a User Mode Linux, "
            "or an uncompressed image for arm64 or riscv64",
        ) from error


def _parse(data: mmap.mmap) -> Image:
    if data[:4] == elf.MAGIC:
        pvh = (_XEN_NOTE_NAME, _XEN_NOTE_PHYS32_ENTRY) in elf.notes(data)
        if not pvh and data.find(_PROGRAM) < 0:
            raise ValueError("an ELF file without a PVH entry point, and no User Mode Linux")
        found = _BANNER.search(data)
        return Image(version=found[1].decode("ascii") if found else "", pvh=pvh, program=not pvh)
    for target in TARGETS.values():
        if target.magic and data[_PLAIN_MAGIC_AT : _PLAIN_MAGIC_AT + 4] == target.magic:
            found = _BANNER.search(data)
            version = found[1].decode("ascii") if found else ""
            return Image(version, pvh=False, architecture=target.architecture)
    boot_flag = data[_BOOT_FLAG_AT : _BOOT_FLAG_AT + 2]
    if boot_flag != _BOOT_FLAG or data[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise ValueError("neither a bzImage nor an ELF file")
    protocol, pointer = struct.unpack_from("<H", data, _PROTOCOL_AT)[0], 0
    if protocol < _OLDEST_PROTOCOL:
        raise ValueError(f"boot protocol {protocol >> 8}.{protocol & 0xFF:02} is older than 2.06")
    pointer = struct.unpack_from("<H", data, _VERSION_POINTER_AT)[0]
    if not pointer:
        return Image(version="", pvh=False)
    words = data[pointer + 0x200 : pointer + 0x200 + 128].split(b"\0")[0].split()
    return Image(version=words[0].decode("ascii", "replace") if words else "", pvh=False)


def digest(files: Iterable[Path]) -> str:
    """``sha256:`` and the hash of the files' names and contents, in their order."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{content}  {path.name}\n".encode())
    return f"sha256:{total.hexdigest()}"
