"""Sockets from systemd, and word to it; sd_listen_fds(3) and sd_notify(3), without their library."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

from hypercontainer.errors import InvalidArgument

FIRST_FD = 3
MAX_FDS = 64


def inherited_sockets(environ: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """The listening sockets that were passed to this process; takes the variables away from its children."""
    listen_pid, listen_fds = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if listen_pid != str(pid):
        return []
    if not listen_fds.isascii() or not listen_fds.isdigit() or not 0 <= int(listen_fds) <= MAX_FDS:
        raise InvalidArgument(f"LISTEN_FDS={listen_fds!r} is not a number of sockets")
    with contextlib.ExitStack() as stack:
        fds = range(FIRST_FD, FIRST_FD + int(listen_fds))
        found = [stack.enter_context(contextlib.closing(_listening(fd))) for fd in fds]
        stack.pop_all()
    return found


def _listening(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise InvalidArgument(f"LISTEN_FDS: descriptor {fd} is not a socket") from error
    sock.set_inheritable(False)
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM or not listens:
        sock.close()
        raise InvalidArgument(
            f"LISTEN_FDS: descriptor {fd} is not a listening unix stream socket",
            hint="hyperd.socket has ListenStream= with an absolute path",
        )
    return sock


def notify(message: str) -> None:
    """READY=1 and the like, where somebody asked for it; never fails."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
