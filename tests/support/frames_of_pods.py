"""Frames as pods send them, honest and not: Ethernet, ARP, IPv4, IPv6, ICMPv6's neighbours and routers.

Addresses are text.  Sources: RFC 826, 791, 8200, 4443, 4861.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, replace
from typing import Any

from frames import SYN, Transport, checksum

IP4, ARP, IP6, VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
REQUEST, REPLY = 1, 2
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO_REQUEST6, ECHO_REPLY6 = 128, 129
ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, REDIRECT = 134, 135, 136, 137
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:00:00:00:00"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def ethernet(source: str, target: str, kind: int, payload: bytes) -> bytes:
    return mac(target) + mac(source) + struct.pack("!H", kind) + payload


def tagged(frame: bytes, vlan: int = 1) -> bytes:
    """The same in a VLAN (802.1Q)."""
    return frame[:12] + struct.pack("!HH", VLAN, vlan) + frame[12:]


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """Of (MAC, IPv4) each."""
    head = struct.pack("!HHBBH", 1, IP4, 6, 4, operation)
    return head + mac(sender[0]) + packed(sender[1]) + mac(target[0]) + packed(target[1])


def ip4(source: str, target: str, protocol: int, payload: bytes, *, hops: int = 64) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, hops, protocol, 0)
    head += packed(source) + packed(target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(source: str, target: str, protocol: int, payload: bytes, *, hops: int = 255) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
    return head + packed(source) + packed(target) + payload


def ip(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    return (ip6 if ":" in source else ip4)(source, target, protocol, payload)


def _sum(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    """The checksum with the pseudo header of either version of IP."""
    size = "!IHBB" if ":" in source else "!BBH"
    numbers = (len(payload), 0, 0, protocol) if ":" in source else (0, protocol, len(payload))
    return struct.pack(
        "!H", checksum(packed(source) + packed(target) + struct.pack(size, *numbers) + payload)
    )


def udp(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bytes:
    """A packet of IP."""
    head = struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0)
    total = _sum(source[0], target[0], UDP, head + data)
    return ip(source[0], target[0], UDP, head[:6] + total + data)


def tcp(source: tuple[str, int], target: tuple[str, int], flags: int, *, seq: int = 0, ack: int = 0) -> bytes:
    head = struct.pack("!HHIIBBHHH", source[1], target[1], seq, ack, 0x50, flags, 32768, 0, 0)
    total = _sum(source[0], target[0], TCP, head)
    return ip(source[0], target[0], TCP, head[:16] + total + head[18:])


def syn(source: tuple[str, int], target: tuple[str, int]) -> bytes:
    return tcp(source, target, SYN)


def echo(source: str, target: str) -> bytes:
    if ":" in source:
        return icmp6(source, target, ECHO_REQUEST6, struct.pack("!HH", 1, 1))
    body = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 1, 1)
    return ip4(source, target, ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def icmp6(source: str, target: str, kind: int, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, 0, 0) + body
    return ip6(source, target, ICMP6, message[:2] + _sum(source, target, ICMP6, message) + message[4:])


def advertised(source: str, target: str, whose: str, its_mac: str) -> bytes:
    """A neighbour advertisement: ``whose`` address is at this MAC."""
    option = struct.pack("!BB", 2, 1) + mac(its_mac)
    flags = struct.pack("!I", 0x60000000)  # solicited, and in place of what was known
    return icmp6(source, target, NEIGHBOUR_ADVERTISEMENT, flags + packed(whose) + option)


def solicited(source: str, source_mac: str, whose: str) -> bytes:
    """A neighbour solicitation to the group of those who may have the address."""
    group = str(ipaddress.IPv6Address(packed("ff02::1:ff00:0")[:13] + packed(whose)[13:]))
    option = struct.pack("!BB", 1, 1) + mac(source_mac)
    return icmp6(source, group, NEIGHBOUR_SOLICITATION, bytes(4) + packed(whose) + option)


def group_mac(address: str) -> str:
    """Of a multicast address of IPv6 (RFC 2464)."""
    return "33:33:" + ":".join(f"{each:02x}" for each in packed(address)[12:])


def router(source: str, its_mac: str) -> bytes:
    """A router advertisement to all."""
    option = struct.pack("!BB", 1, 1) + mac(its_mac)
    return icmp6(source, ALL_NODES, ROUTER_ADVERTISEMENT, struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option)


def redirected(source: str, target: str, whose: str, better: str) -> bytes:
    return icmp6(source, target, REDIRECT, bytes(4) + packed(better) + packed(whose))


@dataclass(frozen=True)
class Heard(Transport):
    """A frame that came to a pod.  ``source`` and ``target`` of IP, or ARP's; ``protocol`` of IP, or ARP's operation;
    ``payload`` of the transport."""

    from_mac: str
    to_mac: str
    kind: int
    source: str = ""
    target: str = ""
    protocol: int = 0
    payload: bytes = b""

    @property
    def data(self) -> bytes:
        """Of UDP."""
        return self.payload[8:] if self.protocol == UDP else b""


def heard(frame: bytes) -> Heard:
    source, target = (frame[place : place + 6].hex(":") for place in (6, 0))
    (kind,) = struct.unpack_from("!H", frame, 12)
    found, body = Heard(source, target, kind), frame[14:]
    if kind == ARP:
        (operation,) = struct.unpack_from("!H", body, 6)
        return replace(found, **_ends(body[14:18], body[24:28]), protocol=operation, payload=body[8:14])
    if kind == IP4:
        (size,) = struct.unpack_from("!H", body, 2)
        ends = _ends(body[12:16], body[16:20])
        return replace(found, **ends, protocol=body[9], payload=body[(body[0] & 15) * 4 : size])
    if kind == IP6:
        (size,) = struct.unpack_from("!H", body, 4)
        return replace(
            found, **_ends(body[8:24], body[24:40]), protocol=body[6], payload=body[40 : 40 + size]
        )
    return found


def _ends(source: bytes, target: bytes) -> dict[str, Any]:
    return {"source": str(ipaddress.ip_address(source)), "target": str(ipaddress.ip_address(target))}
