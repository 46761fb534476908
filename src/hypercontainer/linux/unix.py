"""Unix sockets at paths of any length.

``sockaddr_un`` holds 107 bytes of path, which a run directory passes easily.  A socket is therefore addressed
through its directory's descriptor, ``/proc/self/fd/N/name`` (unix(7), proc(5)).  Where there is no such thing
(macOS) a path is what it is, and too long where it is.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OTHERS_MAX_BYTES = 103  # sun_path of macOS has 104, the last of which is NUL


@contextmanager
def _short(path: Path) -> Iterator[str]:
    if sys.platform != "linux":
        if len(os.fsencode(path)) > OTHERS_MAX_BYTES:
            raise OSError(errno.ENAMETOOLONG, f"more than {OTHERS_MAX_BYTES} bytes for a socket", str(path))
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen(path: Path, backlog: int = 4, *, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A listening socket at ``path``, which must not exist; a connection to it is taken from now on."""
    server = receive(path, kind=kind)
    try:
        server.listen(backlog)
    except BaseException:
        server.close()
        raise
    return server


def receive(path: Path, *, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    """A socket at ``path``, which must not exist: of datagrams, which it gets from now on."""
    server = socket.socket(socket.AF_UNIX, kind)
    try:
        with _short(path) as address:
            server.bind(address)
    except BaseException:
        server.close()
        raise
    return server


def connect_waiting(path: Path, seconds: float) -> socket.socket:
    """As ``connect``, but one that waits so long where the backlog is full; blocks."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))  # struct timeval
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        with _short(path) as address:
            client.connect(address)
        client.setblocking(False)
    except BaseException:
        client.close()
        raise
    return client


def connect(path: Path, *, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A connected, non-blocking socket; raises ``OSError``, also where the backlog is full."""
    client = socket.socket(socket.AF_UNIX, kind)
    try:
        client.setblocking(False)
        with _short(path) as address:
            client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def connect_to_theirs(path: Path) -> socket.socket:
    """As ``connect``, to a socket in a directory that somebody else may write to: what they have put there is a socket
    of the directory's owner, and no link to another's.  ``ConnectionRefusedError`` for anything else."""
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(found)
        if not stat.S_ISSOCK(info.st_mode) or info.st_uid != path.parent.stat().st_uid:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "another kind of file is there", str(path))
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            client.setblocking(False)
            client.connect(f"/proc/self/fd/{found}")
        except BaseException:
            client.close()
            raise
        return client
    finally:
        os.close(found)
