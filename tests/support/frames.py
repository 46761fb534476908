"""Ethernet frames as a guest's kernel makes them, by hand: ARP, IPv4, TCP, UDP, ICMP (RFC 826, 791, 793, 768, 792)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

GUEST, GATEWAY, DNS = "10.0.2.15", "10.0.2.2", "10.0.2.3"
MAC = bytes.fromhex("525400123456")
ROUTER = bytes.fromhex("52550a000202")
ICMP, TCP, UDP = 1, 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def ethernet(kind: int, payload: bytes) -> bytes:
    return ROUTER + MAC + struct.pack("!H", kind) + payload


def arp(operation: int, target: str, sender: str = GUEST) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return ethernet(0x0806, head + MAC + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target))


def ipv4(
    protocol: int, target: str, payload: bytes, *, source: str = GUEST, offset: int = 0, identity: int = 1
) -> bytes:
    """``offset``: the field as it is, flags and all."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), identity, offset, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    return ethernet(0x0800, head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload)


def _pseudo(protocol: int, source: str, target: str, length: int) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!HH", protocol, length)


def udp_packet(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bytes:
    head = struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0)
    total = checksum(_pseudo(UDP, source[0], target[0], 8 + len(data)) + head + data)
    return head[:6] + struct.pack("!H", total or 0xFFFF) + data


def udp(port: int, target: tuple[str, int], data: bytes, *, source: str = GUEST) -> bytes:
    return ipv4(UDP, target[0], udp_packet((source, port), target, data), source=source)


def tcp(
    port: int,
    target: tuple[str, int],
    flags: int,
    *,
    seq: int = 0,
    ack: int = 0,
    data: bytes = b"",
    source: str = GUEST,
) -> bytes:
    head = struct.pack("!HHIIBBHHH", port, target[1], seq, ack, 0x50, flags, 32768, 0, 0)
    total = checksum(_pseudo(TCP, source, target[0], 20 + len(data)) + head + data)
    return ipv4(TCP, target[0], head[:16] + struct.pack("!H", total) + head[18:] + data, source=source)


def echo(target: str, *, source: str = GUEST) -> bytes:
    head = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    return ipv4(ICMP, target, head[:2] + struct.pack("!H", checksum(head)) + head[4:], source=source)


class Transport:
    """The fields of a packet's TCP or UDP."""

    source: str
    payload: bytes

    @property
    def ports(self) -> tuple[int, int]:
        first, second = struct.unpack_from("!HH", self.payload)
        return first, second

    @property
    def peer(self) -> tuple[str, int]:
        return self.source, self.ports[0]

    @property
    def flags(self) -> int:
        return self.payload[13]

    @property
    def seq(self) -> int:
        return int(struct.unpack_from("!I", self.payload, 4)[0])

    @property
    def ack(self) -> int:
        return int(struct.unpack_from("!I", self.payload, 8)[0])


@dataclass(frozen=True)
class Packet(Transport):
    """What a frame to the guest has."""

    protocol: int
    source: str
    target: str
    payload: bytes
    more: bool = False

    @property
    def data(self) -> bytes:
        return self.payload[(self.payload[12] >> 4) * 4 if self.protocol == TCP else 8 :]


def parse(frame: bytes) -> Packet | None:
    """The packet of a frame with IPv4, whose checksums are right; None for another frame."""
    if frame[12:14] != b"\x08\x00":
        return None
    header, length = frame[14:34], struct.unpack_from("!H", frame, 16)[0]
    assert checksum(header) == 0
    source, target = socket.inet_ntoa(header[12:16]), socket.inet_ntoa(header[16:20])
    payload = frame[34 : 14 + length]
    fragment = struct.unpack_from("!H", header, 6)[0] & 0x3FFF
    if header[9] in (TCP, UDP) and not fragment:
        assert checksum(_pseudo(header[9], source, target, len(payload)) + payload) == 0
    return Packet(header[9], source, target, payload, more=bool(fragment))
