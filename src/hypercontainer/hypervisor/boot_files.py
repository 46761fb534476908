"""Kernel and initrd as descriptors that the VM's process opens again by their names, ``/dev/fd/N``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def open_for_all(path: Path, fds: contextlib.ExitStack) -> int:
    """A descriptor that any uid can open again as ``/dev/fd/N``: of the file, or of a copy in memory."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fds.callback(os.close, fd)
    info = os.fstat(fd)
    if info.st_mode & 0o004:
        return fd
    copy = in_memory(path.name, fds)
    offset = 0
    while sent := os.sendfile(copy, fd, offset, info.st_size - offset):
        offset += sent
    return copy


def in_memory(name: str, fds: contextlib.ExitStack, content: bytes = b"") -> int:
    """A file in memory, which any uid can open."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    fds.callback(os.close, fd)
    os.write(fd, content)
    return fd
