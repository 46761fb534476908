"""HTTP/2 and gRPC spoken by a test: one end of a connection in memory, by the h2 library and nothing of ours."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

PREFIX = struct.Struct(">?I")
Fields = list[tuple[bytes, bytes]]


class Ends:
    """Two wires in memory: what is written to one is read from the other."""

    def __init__(self) -> None:
        self._ways: tuple[asyncio.Queue[bytes], asyncio.Queue[bytes]] = (asyncio.Queue(), asyncio.Queue())
        self.here, self.there = MemoryWire(*self._ways), MemoryWire(*reversed(self._ways))


class MemoryWire:
    def __init__(self, coming: asyncio.Queue[bytes], going: asyncio.Queue[bytes]) -> None:
        self._coming, self._going = coming, going
        self.bytes_read = 0

    async def read(self) -> bytes:
        data = await self._coming.get()
        self.bytes_read += len(data)
        return data

    async def write(self, data: bytes) -> None:
        self._going.put_nowait(bytes(data))

    def close(self) -> None:
        self._going.put_nowait(b"")


class Peer:
    """``takes``: it gives its peer room again for what it has read."""

    def __init__(self, wire: MemoryWire, *, client: bool, takes: bool = True) -> None:
        self.wire, self.takes = wire, takes
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding=None))
        self.h2.initiate_connection()
        self.data: dict[int, bytes] = defaultdict(bytes)
        self.heads: dict[int, list[Fields]] = defaultdict(list)
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.gone = False
        self._task = asyncio.create_task(self._read())
        self._changed = asyncio.Condition()

    async def flush(self) -> None:
        if data := self.h2.data_to_send():
            await self.wire.write(data)

    async def until(self, true: object) -> None:
        """``true``: a function without arguments."""
        async with self._changed:
            await self._changed.wait_for(true)  # type: ignore[arg-type]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.wire.close()

    async def ask(self, path: str, **metadata: str) -> int:
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]
        fields += [("content-type", "application/grpc"), ("te", "trailers")]
        more = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        self.h2.send_headers(stream, [*fields, *more])
        await self.flush()
        return stream

    async def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """As much as its peer has room for, and the rest when it has more."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room:
                self.h2.send_data(stream, data[:room])
                data = data[room:]
                await self.flush()
                async with self._changed:
                    self._changed.notify_all()
            else:
                await self.until(lambda: self.h2.local_flow_control_window(stream) > 0)
        if end:
            self.h2.end_stream(stream)
            await self.flush()

    async def call(self, path: str, message: bytes, **metadata: str) -> tuple[bytes, dict[bytes, bytes]]:
        """(message, trailers)."""
        stream = await self.ask(path, **metadata)
        await self.send(stream, framed(message), end=True)
        await self.until(lambda: stream in self.ended or stream in self.reset)
        return self.data[stream][PREFIX.size :], dict(self.heads[stream][-1])

    async def answer(self, stream: int, message: bytes) -> None:
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        await self.send(stream, framed(message))
        self.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        await self.flush()

    async def _read(self) -> None:
        while data := await self.wire.read():
            for event in self.h2.receive_data(data):
                self._take(event)
            await self.flush()
            async with self._changed:
                self._changed.notify_all()
        async with self._changed:
            self.gone = True
            self._changed.notify_all()

    def _take(self, event: object) -> None:
        if isinstance(event, RequestReceived | ResponseReceived | TrailersReceived):
            self.heads[event.stream_id].append([(bytes(n), bytes(v)) for n, v in event.headers])
        elif isinstance(event, DataReceived):
            self.data[event.stream_id] += event.data
            if self.takes:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, StreamReset):
            self.reset[event.stream_id] = int(event.error_code)
        elif isinstance(event, ConnectionTerminated):
            self.gone = True


def framed(message: bytes) -> bytes:
    return PREFIX.pack(False, len(message)) + message
