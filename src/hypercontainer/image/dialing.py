"""Connections of registries' calls: to which addresses they go, and how a call is ended from outside.

The HTTP library gives every read a deadline and the whole of a header none, and what blocks in it cannot be told
to stop.  So each call has a `Call`, which knows its socket: once its time is over, or its operation is, it shuts
that socket down, and whatever blocks on it fails.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import urllib3
from urllib3 import connection as http_connection
from urllib3 import exceptions as http_errors
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MAX_ADDRESSES = 8  # of one name: each may take a whole connection's time
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

CheckAddress = Callable[[str], None]


def place_of(address: str) -> str:
    """Whose network an IP address is of: "loopback", "link-local", "private" or "public"."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    if ip.is_loopback or ip.is_unspecified:  # connecting to 0.0.0.0 leads to this machine
        return "loopback"
    if ip.is_link_local:
        return "link-local"
    return "public" if ip.is_global else "private"


class Call:
    """One request, entered from its connection to the end of the answer's header, within ``seconds``.

    ``check`` is asked about each address before a connection to it, and raises what forbids it; ``connected`` is told
    the address.  ``shut`` may be called from any thread.
    """

    def __init__(self, seconds: float, check: CheckAddress, connected: CheckAddress) -> None:
        self.check, self.connected = check, connected
        self.expired = False
        self._seconds = seconds
        self._changed = threading.Condition()
        self._end = time.monotonic() + seconds
        self._over = self._shut = False
        self._descriptors: list[
            int
        ] = []  # our own: the library's may be closed, and wrapped in TLS, at any time
        self._clock = threading.Thread(target=self._expire, name="registry-call", daemon=True)

    def __enter__(self) -> Call:
        _current.call = self
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del _current.call
        with self._changed:
            self._over = True
            self._changed.notify_all()
            descriptors, self._descriptors = self._descriptors, []
        for fd in descriptors:
            os.close(fd)
        self._clock.join()

    def watch(self, sock: socket.socket) -> None:
        """What blocks on ``sock`` fails once this call is shut."""
        with self._changed:
            self.go_on()
            self._descriptors.append(os.dup(sock.fileno()))

    def go_on(self) -> None:
        if self._shut:
            raise ConnectionAbortedError("it was broken off")

    def renew(self) -> None:
        """It gets somewhere: the time begins afresh."""
        with self._changed:
            self._end = time.monotonic() + self._seconds

    def shut(self) -> None:
        with self._changed:
            self._shut = True
            for fd in self._descriptors:
                _shut_down(fd)

    def _expire(self) -> None:
        with self._changed:
            while not self._over and (left := self._end - time.monotonic()) > 0:
                self._changed.wait(left)
            self.expired = not self._over
        if self.expired:
            self.shut()


class _Current(threading.local):
    """The library makes connections deep inside of it, always in the thread that asked."""

    call: Call


_current = _Current()


def _shut_down(fd: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
        sock.shutdown(socket.SHUT_RDWR)


class _Connection(http_connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise http_errors.NameResolutionError(self.host, self, error) from error
        failure: OSError = OSError("no address")
        for family, kind, protocol, _, address in found[:MAX_ADDRESSES]:
            if self.proxy is None:  # else the proxy sees to where it goes
                _current.call.check(str(address[0]))
            try:
                return self._connected(socket.socket(family, kind, protocol), address)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise http_errors.ConnectTimeoutError(self, "timed out") from failure
        raise http_errors.NewConnectionError(self, str(failure)) from failure

    def _connected(self, sock: socket.socket, address: Any) -> socket.socket:
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(self.timeout)
            _current.call.watch(sock)
            sock.connect(address)
            _current.call.go_on()  # what is not yet connecting cannot be shut down
            if self.proxy is None:
                _current.call.connected(str(address[0]))
        except BaseException:
            sock.close()
            raise
        return sock

    def request(self, *arguments: Any, **options: Any) -> None:
        if self.sock is not None:  # kept from an earlier call
            _current.call.watch(self.sock)
        super().request(*arguments, **options)


class _SecureConnection(_Connection, http_connection.HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def watched(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """``manager``, whose connections are those of calls."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return manager
