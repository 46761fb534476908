"""Unix sockets at paths of any length.

``sockaddr_un`` holds 107 bytes of path, which a run directory passes easily.  A socket is therefore addressed
through its directory's descriptor, ``/proc/self/fd/N/name`` (unix(7), proc(5)).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _short(path: Path) -> Iterator[str]:
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
