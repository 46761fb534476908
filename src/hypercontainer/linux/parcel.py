"""One descriptor that holds others: they lie in a socket, sent and not received, for as long as that is open anywhere
(unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence

MESSAGE_FDS = 253  # SCM_MAX_FD: what the kernel takes in one message
_FD_BYTES = 4


def packed(fds: Sequence[int]) -> socket.socket:
    """OSError where the kernel takes no more (EAGAIN at some 60,000, ETOOMANYREFS of a user's)."""
    into, parcel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.closing(into), contextlib.ExitStack() as undo:
        undo.enter_context(parcel)
        into.setblocking(False)
        for first in range(0, len(fds), MESSAGE_FDS):
            socket.send_fds(into, [b"\0"], fds[first : first + MESSAGE_FDS])
        undo.pop_all()
    return parcel


def unpacked(parcel: socket.socket) -> list[int]:
    """What lay in it, now this process's own; it is empty then."""
    fds: list[int] = []
    with contextlib.ExitStack() as undo:
        for more in _messages(parcel):
            for fd in more:
                undo.callback(os.close, fd)
            fds += more
        undo.pop_all()
    return fds


def _messages(parcel: socket.socket) -> Iterator[list[int]]:
    room = socket.CMSG_SPACE(MESSAGE_FDS * _FD_BYTES)
    while True:
        # Python's recv_fds takes flags and forgets them (3.11).
        data, came, _, _ = parcel.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
        if not data:
            return
        yield [fd for _, _, packed_fds in came for fd in memoryview(packed_fds).cast("i")]
