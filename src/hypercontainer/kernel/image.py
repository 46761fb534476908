"""Tells what a kernel file is: a bzImage, an ELF ``vmlinux`` that a hypervisor can enter by PVH, User Mode Linux, or
another architecture's image.

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
from hypercontainer.linux.architectures import AMD64, PPC64LE, S390X

_BOOT_FLAG_AT, _BOOT_FLAG = 0x1FE, b"\x55\xaa"
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_PROTOCOL_AT, _OLDEST_PROTOCOL = 0x206, 0x0206
_VERSION_POINTER_AT = 0x20E
_XEN_NOTE_NAME, _XEN_NOTE_PHYS32_ENTRY = b"Xen", 18
_S390_VERSION_POINTER_AT = 0x10428  # struct parmarea, arch/s390/include/asm/setup.h
_BANNER = re.compile(rb"Linux version ([\x21-\x7e]{1,128}) ")
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
            "an uncompressed image for arm64 or riscv64, a vmlinux for ppc64le, or a bzImage for s390x",
        ) from error


def _parse(data: mmap.mmap) -> Image:
    if data[:4] == elf.MAGIC:
        return _parse_elf(data)
    for target in TARGETS.values():
        if target.magic and data[(at := target.magic[0]) : at + len(target.magic[1])] == target.magic[1]:
            version = _packed_version(data) if target.architecture == S390X else _banner(data)
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
    return Image(version=_word(data, pointer + 0x200), pvh=False)


def _word(data: mmap.mmap, at: int) -> str:
    """The first of the text that ends in a NUL."""
    words = data[at : at + 128].split(b"\0")[0].split()
    return words[0].decode("ascii", "replace") if words else ""


def _parse_elf(data: mmap.mmap) -> Image:
    if elf.machine(data) == elf.PPC64LE:
        return Image(_banner(data), pvh=False, architecture=PPC64LE)
    pvh = (_XEN_NOTE_NAME, _XEN_NOTE_PHYS32_ENTRY) in elf.notes(data)
    if not pvh and data.find(_PROGRAM) < 0:
        raise ValueError("an ELF file without a PVH entry point, and no User Mode Linux")
    return Image(_banner(data), pvh=pvh, program=not pvh)


def _packed_version(data: mmap.mmap) -> str:
    """Of an image for s390x, whose kernel is packed: where its parameters say."""
    pointer = int.from_bytes(data[_S390_VERSION_POINTER_AT : _S390_VERSION_POINTER_AT + 8], "big")
    return _word(data, pointer) if pointer < len(data) else ""


def _banner(data: mmap.mmap) -> str:
    """The version in it, "" where it says none."""
    found = _BANNER.search(data)
    return found[1].decode("ascii") if found else ""


def digest(files: Iterable[Path]) -> str:
    """``sha256:`` and the hash of the files' names and contents, in their order."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{content}  {path.name}\n".encode())
    return f"sha256:{total.hexdigest()}"
