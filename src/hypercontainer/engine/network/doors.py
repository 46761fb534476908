"""A TCP port of the host that is kept, and open only while somebody stands behind it.

A socket that is bound and does not listen keeps the port: connections are refused.  A second one beside it listens,
and is closed when the door is shut.

Both say SO_REUSEPORT, which lets in nobody but the same user who says it too.  SO_REUSEADDR, of two sockets that do not
listen, would let in anybody: the keeper does not say it.  It is what gets past former connections, which have it from
the listener, when the port is tried before it is kept.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable

from hypercontainer.errors import Unavailable

BACKLOG = 128
AT_ONCE = 32  # connections that are taken before others have their turn
PAUSE_S = 1.0  # where the system has no room for one more
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger(__name__)


class Door:
    """``arrived`` is given each connection, which then is its; it does not block.  Unavailable where the port is
    taken."""

    def __init__(self, name: str, host: str, port: int, arrived: Callable[[socket.socket], None]) -> None:
        self._name = name
        self._address = (host, port)
        self._arrived = arrived
        self._listener: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._bound(socket.SO_REUSEADDR).close()  # nobody keeps it: not even one of the same user
        self._keeper = self._bound(socket.SO_REUSEPORT)

    @property
    def is_open(self) -> bool:
        return self._listener is not None

    def set_open(self, wanted: bool) -> None:
        if wanted and self._listener is None:
            self._listen()
        elif not wanted:
            self._shut()

    def close(self) -> None:
        self._shut()
        self._keeper.close()

    def _bound(self, *options: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            for option in options:
                made.setsockopt(socket.SOL_SOCKET, option, 1)
            made.bind(self._address)
        except OSError as error:
            made.close()
            host, port = self._address
            raise Unavailable(
                f"{self._name}: port {port} of {host}: {error.strerror}",
                hint="is it taken? a service's port is one of the host's loopback address",
            ) from error
        return made

    def _listen(self) -> None:
        made = self._bound(socket.SO_REUSEADDR, socket.SO_REUSEPORT)
        try:
            made.listen(BACKLOG)
        except OSError as error:
            made.close()
            raise Unavailable(f"{self._name}: port {self._address[1]}: {error.strerror}") from error
        self._listener = made
        asyncio.get_running_loop().add_reader(made, self._take)

    def _shut(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _take(self) -> None:
        assert self._listener is not None
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                log.warning("%s takes no connection for now: %s", self._name, error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener)
                self._pause = loop.call_later(PAUSE_S, self._go_on)
                return
            connection.setblocking(False)
            self._arrived(connection)

    def _go_on(self) -> None:
        self._pause = None
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._take)


def refuse(connection: socket.socket) -> None:
    """Breaks it off, so that nobody takes it for one that has ended well."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("2i", 1, 0))
    connection.close()
