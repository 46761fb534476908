"""A container's streams as a WebSocket's messages: what it writes comes in binary ones, without frames of Docker's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError, generate_accept_token

from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.docker.call import Call
from hypercontainer.surfaces.docker.streams import READ_BYTES, ProcessSession
from hypercontainer.surfaces.http.answers import Upgrade
from hypercontainer.surfaces.http.connection import ClientGone, drain

PROTOCOL = "websocket"
VERSION = "13"
NORMAL, BROKEN = 1000, 1002


def websocket(call: Call, session: ProcessSession) -> Upgrade:
    key = call.header("sec-websocket-key")
    if not call.wants_upgrade(PROTOCOL) or not key or call.header("sec-websocket-version") != VERSION:
        raise InvalidArgument(f"this call goes on as a WebSocket of version {VERSION}")
    fields = [("Sec-WebSocket-Accept", generate_accept_token(key.encode("latin-1")).decode())]
    if wanted := call.header("sec-websocket-protocol").partition(",")[0].strip():
        fields.append(("Sec-WebSocket-Protocol", wanted))
    return Upgrade(PROTOCOL, _WebSocketSession(session), tuple(fields))


class _WebSocketSession:
    """Stands between the connection and the session, which does not know of messages."""

    def __init__(self, session: ProcessSession) -> None:
        self._session = session

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        wire = Connection(ConnectionType.SERVER)

        async def send(data: bytes) -> None:
            await _write(writer, wire, BytesMessage(data))

        async def receive() -> bytes:
            return await _input(wire, reader, writer)

        if initial:
            wire.receive_data(initial)
        await self._session.carry(send, receive, writer)
        with contextlib.suppress(LocalProtocolError):  # it is closed already
            await _write(writer, wire, CloseConnection(NORMAL))


async def _write(writer: asyncio.StreamWriter, wire: Connection, event: Event) -> None:
    writer.write(wire.send(event))
    await drain(writer)


async def _input(wire: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What has come of messages.  They have no end but the connection's: ClientGone."""
    while True:
        try:
            data = await _taken(wire.events(), wire, writer)
        except RemoteProtocolError as error:
            await _write(writer, wire, CloseConnection(BROKEN))
            raise ClientGone from error
        if data:
            return data
        try:
            read = await reader.read(READ_BYTES)
        except OSError as error:
            raise ClientGone from error
        if not read:
            raise ClientGone
        wire.receive_data(read)


async def _taken(events: Iterable[Event], wire: Connection, writer: asyncio.StreamWriter) -> bytes:
    data = b""
    for event in events:
        if isinstance(event, TextMessage):
            data += event.data.encode()
        elif isinstance(event, BytesMessage):
            data += event.data
        elif isinstance(event, Ping):
            await _write(writer, wire, event.response())
        elif isinstance(event, CloseConnection):
            await _write(writer, wire, event.response())
            raise ClientGone
    return data
