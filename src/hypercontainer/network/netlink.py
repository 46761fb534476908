"""Netlink's requests and answers over a socket that somebody else made, in whichever namespace that was.

The messages are pyroute2's; its sockets are not used, because they are always of this process's namespace.  Calls
block: the kernel does what it is asked before ``send`` returns.

Sources: netlink(7), RFC 3549, linux/netlink.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR

from hypercontainer.errors import Unavailable

ROUTE, NETFILTER = 0, 12  # the protocols
SOL_NETLINK, NO_ENOBUFS, CAP_ACK, EXT_ACK = 270, 5, 10, 11
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
DEADLINE_S = 30.0
RECEIVE_BYTES = 1 << 20
SEND_BYTES = 8 << 20  # a transaction is one datagram: the rules of 10,000 pods have less
ERROR, DONE = int(NLMSG_ERROR), int(NLMSG_DONE)
_HEADER = struct.Struct("=IHHII")
_FLAG_CAPPED, _FLAG_TLVS = 0x100, 0x200
_EXPLANATION = 1  # NLMSGERR_ATTR_MSG

Message = Any  # pyroute2's nlmsg, whose types are its own


class NetlinkError(Unavailable):
    """The kernel refused; ``number`` is its errno."""

    def __init__(self, what: str, code: int, why: str = "") -> None:
        super().__init__(f"{what}: {why or os.strerror(code)}")
        self.number = code


ABSENT = (errno.ENOENT, errno.ESRCH, errno.ENODEV)


@contextlib.contextmanager
def nothing_there() -> Iterator[None]:
    """What was to be removed may be gone already."""
    try:
        yield
    except NetlinkError as error:
        if error.number not in ABSENT:
            raise


class Netlink:
    """Owner of ``sock``, a socket of AF_NETLINK.  Not for two threads at once."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sequence = 0
        sock.settimeout(DEADLINE_S)
        _enlarge(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BYTES)
        _enlarge(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BYTES)
        # Of many refusals the first are enough: what does not fit is no failure of the next request.
        for option in (NO_ENOBUFS, CAP_ACK, EXT_ACK):
            sock.setsockopt(SOL_NETLINK, option, 1)

    def close(self) -> None:
        self._sock.close()

    def do(
        self, what: str, messages: Sequence[Message], *, around: tuple[Message, Message] | None = None
    ) -> None:
        """All of them in one go; ``around``: a transaction's begin and end, which are not answered.  Each has its type
        and flags.  ``NetlinkError`` for the first that the kernel refused; ``what`` is done, for people."""
        if not messages:
            return
        first = self._sequence + 1
        begin, end = ([each] for each in around) if around else ([], [])
        # A refusal comes in any case, and before it is said that the last is done: who asks about each has more
        # answers than there is room for.
        sent = [self._encoded(each, 0) for each in (*begin, *messages[:-1])]
        sent.append(self._encoded(messages[-1], NLM_F_ACK))
        last = self._sequence
        sent += [self._encoded(each, 0) for each in end]
        self._send(what, b"".join(sent))
        while True:
            for kind, flags, sequence, body in self._receive(what):
                if kind != ERROR or sequence < first:
                    continue
                if (refused := _refusal(what, flags, body)) is not None:
                    raise refused
                if sequence == last:
                    return

    def dump(self, what: str, message: Message, kind: type[Message]) -> list[Message]:
        """All that the kernel has of what ``message`` asks for."""
        self._send(what, self._encoded(message, NLM_F_DUMP))
        found: list[Message] = []
        while True:
            for answer, flags, sequence, body in self._receive(what):
                if sequence != self._sequence:
                    continue
                if answer == DONE:
                    return found
                if answer == ERROR:
                    raise _refusal(what, flags, body) or NetlinkError(what, errno.EPROTO)
                one = kind(_HEADER.pack(_HEADER.size + len(body), answer, flags, sequence, 0) + body)
                one.decode()
                found.append(one)

    def _encoded(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        header = message["header"]
        header["sequence_number"] = self._sequence
        header["flags"] = header.get("flags", 0) | NLM_F_REQUEST | flags
        message.reset()
        message.encode()
        return bytes(message.data)

    def _send(self, what: str, data: bytes) -> None:
        self._sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # what is still said about an earlier one that was refused
                self._sock.recv(RECEIVE_BYTES)
        self._sock.settimeout(DEADLINE_S)
        try:
            self._sock.send(data)
        except OSError as error:
            raise NetlinkError(what, error.errno or errno.EIO) from error

    def _receive(self, what: str) -> Iterator[tuple[int, int, int, bytes]]:
        """(type, flags, sequence number, body) of each message of a datagram."""
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except OSError as error:
            raise NetlinkError(what, error.errno or errno.ETIMEDOUT) from error
        place = 0
        while place + _HEADER.size <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, place)
            if length < _HEADER.size:
                return
            yield kind, flags, sequence, data[place + _HEADER.size : place + length]
            place += (length + 3) & ~3


def _enlarge(sock: socket.socket, force: int, option: int, size: int) -> None:
    """As far as this process may."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, option, size)


def _refusal(what: str, flags: int, body: bytes) -> NetlinkError | None:
    """None of an acknowledgement."""
    (code,) = struct.unpack_from("=i", body)
    if code == 0:
        return None
    return NetlinkError(what, -code, _explained(flags, body))


def _explained(flags: int, body: bytes) -> str:
    """The kernel's own words, where it has any (netlink's extended acknowledgement)."""
    if not flags & _FLAG_TLVS:
        return ""
    (length,) = struct.unpack_from("=I", body, 4)
    place = 4 + (_HEADER.size if flags & _FLAG_CAPPED else (length + 3) & ~3)
    while place + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, place)
        if size < 4:
            break
        if kind == _EXPLANATION:
            return body[place + 4 : place + size].rstrip(b"\0").decode(errors="replace")
        place += (size + 3) & ~3
    return ""
