"""Serves a surface on sockets that listen already: connections, requests, answers, errors.

Each connection has one task.  A request's work is cancelled when its client goes away; what fails becomes an
HTTP error while no answer has begun, and a broken connection after that, which a client can tell from an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Protocol

import h11

from hypercontainer.engine.crowd import Crowd
from hypercontainer.engine.pipes import InputPipe, InputQueue, Pieces
from hypercontainer.engine.turns import on_behalf
from hypercontainer.errors import HyperError, InvalidArgument
from hypercontainer.surfaces.http.admission import Admission, Crowded
from hypercontainer.surfaces.http.answers import Answer, Chunks, Raw, Reply, Silent, Upgrade
from hypercontainer.surfaces.http.connection import (
    HTTP2_METHOD,
    BadRequest,
    ClientGone,
    Connection,
    Limits,
    WrongVersion,
)
from hypercontainer.surfaces.http.routing import MethodNotAllowed
from hypercontainer.surfaces.http.tls import Gate, Who

logger = logging.getLogger(__name__)

LISTEN_BACKLOG = 128
CUT_WORDS = "the client went away in the middle of the data"


@dataclass(frozen=True)
class Request:
    """A request's head.  ``target`` is as it came; the names of ``headers`` are in small letters, and the values of one
    that comes several times stand in one, with commas (RFC 9110, 5.3)."""

    method: str
    target: str
    headers: Mapping[bytes, bytes]
    who: Who

    @property
    def peer_uid(self) -> int | None:
        return self.who.uid


Body = bytes | BinaryIO | Pieces


@dataclass(frozen=True)
class Work:
    """What a request comes to.  ``do`` is given the body ``by``: whole, as a file that a thread may read as it comes,
    or in pieces as they come.  It is cancelled when the client goes away."""

    do: Callable[[Any], Awaitable[Answer]]
    by: Literal["whole", "file", "pieces"] = "whole"


class Surface(Protocol):
    def accept(self, request: Request) -> Work:
        """Raises what is wrong with the head, before the body is taken."""

    def refuse(self, error: Exception) -> Reply:
        """How any error is told; what nobody raised on purpose too."""


class Server:
    """``gate``: whom every connection has to pass; without one it is the kernel that says who a client is."""

    def __init__(self, surface: Surface, *, limits: Limits | None = None, gate: Gate | None = None) -> None:
        self._surface = surface
        self._gate = gate
        self._limits = limits or Limits()
        self._listeners: list[asyncio.Server] = []
        self._open: dict[asyncio.Task[None], Connection] = {}
        self._admission = Admission(self._limits.connections)
        self._crowd = Crowd()
        self._closing = False

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Returns when clients are being served; the sockets then are the server's."""
        for sock in sockets:
            # Not start_unix_server: it would remove the socket's path, which may be systemd's.
            server = await asyncio.start_server(
                self._connected, sock=sock, limit=self._limits.ahead_bytes, backlog=LISTEN_BACKLOG
            )
            self._listeners.append(server)

    async def connect(self, who: Who) -> socket.socket:
        """The near end of one more connection, whose client is ``who``."""
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._limits.ahead_bytes, loop=loop)
        served = functools.partial(self._connected, who=who)
        protocol = asyncio.StreamReaderProtocol(reader, served, loop=loop)
        try:
            await loop.connect_accepted_socket(lambda: protocol, far)
        except BaseException:
            near.close()
            far.close()
            raise
        return near

    async def close(self, *, deadline_s: float = 2.0) -> None:
        """Takes no more requests, lets those under way end for at most ``deadline_s``, then cuts them off."""
        self._closing = True
        for listener in self._listeners:
            listener.close()
        for task, connection in self._open.items():
            if connection.idle:
                task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=deadline_s)
        left = list(self._open)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # One connection

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: Who | None = None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = Connection(reader, writer, self._limits, who.uid if who else None)
        self._open[task] = connection
        self._admission.enter(task, connection)
        try:
            who = who or await self._admitted(connection)
            await self._requests(connection, who)
            await connection.close()
        except ClientGone as error:
            logger.debug("a client has gone: %r", error)
        except asyncio.CancelledError:
            pass  # the server is closing; nothing waits for this task's outcome
        except HyperError as error:
            logger.warning("an answer was broken off: %s", error)
        except Exception:
            logger.exception("an answer was broken off")
        finally:
            connection.abort()
            self._admission.leave(task)
            del self._open[task]
            self._crowd.left(len(self._open))

    async def _admitted(self, connection: Connection) -> Who:
        if self._gate is None:
            return Who(connection.peer_uid())
        reader, writer, who = await self._gate.admit(
            connection.reader, connection.writer, within_s=self._limits.head_s
        )
        connection.reader, connection.writer = reader, writer
        return who

    async def _requests(self, connection: Connection, who: Who) -> None:
        while not self._closing:
            try:
                request = await connection.request()
                if request is None:
                    return
                if connection.crowded:
                    raise Crowded
                with on_behalf(who.uid):
                    await self._request(connection, request, who)
            except ClientGone:
                raise
            except Exception as error:
                if not connection.may_answer:
                    raise
                await self._refuse(connection, error)
            if not connection.next_cycle():
                await connection.linger()
                return

    async def _refuse(self, connection: Connection, error: Exception) -> None:
        reply = self._surface.refuse(error)
        headers = reply.headers
        if isinstance(error, MethodNotAllowed):
            headers = (*headers, ("Allow", ", ".join(error.allowed)))
        close = isinstance(error, BadRequest | Crowded)
        await connection.answer(reply.status, headers, reply.body, close=close)

    # One request

    async def _request(self, connection: Connection, head: h11.Request, who: Who) -> None:
        method, target = head.method.decode(), head.target.decode("latin-1")
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s from pid %d, uid %d, gid %d", method, target, *connection.peer())
        request = Request(method, target, _joined(head.headers), who)
        try:
            work = self._surface.accept(request)
        except HyperError:
            if head.method == HTTP2_METHOD:
                raise WrongVersion from None
            raise
        coming, body = _coming(work)
        try:
            if coming is None:
                body = await self._whole_body(connection)
            answer = await while_connected(_do(connection, work, body), _watch(connection, coming))
        finally:
            if coming:
                coming.close()
        if isinstance(answer, Upgrade):
            initial = connection.switch(answer.protocol, answer.headers)
            await answer.session.serve(connection.reader, connection.writer, initial)
        elif isinstance(answer, Silent):
            await answer.session.serve(connection.reader, connection.writer, connection.whole())
        elif isinstance(answer, Raw):
            initial = connection.let_go(answer.status, answer.headers)
            await answer.session.serve(connection.reader, connection.writer, initial)

    async def _whole_body(self, connection: Connection) -> bytes:
        with self._admission.body(connection.peer_uid()) as grow:
            return await connection.whole_body(grow)


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return found


def _coming(work: Work) -> tuple[InputPipe | InputQueue | None, Body]:
    """Of a body that is not waited for: where it is brought, and what ``work`` gets it from."""
    if work.by == "file":
        pipe = InputPipe(CUT_WORDS)
        return pipe, pipe.file
    if work.by == "pieces":
        queue = InputQueue(CUT_WORDS)
        return queue, queue.pieces
    return None, b""


async def _do(connection: Connection, work: Work, body: Body) -> Answer:
    answer = await work.do(body)
    if isinstance(answer, Reply):
        await connection.answer(answer.status, answer.headers, answer.body)
    elif isinstance(answer, Chunks):
        await _send_chunks(connection, answer)
    return answer


async def _send_chunks(connection: Connection, answer: Chunks) -> None:
    begin = functools.partial(connection.begin, answer.status, answer.headers)
    async with contextlib.aclosing(answer.chunks) as chunks:
        if answer.at_once:
            await begin()
        async for chunk in chunks:
            if connection.may_answer:
                await begin()
            await connection.send(chunk)
        if connection.may_answer:
            await begin()
        await connection.end()


async def _watch(connection: Connection, coming: InputPipe | InputQueue | None) -> None:
    """Returns when the client has gone; until then, brings its body to ``coming``.

    When it ends, nothing more comes: whoever waits for it does so no longer, and can be waited for.
    """
    try:
        if coming is not None:
            with contextlib.suppress(ClientGone):
                if not await _pump(connection, coming):
                    await (
                        asyncio.get_running_loop().create_future()
                    )  # answered early: the rest is for `linger`
        if connection.body_done:
            await connection.gone()
    finally:
        if coming is not None:
            coming.cut()


async def _pump(connection: Connection, coming: InputPipe | InputQueue) -> bool:
    try:
        async for chunk in connection.chunks():
            await coming.write(chunk)
    except BrokenPipeError:
        return False
    coming.finish()
    return True


async def while_connected(work: Coroutine[Any, Any, object], gone: Coroutine[Any, Any, None]) -> object:
    """``work``'s outcome; cancels it and raises ClientGone when ``gone`` ends first."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(gone)
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            watching.result()
            raise ClientGone
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def wants_upgrade(headers: Mapping[bytes, bytes], protocol: str) -> bool:
    wanted = headers.get(b"upgrade")
    if wanted is None:
        return False
    tokens = [token.strip().lower() for token in headers.get(b"connection", b"").split(b",")]
    if b"upgrade" not in tokens or wanted.lower() != protocol.encode():
        raise InvalidArgument(f"Upgrade: only {protocol} is spoken here, with `Connection: Upgrade`")
    return True
