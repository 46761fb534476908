"""What the builder's dockerd is spoken to over: its socket, in the builder's container."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import h11

from hypercontainer.engine.build import command
from hypercontainer.engine.build.programs import STDOUT
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.errors import Unavailable

HEAD_MAX_BYTES = 16384
HEAD_S = 30.0
ANSWER_S, ANSWER_MAX_BYTES = 300.0, 8 << 20
END_OF_HEAD = b"\r\n\r\n"


class ProgramWire:
    """``http2.Wire`` to a program."""

    def __init__(self, program: ProcessAttachment) -> None:
        self._program = program
        self._ahead = b""

    async def read(self) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead or await self._program.read(STDOUT)

    async def write(self, data: bytes) -> None:
        await self._program.write(data)

    async def ask(self, method: str, target: str) -> bytes:
        """Of HTTP/1.1, once: the body of the answer.  Unavailable where that is none, or an error."""
        wire = h11.Connection(h11.CLIENT)
        fields = [("Host", "docker"), ("Content-Length", "0"), ("Connection", "close")]
        request = wire.send(h11.Request(method=method, target=target, headers=fields)) or b""
        await self.write(request + (wire.send(h11.EndOfMessage()) or b""))
        status, body = 0, b""
        try:
            async with asyncio.timeout(ANSWER_S):
                while not isinstance(event := wire.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
                    if event is h11.NEED_DATA:
                        wire.receive_data(await self.read())
                    elif isinstance(event, h11.Response):
                        status = event.status_code
                    elif isinstance(event, h11.Data):
                        body += event.data
                        if len(body) > ANSWER_MAX_BYTES:
                            raise Unavailable("the builder's dockerd says too much")
        except (TimeoutError, h11.RemoteProtocolError) as error:
            raise Unavailable(f"the builder's dockerd does not answer: {error}") from error
        if status != 200:
            raise Unavailable(
                f"the builder's dockerd: status {status}: {body[:500].decode(errors='replace')}"
            )
        return body

    async def upgrade(self, path: str, fields: Sequence[tuple[str, str]]) -> None:
        """From HTTP/1.1 to HTTP/2; Unavailable where dockerd does not want to."""
        said = [f"POST {path} HTTP/1.1", "Host: docker", "Connection: Upgrade", "Upgrade: h2c"]
        said += [f"{name}: {value}" for name, value in fields]
        await self.write("\r\n".join([*said, "", ""]).encode("latin-1"))
        head = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEAD_S):
                while END_OF_HEAD not in head and len(head) < HEAD_MAX_BYTES and (data := await self.read()):
                    head += data
        head, found, self._ahead = head.partition(END_OF_HEAD)
        if not found or not head.startswith(b"HTTP/1.1 101 "):
            first = head.partition(b"\r\n")[0].decode(errors="replace")[:200]
            raise Unavailable(f"the builder's dockerd does not answer {path}: {first or 'it said nothing'}")


@contextlib.asynccontextmanager
async def dialed(builder: Container) -> AsyncIterator[ProgramWire]:
    """A connection to the builder's dockerd."""
    async with builder.dialed(command.SOCKET) as program:
        yield ProgramWire(program)
