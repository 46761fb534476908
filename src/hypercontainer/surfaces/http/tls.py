"""TLS with certificates on both sides, under connections as asyncio has them, and what a certificate's names may do.

asyncio's own TLS ends a connection whose client has ended what it sends.  Docker's clients do that on every attached
connection and go on reading, so that here the two directions end one by one (RFC 8446, 6.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hypercontainer.engine.interface import NOBODY
from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.http.connection import ClientGone, drain

Role = Literal["read", "operate", "admin"]
READ_BYTES = 65536
AHEAD_BYTES = 65536


@dataclass(frozen=True)
class Who:
    """A client.  ``uid``: the user whose rights it has on this machine, or `NOBODY`.  ``role`` None: it may do
    nothing."""

    uid: int | None
    role: Role | None = "admin"
    name: str = ""


class Gate:
    """``roles``: by a name of the certificate's, "*" for any.  What an administrator asks for is done with the rights
    of hyperd's own user; others have nothing of this machine's."""

    def __init__(self, ca: Path, certificate: Path, key: Path, roles: Mapping[str, Role]) -> None:
        self._roles = roles
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(ca)
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidArgument(f"TLS: {ca}, {certificate}, {key}: {error}") from error

    async def admit(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, within_s: float
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Who]:
        """ClientGone where there is no certificate that can be trusted, or it takes too long."""
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        wire = _Wire(self._context, reader, writer)
        try:
            async with asyncio.timeout(within_s):
                await wire.shake_hands()
        except (TimeoutError, ssl.SSLError, OSError) as error:
            raise ClientGone from error
        names = list(_names(wire.tls.getpeercert() or {}))
        return wire.plain_reader, wire.plain_writer, self._who(names)

    def _who(self, names: list[str]) -> Who:
        for name in [*names, "*"]:
            if (role := self._roles.get(name)) is not None:
                return Who(os.geteuid() if role == "admin" else NOBODY, role, name)
        return Who(NOBODY, None, names[0] if names else "")


def _names(certificate: Mapping[str, Any]) -> Iterable[str]:
    """The common name first, and then the alternative ones."""
    for part in certificate.get("subject", ()):
        yield from (value for kind, value in part if kind == "commonName")
    yield from (value for _, value in certificate.get("subjectAltName", ()))


class _Wire(asyncio.Transport):
    """As a transport of what is readable, over a connection of what is not."""

    def __init__(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__()
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        loop = asyncio.get_running_loop()
        self.plain_reader = asyncio.StreamReader(limit=AHEAD_BYTES, loop=loop)
        self.plain_reader.set_transport(self)
        # Of the protocol underneath: it knows when the client has room again.
        self.plain_writer = asyncio.StreamWriter(self, writer.transport.get_protocol(), None, loop)
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._pump: asyncio.Task[None] | None = None

    async def shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._receive():
                    raise ConnectionResetError from None
            except ssl.SSLError:
                await self._flush()  # the alert, which says why
                raise
        await self._flush()
        self._pump = asyncio.create_task(self._read_on())

    async def _receive(self) -> bool:
        data = await self._reader.read(READ_BYTES)
        self._incoming.write(data)
        return bool(data)

    async def _flush(self) -> None:
        self._send()
        with contextlib.suppress(ClientGone):
            await drain(self._writer)

    def _send(self) -> None:
        if data := self._outgoing.read():
            self._writer.write(data)

    async def _read_on(self) -> None:
        """Until the client ends what it sends; what is sent to it goes on."""
        try:
            while True:
                await self._wanted.wait()
                try:
                    while data := self.tls.read(READ_BYTES):
                        self.plain_reader.feed_data(data)
                    break
                except ssl.SSLWantReadError:
                    self._send()  # what the protocol itself has to say
                    if not await self._receive():
                        break
        except (ssl.SSLError, OSError):
            pass  # an end like any other: a request that was not whole is seen to be none
        self.plain_reader.feed_eof()

    # What asyncio asks of a transport

    def write(self, data: Any) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self.tls.write(view) :]
        except ssl.SSLError as error:
            raise ConnectionResetError from error
        self._send()

    def write_eof(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # the other side's end is not waited for
            self.tls.unwrap()
        self._send()
        self._writer.write_eof()

    def pause_reading(self) -> None:
        self._wanted.clear()

    def resume_reading(self) -> None:
        self._wanted.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._writer.transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._writer.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._writer.is_closing()

    def close(self) -> None:
        self._stop()
        self._writer.close()

    def abort(self) -> None:
        self._stop()
        self._writer.transport.abort()

    def _stop(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
