"""A kept network namespace, and its keeper as a client speaks to it that does not care for the rules."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from hypercontainer.linux import unix
from hypercontainer.linux.netns import Namespace
from private_host import entered
from until import until

# native/netns.c
CLIENTS, KEPT, MESSAGE_BYTES, NAME_BYTES = 16, 16384, 512, 64
OWN_FDS = 6  # the three of everybody, the control socket, and the pipe to who closes tap devices
DEADLINE_S = 10.0


@contextlib.contextmanager
def kept_space(folder: Path) -> Iterator[Namespace]:
    made = Namespace.start(folder, user=False)
    try:
        yield made
    finally:
        made.end()
    gone(made)
    assert not Path(f"/proc/{made.pid}").exists()


def gone(space: Namespace) -> None:
    assert not space.alive()
    assert not space.folder.exists()


@contextlib.contextmanager
def client(space: Namespace) -> Iterator[socket.socket]:
    with unix.connect(space.control, kind=socket.SOCK_SEQPACKET) as made:
        made.settimeout(DEADLINE_S)
        yield made


def asked(space: Namespace, request: bytes, *fds: int) -> bytes:
    """What the keeper says; b"" where it drops the client."""
    with client(space) as one:
        socket.send_fds(one, [request], list(fds))
        try:
            return one.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            return b""


def refused(space: Namespace, request: bytes) -> int:
    """The error's number."""
    word, _, rest = asked(space, request).partition(b" ")
    assert word == b"error", (request, word)
    return int(rest.partition(b" ")[0])


def inside(space: Namespace) -> set[str]:
    with entered(space):
        return {name for _, name in socket.if_nameindex()}


def holds(space: Namespace, count: int) -> None:
    """That many descriptors besides its own, once the clients are gone."""
    own = Path(f"/proc/{space.pid}/fd")
    until(lambda: len(os.listdir(own)) == OWN_FDS + count, f"{count} descriptors", deadline_s=DEADLINE_S)
