"""Published ports that lead to pods by rules, not by a socket: they are kept, so that nobody else has them, by hyperd
and, while that is away, by the process that keeps the networks' namespace."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Sequence

from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network.ports import ANY, bound
from hypercontainer.errors import HyperError
from hypercontainer.linux import parcel
from hypercontainer.linux.netns import Namespace

log = logging.getLogger(__name__)


class Kept:
    """The ports of one pod, or of one service.  ``take_back`` blocks, and so does what the others give."""

    def __init__(self, owner: str) -> None:
        self._name = f"ports-{hashlib.sha256(owner.encode()).hexdigest()[:32]}"
        self._sockets: dict[PortMapping, socket.socket] = {}

    def __bool__(self) -> bool:
        return bool(self._sockets)

    def bind(self, ports: Iterable[PortMapping]) -> Callable[[], None]:
        """All or none; returns what undoes it."""
        with contextlib.ExitStack() as undo:
            fresh = {port: undo.enter_context(_kept(port)) for port in ports}
            kept = undo.pop_all()
        self._sockets |= fresh

        def undone() -> None:
            kept.close()
            for port in fresh:
                self._sockets.pop(port, None)

        return undone

    def take_back(self, ports: Iterable[PortMapping], namespace: Namespace) -> None:
        """What was left there meanwhile.  What somebody else has by now leads to the pod all the same."""
        left = _left(namespace, self._name)
        for port in ports:
            try:
                self._sockets[port] = left.pop(_key(port)) if _key(port) in left else _kept(port)
            except HyperError as error:
                log.warning("%s", error)
        for one in left.values():
            one.close()
        if self:
            self.left()(namespace)

    def left(self) -> Callable[[Namespace], None]:
        """These, as they are now, stay kept while hyperd is away: in place of what was left there before."""
        fds = [one.fileno() for one in self._sockets.values()]

        def leave(namespace: Namespace) -> None:
            try:
                if fds:
                    with parcel.packed(fds) as one:
                        namespace.keep(self._name, one.fileno())
                else:
                    namespace.drop(self._name)
            except OSError as error:
                log.warning("published ports are kept by hyperd alone: %s", error)

        return leave

    def without(self, ports: Sequence[PortMapping]) -> Callable[[Namespace], None]:
        """Of these nobody keeps any more, once this is called."""
        gone = [self._sockets.pop(port) for port in ports if port in self._sockets]
        leave = self.left()

        def free(namespace: Namespace) -> None:
            if gone:
                leave(namespace)
            for one in gone:
                one.close()

        return free

    def none(self) -> Callable[[Namespace], None]:
        return self.without([*self._sockets])

    def close(self) -> None:
        """What was left stays kept."""
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()


def _left(namespace: Namespace, name: str) -> dict[tuple[str, str, int], socket.socket]:
    try:
        fd = namespace.take(name)
        if fd is None:
            return {}
        with socket.socket(fileno=fd) as one:
            fds = parcel.unpacked(one)
    except OSError as error:
        log.warning("published ports were not kept: %s", error)
        return {}
    return {_key_of(each): each for each in map(_opened, fds)}


def _opened(fd: int) -> socket.socket:
    return socket.socket(fileno=fd)


def _key(port: PortMapping) -> tuple[str, str, int]:
    return port.protocol, str(ipaddress.ip_address(port.host_ip or ANY)), port.host_port


def _key_of(one: socket.socket) -> tuple[str, str, int]:
    address, number = one.getsockname()[:2]
    return "tcp" if one.type == socket.SOCK_STREAM else "udp", address, number


def _kept(port: PortMapping) -> socket.socket:
    """Nobody else can have it, and nobody answers there.

    One of TCP is bound a second time, without leave for others to take the address over, which two that do not listen
    would give each other; the first time gets past what is left of former connections.
    """
    if port.protocol == "tcp":
        bound(port, socket.SO_REUSEADDR).close()
        return bound(port, socket.SO_REUSEPORT)
    return bound(port)
