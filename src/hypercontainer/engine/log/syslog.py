"""A container's output on its way to a syslog server, beside its log.

A container does not wait for the server: what there is no room for, and what the server does not take, is dropped, and
hyperd's own log says so.  Each line is a message, however it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping

from hypercontainer.contract.spec import Syslog
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import Unavailable
from hypercontainer.linux.users import User, as_user
from hypercontainer.semantics import syslog

LINE_MAX = 16384  # bytes; a longer one is several messages
WAITING_MAX = 1 << 20  # bytes that wait for the server
CONNECT_S = 5.0
LAST_S = 2.0  # for what waits when the container has ended

log = logging.getLogger(__name__)

STDERR = 2


class Forwarding:
    """Of one container; ``user``: whose rights count for a socket of the host.  ``open`` before a run, ``close`` after
    it."""

    def __init__(self, config: Syslog, facts: Mapping[str, str], user: User | None) -> None:
        self._server = syslog.server(config)
        self._user = user
        tag = syslog.tag(config, facts)
        self._what = f"output of container {facts['Name']}, for {self._server}"
        self._write = syslog.writer(config, tag, host=socket.gethostname(), pid=os.getpid())
        self._socket: socket.socket | None = None
        self._begun: dict[int, bytes] = {}  # of a line, by stream
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._sender: asyncio.Task[None] | None = None
        self._failing = False

    async def open(self) -> None:
        """Unavailable where the server is not there, as far as can be known."""
        try:
            await self._connect()
        except OSError as error:
            raise Unavailable(f"log driver syslog: {self._server}: {error.strerror or error}") from None

    def append(self, stream: int, data: bytes) -> None:
        *lines, rest = (self._begun.pop(stream, b"") + data).split(b"\n")
        while len(rest) > LINE_MAX:
            lines.append(rest[:LINE_MAX])
            rest = rest[LINE_MAX:]
        if rest:
            self._begun[stream] = rest
        for line in lines:
            self._put(stream, line.removesuffix(b"\r"))

    async def close(self) -> None:
        """The run is over: what has been written goes out, if the server takes it soon."""
        for stream, line in self._begun.items():
            self._put(stream, line)
        self._begun.clear()
        if self._sender is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    await self._sender
        self._sender = None
        self._waiting.clear()
        self._waiting_bytes = 0
        self._disconnect()

    # ------------------------------------------------------------------------------------- inside

    def _put(self, stream: int, line: bytes) -> None:
        severity = syslog.ERROR if stream == STDERR else syslog.INFO
        for at in range(0, len(line) or 1, LINE_MAX):
            message = self._write(severity, time.time_ns(), line[at : at + LINE_MAX])
            message += b"\n" if self._server.is_stream else b""
            if self._waiting_bytes + len(message) > WAITING_MAX:
                self._fail("it does not take them as fast as they come")
                return
            self._waiting.append(message)
            self._waiting_bytes += len(message)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send(), name=self._what)

    def _fail(self, why: object) -> None:
        if not self._failing:
            log.warning("%s: messages are dropped: %s", self._what, why)
        self._failing = True

    async def _send(self) -> None:
        while self._waiting:
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message)
            try:
                if self._socket is None:
                    await self._connect()
                assert self._socket is not None
                await asyncio.get_running_loop().sock_sendall(self._socket, message)
                self._failing = False
            except OSError as error:
                self._fail(error.strerror or error)
                if self._server.is_stream:
                    self._disconnect()

    async def _connect(self) -> None:
        """OSError, a TimeoutError among these."""
        self._disconnect()
        async with asyncio.timeout(CONNECT_S):
            if self._server.path:
                self._socket = await asyncio.to_thread(as_user, self._user, self._local())
            else:
                self._socket = await self._remote()

    def _local(self) -> Callable[[], socket.socket]:
        kind = socket.SOCK_STREAM if self._server.is_stream else socket.SOCK_DGRAM
        path = self._server.path

        def connect() -> socket.socket:
            made = socket.socket(socket.AF_UNIX, kind)
            try:
                made.setblocking(False)
                made.connect(path)
            except BaseException:
                made.close()
                raise
            return made

        return connect

    async def _remote(self) -> socket.socket:
        loop, server = asyncio.get_running_loop(), self._server
        kind = socket.SOCK_STREAM if server.is_stream else socket.SOCK_DGRAM
        found = await loop.getaddrinfo(server.host, server.port, type=kind)
        family, _, _, _, address = found[0]
        made = socket.socket(family, kind)
        try:
            made.setblocking(False)
            await loop.sock_connect(made, address)
        except BaseException:
            made.close()
            raise
        return made

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def forwarding(record: ContainerRecord, user: User | None) -> Forwarding | None:
    """None where the container's output goes nowhere else."""
    config = record.spec.log
    if config.driver != "syslog":
        return None
    image = record.image_id.rpartition(":")[2]
    facts = {
        "ID": record.id[:12],
        "FullID": record.id,
        "Name": record.name,
        "ImageID": image[:12],
        "ImageFullID": record.image_id,
        "ImageName": record.image,
        "DaemonName": "hyperd",
    }
    return Forwarding(config.syslog or Syslog(), facts, user)
