"""What a TLS client says first: those of real clients, cut anywhere; what is none; noise."""

from __future__ import annotations

import contextlib
import random
import ssl
import struct

import pytest

from hypercontainer.network.egress.hello import HELLO_MAX, Hello, NotTls, parse


def real(name: str | None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    gone = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), gone, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return gone.read()


def records(message: bytes, size: int) -> bytes:
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(struct.pack(">BHH", 22, 0x301, len(part)) + part for part in parts)


def hello(*extensions: tuple[int, bytes]) -> bytes:
    packed = b"".join(struct.pack(">HH", kind, len(data)) + data for kind, data in extensions)
    body = bytes(34) + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack(">H", len(packed)) + packed
    return records(b"\1" + len(body).to_bytes(3) + body, 1 << 14)


def server_name(name: bytes, kind: int = 0) -> tuple[int, bytes]:
    listed = struct.pack(">BH", kind, len(name)) + name
    return 0, struct.pack(">H", len(listed)) + listed


def test_a_real_clients() -> None:
    assert parse(real("API.example.com")) == Hello("API.example.com")
    assert parse(real(None)) == Hello("")


def test_one_that_has_not_all_come() -> None:
    data = real("api.example.com")
    assert all(parse(data[:cut]) is None for cut in range(len(data)))


@pytest.mark.parametrize("size", [16, 100])
def test_one_in_several_records(size: int) -> None:
    data = records(real("api.example.com")[5:], size)
    assert parse(data) == Hello("api.example.com")
    assert all(parse(data[:cut]) is None for cut in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1",
        b"\x15\x03\x03\0\2\2\x31",
        b"\x16\x02",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\0\1\2",
        b"\x16\x03\x01\0\4\1\xff\xff\xff",
        records(b"\1" + (HELLO_MAX - 4).to_bytes(3) + bytes(HELLO_MAX), 1),
        hello(server_name(b"a"), server_name(b"b")),
        hello(server_name(b"a", kind=1)),
        hello(server_name(b"")),
        hello(server_name(b"\xe4")),
        hello((0, b"\0\1\0")),
        hello((0, server_name(b"a")[1] + b"\0")),
        records(real("a.example")[5:] + b"\0", 1 << 14),
    ],
)
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(NotTls):
        parse(data)


def test_noise_is_no_more_than_none() -> None:
    chance, good = random.Random(20), real("api.example.com")
    for _ in range(5000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with contextlib.suppress(NotTls):
            parse(bytes(data[: chance.randint(0, len(data))]))
