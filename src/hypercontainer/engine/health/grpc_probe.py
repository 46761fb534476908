"""grpc.health.v1.Health/Check, asked without TLS and without a protobuf compiler.

The two messages of the protocol are ``HealthCheckRequest {string service = 1}`` and ``HealthCheckResponse
{ServingStatus status = 1}``; SERVING is 1.  At most RECEIVED_MAX_BYTES are taken, whatever they are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

from hypercontainer.contract.probes import Grpc
from hypercontainer.engine import protobuf
from hypercontainer.engine.health.connect import LOOPBACK, Dial, Stream
from hypercontainer.engine.health.http_probe import USER_AGENT
from hypercontainer.engine.health.result import Result, bounded, quoted
from hypercontainer.errors import Unavailable

PATH = "/grpc.health.v1.Health/Check"
RECEIVED_MAX_BYTES = 128 * 1024
READ_BYTES = 16 * 1024
PREFIX = struct.Struct(">?I")  # compressed, length
SERVING = 1
STATUS_NAMES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
OK, NOT_FOUND, UNIMPLEMENTED = 0, 5, 12


async def grpc(dial: Dial, check: Grpc, timeout_s: float | None, *, address: str = LOOPBACK) -> Result:
    """Good where the service, "" being the server as a whole, says that it is SERVING."""

    authority = f"[{address}]:{check.port}" if ":" in address else f"{address}:{check.port}"

    async def attempt() -> Result:
        stream = await dial(address, check.port)
        try:
            return await _ask(stream, authority, check.service, timeout_s)
        except H2Error as error:
            raise Unavailable(f"HTTP/2: {str(error) or type(error).__name__}") from error
        finally:
            await stream.close()

    return await bounded(attempt(), timeout_s)


@dataclass(slots=True)
class _Reply:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False


async def _ask(stream: Stream, authority: str, service: str, timeout_s: float | None) -> Result:
    connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    connection.initiate_connection()
    number = connection.get_next_available_stream_id()
    connection.send_headers(number, _headers(authority, timeout_s))
    connection.send_data(number, request(service), end_stream=True)
    reply = _Reply()
    received = 0
    while not reply.complete:
        await stream.write(connection.data_to_send())
        data = await stream.read(READ_BYTES)
        received += len(data)
        if not data:
            raise Unavailable("gRPC: the peer left without an answer")
        if received > RECEIVED_MAX_BYTES:
            raise Unavailable(f"gRPC: an answer of more than {RECEIVED_MAX_BYTES} bytes")
        for event in connection.receive_data(data):
            _take(event, reply, connection)
    return _verdict(reply, service)


def _headers(authority: str, timeout_s: float | None) -> list[tuple[str, str]]:
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PATH),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", USER_AGENT),
    ]
    if timeout_s is not None:
        headers.append(("grpc-timeout", f"{min(99_999_999, max(1, int(timeout_s * 1000)))}m"))
    return headers


def _take(event: Event, reply: _Reply, connection: H2Connection) -> None:
    if isinstance(event, ResponseReceived | TrailersReceived):
        reply.headers.update((bytes(name), bytes(value)) for name, value in event.headers or ())
    elif isinstance(event, DataReceived):
        reply.body += event.data or b""
        assert event.stream_id is not None
        connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
    elif isinstance(event, StreamEnded):
        reply.complete = True
    elif isinstance(event, StreamReset):
        raise Unavailable(f"gRPC: the peer gave the call up, HTTP/2 error {int(event.error_code or 0)}")
    elif isinstance(event, ConnectionTerminated):
        raise Unavailable(f"gRPC: the peer ended the connection, HTTP/2 error {int(event.error_code or 0)}")


def _verdict(reply: _Reply, service: str) -> Result:
    http_status = reply.headers.get(b":status", b"")
    if http_status != b"200":
        return Result(False, f"HTTP status {quoted(http_status)}")
    code = reply.headers.get(b"grpc-status", b"")
    if code != b"%d" % OK:
        return Result(False, _refusal(code, reply.headers.get(b"grpc-message", b""), service))
    status = response(reply.body)
    return Result(status == SERVING, f"status {STATUS_NAMES.get(status, str(status))}")


def _refusal(code: bytes, message: bytes, service: str) -> str:
    if code == b"%d" % UNIMPLEMENTED:
        return "the server does not implement grpc.health.v1.Health"
    if code == b"%d" % NOT_FOUND:
        return f"the server knows no service {service!r}"
    return f"gRPC status {quoted(code) or 'missing'}: {quoted(message)}".rstrip(": ")


def request(service: str) -> bytes:
    """A HealthCheckRequest in its frame."""
    message = protobuf.written([protobuf.text(1, service)]) if service else b""
    return PREFIX.pack(False, len(message)) + message


def response(body: bytes) -> int:
    """The status in a framed HealthCheckResponse; Unavailable where it is none."""
    if len(body) < PREFIX.size:
        raise Unavailable("gRPC: an answer without a message")
    compressed, length = PREFIX.unpack_from(body)
    message = body[PREFIX.size :]
    if compressed or length != len(message):
        raise Unavailable("gRPC: the answer is not one plain message")
    try:
        return protobuf.last_number(protobuf.read(message), 1)
    except protobuf.Malformed:
        raise Unavailable("gRPC: the answer's message is broken") from None
