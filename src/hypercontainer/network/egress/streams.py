"""Bytes both ways, in clear and in TLS: what is written waits until it is gone, so nothing piles up.

One reader and one writer at a time.  An end is ``b""``; whatever breaks is an ``OSError``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Protocol

CHUNK = 1 << 16


class Stream(Protocol):
    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def shut(self) -> None:
        """Says that no more will be written."""

    def close(self) -> None: ...


class Plain:
    """``begun``: what was read of it already, and counts as not read."""

    def __init__(self, sock: socket.socket, begun: bytes = b"") -> None:
        self.sock, self._begun = sock, begun

    async def read(self) -> bytes:
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        return await asyncio.get_running_loop().sock_recv(self.sock, CHUNK)

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def shut(self) -> None:
        with contextlib.suppress(OSError):  # it has gone away
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()


class Tls:
    """``name``: of a client, the server's, which is checked as ``context`` says; None: it is the server."""

    def __init__(self, below: Plain, context: ssl.SSLContext, name: str | None = None) -> None:
        self._below = below
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_side=name is None, server_hostname=name)
        self._sending = asyncio.Lock()

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._more()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self._flush()  # the alert that says why
                raise
        await self._flush()

    async def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._more()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # many a server ends without a word
                return b""

    async def write(self, data: bytes) -> None:
        self._tls.write(data)  # into memory: all of it
        await self._flush()

    async def shut(self) -> None:
        with contextlib.suppress(OSError):  # it waits for the peer's own end, which is read like all else
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            await self._flush()

    def close(self) -> None:
        self._below.close()

    async def _more(self) -> None:
        await self._flush()
        if data := await self._below.read():
            self._came.write(data)
        else:
            self._came.write_eof()

    async def _flush(self) -> None:
        async with self._sending:  # who reads has something to send too, and records have an order
            while self._goes.pending:
                await self._below.write(self._goes.read(CHUNK))


async def copy(source: Stream, sink: Stream, silent_s: float) -> None:
    """Until its end, which is passed on.  ``TimeoutError`` where nothing comes for so long."""
    while True:
        async with asyncio.timeout(silent_s):
            data = await source.read()
        if not data:
            await sink.shut()
            return
        async with asyncio.timeout(silent_s):
            await sink.write(data)


async def linger(stream: Stream, seconds: float, most: int) -> None:
    """Lets the peer read what was written last, which is lost where one goes with something unread."""
    await stream.shut()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            while most > 0 and (data := await stream.read()):
                most -= len(data)
