"""What is read of what the kernel tells of packets, which are a guest's."""

from __future__ import annotations

import ipaddress
import struct

from hypothesis import given
from hypothesis import strategies as st

import frames_of_pods as f
from hypercontainer.network.nflog import Told, told
from hypercontainer.network.sets import attribute


def message(*attributes: bytes, kind: int = 4 << 8) -> bytes:
    body = struct.pack(">BBH", 2, 0, 7) + b"".join(attributes)
    data = struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body
    return data + bytes(-len(data) % 4)


def test_headers_are_read_of_both_versions() -> None:
    four = message(attribute(10, b"policy\0"), attribute(9, f.udp(("10.1.0.2", 9), ("192.0.2.1", 53), b"x")))
    six = message(attribute(10, b"full\0"), attribute(9, f.syn(("fd01::2", 9), ("2001:db8::1", 443))[:44]))
    echo = message(attribute(9, f.echo("10.1.0.2", "192.0.2.1")))
    a, b, c, d = map(ipaddress.ip_address, ("10.1.0.2", "192.0.2.1", "fd01::2", "2001:db8::1"))
    assert list(told(four + six + message(kind=3) + echo)) == [
        Told("policy", a, b, 17, 53),
        Told("full", c, d, 6, 443),
        Told("", a, b, 1, 0),
    ]


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_nothing_that_comes_breaks_it(data: bytes, packet: bytes) -> None:
    list(told(data))
    list(told(message(attribute(9, packet)) + data))
    list(
        told(
            message(
                attribute(10, b"p\0"), attribute(9, f.syn(("10.1.0.2", 9), ("192.0.2.1", 443))[: len(packet)])
            )
        )
    )
