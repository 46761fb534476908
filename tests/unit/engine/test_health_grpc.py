"""gRPC's health protocol, and what any peer may say to any check."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from hypothesis import given, settings
from hypothesis import strategies as st

from health_peers import PATIENCE_S, Handler, Site, dial, served
from hypercontainer.contract.probes import Grpc, HttpGet
from hypercontainer.engine.health.connect import Dial, Stream
from hypercontainer.engine.health.grpc_probe import PREFIX, grpc, request, response
from hypercontainer.engine.health.http_probe import http_get
from hypercontainer.engine.health.result import Result
from hypercontainer.errors import Unavailable


class Health:
    """A gRPC server: services' statuses, or (grpc-status, None)."""

    def __init__(
        self, services: dict[bytes, bytes], *, trailers_only: str = "", http_status: str = "200"
    ) -> None:
        self.services, self.trailers_only, self.http_status = services, trailers_only, http_status
        self.asked: list[dict[bytes, bytes]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        server.initiate_connection()
        body = b""
        while data := await reader.read(65536):
            for event in server.receive_data(data):
                if isinstance(event, RequestReceived):
                    self.asked.append({bytes(n): bytes(v) for n, v in event.headers})
                elif isinstance(event, DataReceived):
                    body += event.data
                elif isinstance(event, StreamEnded):
                    assert event.stream_id is not None
                    self.answer(server, event.stream_id, body[5:])
            writer.write(server.data_to_send())
            await writer.drain()

    def answer(self, server: H2Connection, number: int, message: bytes) -> None:
        head = [(":status", self.http_status), ("content-type", "application/grpc")]
        status = "0" if message in self.services else "5"
        if self.trailers_only or status != "0":
            end = [("grpc-status", self.trailers_only or status), ("grpc-message", "no")]
            server.send_headers(number, [*head, *end], end_stream=True)
            return
        reply = self.services[message]
        server.send_headers(number, head)
        server.send_data(number, PREFIX.pack(False, len(reply)) + reply)
        server.send_headers(number, [("grpc-status", "0")], end_stream=True)


def ask_grpc(server: Handler, service: str = "") -> Result:
    async def main() -> Result:
        async with served(server) as port:
            return await grpc(dial, Grpc(port=port, service=service), PATIENCE_S)

    return asyncio.run(main())


def test_grpc_says_it() -> None:
    server = Health({b"": b"\x08\x01", b"\x0a\x04shop": b"\x08\x02"})
    assert ask_grpc(server) == Result(True, "status SERVING")
    assert ask_grpc(server, "shop") == Result(False, "status NOT_SERVING")
    assert ask_grpc(server, "none") == Result(False, "the server knows no service 'none'")
    asked = server.asked[0]
    assert asked[b":path"] == b"/grpc.health.v1.Health/Check" and asked[b"te"] == b"trailers"
    assert asked[b"user-agent"] == b"hyper-probe" and asked[b"grpc-timeout"] == b"20000m"


def test_grpc_refusals() -> None:
    assert "does not implement" in ask_grpc(Health({}, trailers_only="12")).detail
    assert ask_grpc(Health({}, trailers_only="14")) == Result(False, "gRPC status 14: no")
    assert ask_grpc(Health({}, trailers_only="0", http_status="503")) == Result(False, "HTTP status 503")
    assert not ask_grpc(Health({b"": b""})).ok  # status UNKNOWN
    assert not ask_grpc(Health({b"": b"\x08"})).ok
    assert not ask_grpc(Site({})).ok


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    writer.write(server.data_to_send())
    while not reader.at_eof():
        server.ping(b"12345678")
        writer.write(server.data_to_send() * 100)
        await writer.drain()


def test_grpc_is_bounded() -> None:
    assert ask_grpc(flood).detail == "gRPC: an answer of more than 131072 bytes"


@pytest.mark.parametrize(
    ("message", "status"),
    [(b"", 0), (b"\x08\x01", 1), (b"\x12\x03abc\x08\x01\x1d1234\x218bytes!!", 1), (b"\x08\x80\x01", 128)],
)
def test_grpc_messages(message: bytes, status: int) -> None:
    assert response(PREFIX.pack(False, len(message)) + message) == status


def test_grpc_request() -> None:
    assert request("") == b"\0\0\0\0\0"
    assert request("é" * 100) == b"\0\0\0\0\xcb\x0a\xc8\x01" + "é".encode() * 100


@given(st.binary(max_size=40))
def test_grpc_broken_messages(message: bytes) -> None:
    for body in (message, PREFIX.pack(False, len(message)) + message):
        with contextlib.suppress(Unavailable):
            assert response(body) >= 0


class Canned:
    """A peer that says these bytes, however it is asked."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    async def connected(self) -> None: ...
    async def read(self, limit: int) -> bytes:
        data, self._said = self._said[:limit], self._said[limit:]
        return data

    async def write(self, data: bytes) -> None: ...
    async def end_input(self) -> None: ...
    async def close(self) -> None: ...


def canned(said: bytes) -> Dial:
    async def dialled(host: str, port: int) -> Stream:
        return Canned(said)

    return dialled


FRAME = st.builds(
    lambda kind, flags, stream, body: (
        len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
    ),
    st.integers(0, 10),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3]),
    st.binary(max_size=30),
)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=200), st.lists(FRAME, max_size=6).map(b"".join)))
def test_any_bytes_are_an_answer(said: bytes) -> None:
    async def main() -> None:
        for start in (b"", b"HTTP/1.1 302 X\r\nLocation: ", b"HTTP/1.1 200 X\r\n"):
            await http_get(canned(start + said), HttpGet(port=80), PATIENCE_S)
        await http_get(canned(said), HttpGet(port=80, scheme="https"), PATIENCE_S)
        for start in (b"", b"\0\0\0\x04\0\0\0\0\0"):
            assert not (await grpc(canned(start + said), Grpc(port=80), PATIENCE_S)).ok

    asyncio.run(main())
