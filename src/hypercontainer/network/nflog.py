"""What rules tell of packets, over a netlink socket (nfnetlink_log): bytes in, facts out.

The packets are a guest's: nothing in them is believed but where it stands.

Sources: linux/netfilter/nfnetlink_log.h, RFC 791, RFC 8200.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hypercontainer.network.parts import Address
from hypercontainer.network.sets import attribute

RECEIVE_BYTES = 1 << 17
KERNEL_BUFFER_BYTES = 1 << 18
WAITS_CS, AT_ONCE = 10, 64  # what is told waits so long (1/100 s) for more, up to so many
_PACKET, _CONFIG = 4 << 8, 4 << 8 | 1
_COMMAND, _MODE, _TIMEOUT, _THRESHOLD = 1, 2, 4, 5
_BIND, _COPY_PACKET = 1, 2
_PAYLOAD, _PREFIX = 9, 10
_HEADER = struct.Struct("=IHHII")
_REQUEST = 1
_WITH_PORTS = frozenset({6, 17, 132, 136})


@dataclass(frozen=True)
class Told:
    """Of a packet, and why it was told of.  ``port`` 0: its protocol has none."""

    why: str
    source: Address
    target: Address
    protocol: int
    port: int


def listen(sock: socket.socket, group: int) -> None:
    """The group's packets come to ``sock``, by the headers."""
    options = (
        (_COMMAND, struct.pack("B", _BIND)),
        (_MODE, struct.pack(">IBB", 0xFFFF, _COPY_PACKET, 0)),
        (_TIMEOUT, struct.pack(">I", WAITS_CS)),
        (_THRESHOLD, struct.pack(">I", AT_ONCE)),
    )
    for kind, value in options:
        body = struct.pack(">BBH", socket.AF_UNSPEC, 0, group) + attribute(kind, value)
        sock.send(_HEADER.pack(_HEADER.size + len(body), _CONFIG, _REQUEST, 0, 0) + body)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER_BYTES)
    sock.setblocking(False)


def told(data: bytes) -> Iterator[Told]:
    """Of a datagram of the kernel's; what is not understood is left out."""
    place = 0
    while place + _HEADER.size + 4 <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, place)
        if length < _HEADER.size:
            return
        if kind == _PACKET:
            said = dict(_attributes(data[place + _HEADER.size + 4 : place + length]))
            found = _facts(said.get(_PAYLOAD, b""))
            if found is not None:
                yield Told(said.get(_PREFIX, b"").rstrip(b"\0").decode(errors="replace"), *found)
        place += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, place)
        if size < 4:
            return
        yield kind & 0x3FFF, data[place + 4 : place + size]
        place += (size + 3) & ~3


def _facts(packet: bytes) -> tuple[Address, Address, int, int] | None:
    """(source, target, protocol, port)."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        inner, protocol = (packet[0] & 15) * 4, packet[9]
        source, target = packet[12:16], packet[16:20]
    elif version == 6 and len(packet) >= 40:
        inner, protocol = 40, packet[6]
        source, target = packet[8:24], packet[24:40]
    else:
        return None
    port = 0
    if protocol in _WITH_PORTS and len(packet) >= inner + 4:
        (port,) = struct.unpack_from(">H", packet, inner + 2)
    return ipaddress.ip_address(source), ipaddress.ip_address(target), protocol, port
