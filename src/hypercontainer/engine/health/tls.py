"""TLS over a ``Stream``, as a probe wants it: nobody's certificate is looked at."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import TypeVar

from hypercontainer.engine.health.connect import Stream
from hypercontainer.errors import Unavailable

RECORD_BYTES = 16 * 1024

T = TypeVar("T")


class TlsStream:
    """A ``Stream``; the one below is closed with it."""

    def __init__(self, below: Stream, server_name: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # as kubelet: the probe asks for life, not for identity
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        except ValueError as error:
            raise Unavailable(f"TLS: {error}") from error

    async def connected(self) -> None:
        await self._do(self._tls.do_handshake)

    async def read(self, limit: int) -> bytes:
        try:
            return await self._do(lambda: self._tls.read(limit))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
            await self._do(lambda: self._tls.write(data))

    async def end_input(self) -> None:
        """TLS has no half-closed connections that servers agree on."""

    async def close(self) -> None:
        await self._below.close()

    async def _do(self, operation: Callable[[], T]) -> T:
        """``operation``, again and again until it has what it needs of the peer."""
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._flush()
                if data := await self._below.read(RECORD_BYTES):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as error:
                if operation == self._tls.do_handshake:
                    raise Unavailable("TLS: the peer left during the handshake") from error
                raise
            except ssl.SSLError as error:
                raise Unavailable(f"TLS: {error.reason or error}") from error
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._below.write(data)
