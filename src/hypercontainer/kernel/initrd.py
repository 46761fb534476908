"""Writes the initial RAM disk: hyperstart as /init and, for a modular kernel, its modules.

An uncompressed cpio archive in the "newc" format (the kernel's Documentation/driver-api/early-userspace/
buffer-format.rst).  The same input gives the same bytes: no time, owner or inode number of the host is in it.

    /init                      hyperstart
    /dev/console               so that init has standard streams before it mounts anything
    /modules/order             one file name a line, dependencies first
    /modules/NNN-NAME.ko
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.kernel.model import Kernel

_FORMAT = b"hyper-initrd-1\n"  # part of the cache's key: changes with the layout
_TRAILER = "TRAILER!!!"
_MAX_SIZE = 0xFFFF_FFFF


@dataclass(frozen=True)
class Entry:
    """One file of an archive; ``mode`` includes the file type, ``device`` is for device nodes."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def cpio(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive of ``entries``, in their order; a parent must come before what is in it."""
    for inode, entry in enumerate(entries, 1):
        yield from _record(inode, entry)
    yield from _record(0, Entry(_TRAILER, 0))


def _record(inode: int, entry: Entry) -> Iterator[bytes]:
    name = entry.name.encode() + b"\0"
    if len(entry.data) > _MAX_SIZE:
        raise InvalidArgument(
            f"initrd entry {entry.name}: {len(entry.data)} bytes do not fit in a cpio archive"
        )
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    yield head + bytes(-len(head) % 4)
    yield entry.data
    yield bytes(-len(entry.data) % 4)


def entries(init: bytes, modules: Iterable[tuple[str, bytes]]) -> Iterator[Entry]:
    """``modules`` are pairs of file name and content, dependencies first."""
    for directory in ("dev", "proc", "sys"):
        yield Entry(directory, stat.S_IFDIR | 0o755)
    yield Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield Entry("init", stat.S_IFREG | 0o755, init)
    numbered = [(f"{number:03}-{name}", content) for number, (name, content) in enumerate(modules)]
    if numbered:
        yield Entry("modules", stat.S_IFDIR | 0o755)
        yield Entry(
            "modules/order", stat.S_IFREG | 0o644, "".join(f"{name}\n" for name, _ in numbered).encode()
        )
        for name, content in numbered:
            yield Entry(f"modules/{name}", stat.S_IFREG | 0o644, content)


def build_initrd(hyperstart: Path, kernel: Kernel, cache: Path) -> Path:
    """The initrd for ``kernel`` with ``hyperstart`` as its init: found in ``cache``, or written there.

    Raises Unavailable where a file cannot be read or the cache cannot be written.
    """
    try:
        init = hyperstart.read_bytes()
        key = hashlib.sha256(_FORMAT + init)
        if kernel.modules:
            key.update(kernel.digest.encode())
        path = cache / "initrd" / f"{key.hexdigest()[:32]}.cpio"
        if not path.exists():
            modules = ((module.name, module.read_bytes()) for module in kernel.modules)
            _write(path, cpio(entries(init, modules)))
        return path
    except OSError as error:
        raise Unavailable(
            f"build the initrd in {cache}: {error.filename or hyperstart}: {error.strerror}"
        ) from error


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    """Complete or not at all: who finds ``path`` may use it, whoever else writes it at the same time."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".cpio")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
            os.fchmod(descriptor, 0o644)
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
