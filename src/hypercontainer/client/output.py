"""Descriptors that are written without ever blocking, and without O_NONBLOCK on what others share.

A terminal's or pipe's file description belongs to the user's shell too, so it is opened anew and only the new
description is non-blocking; a socket is sent to with MSG_DONTWAIT.  Where neither works (a pipe of another user),
writes are as small as a writable pipe is sure to take.
"""

from __future__ import annotations

import os
import stat
from _socket import MSG_DONTWAIT, MSG_NOSIGNAL
from _socket import socket as Socket  # noqa: N812

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CAUTIOUS_BYTES = 4096  # PIPE_BUF: what a pipe takes in one piece once poll(2) calls it writable


class Output:
    """One output channel.  ``fd`` is what to poll; ``pending`` is what has not been written yet."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.pending = bytearray()
        self._owned: list[int] = []
        self._socket: Socket | None = None
        self._write = self._writer()

    def _writer(self) -> Callable[[memoryview], int]:
        mode = os.fstat(self.fd).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = Socket(fileno=os.dup(self.fd))
            return self._send
        if stat.S_ISFIFO(mode) or os.isatty(self.fd):
            try:
                own = os.open(
                    f"/proc/self/fd/{self.fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                )
            except OSError:
                return self._write_little
            self._owned.append(own)
            self.fd = own
        return lambda data: os.write(self.fd, data)  # files and /dev/null do not block

    def _send(self, data: memoryview) -> int:
        assert self._socket is not None
        return self._socket.send(data, MSG_DONTWAIT | MSG_NOSIGNAL)

    def _write_little(self, data: memoryview) -> int:
        import select

        poller = select.poll()
        poller.register(self.fd, select.POLLOUT)
        if not poller.poll(0):
            raise BlockingIOError
        return os.write(self.fd, data[:CAUTIOUS_BYTES])

    def _attempt(self, data: memoryview) -> int:
        done = 0
        while done < len(data):
            try:
                done += self._write(data[done:])
            except BlockingIOError:
                break
        return done

    def write(self, data: memoryview) -> int:
        """Writes what fits and keeps the rest; the number of bytes that are written.  BrokenPipeError as it comes."""
        if self.pending:
            self.pending += data
            return 0
        done = self._attempt(data)
        if done < len(data):
            self.pending += data[done:]
        return done

    def flush(self) -> int:
        """Writes what fits of what is pending."""
        with memoryview(self.pending) as view:
            done = self._attempt(view)
        del self.pending[:done]
        return done

    def close(self) -> None:
        """Closes what this object opened; the descriptor it was given stays."""
        if self._socket is not None:
            self._socket.close()
        for fd in self._owned:
            os.close(fd)
        self._owned.clear()
