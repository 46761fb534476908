"""The name servers that the host asks, as resolv.conf(5) names them; read again when the file has changed.

What cannot be understood is skipped.  A host that names none has none.
"""

from __future__ import annotations

import ipaddress
import os

from hypercontainer.network.dns.zone import Address

RESOLVER = "/etc/resolv.conf"
PORT = 53
MAX_SERVERS = 3  # as many as the C library asks
_MAX_BYTES = 1 << 16


class HostServers:
    def __init__(self, path: str = RESOLVER) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._servers: tuple[Address, ...] = ()

    def __call__(self) -> tuple[Address, ...]:
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                with open(self._path, "rb") as file:
                    self._servers = named(file.read(_MAX_BYTES))
                self._seen = seen
        except OSError:  # while it is replaced, or for ever
            self._seen, self._servers = (), ()
        return self._servers


def named(text: bytes) -> tuple[Address, ...]:
    """The servers that a resolv.conf names, each once, in its order."""
    found: dict[Address, None] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            ipaddress.ip_address(words[1])
        except ValueError:
            continue
        found[words[1], PORT] = None
    return tuple(found)[:MAX_SERVERS]
