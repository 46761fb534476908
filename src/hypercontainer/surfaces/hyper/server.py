"""Serves the native API on sockets that listen already: connections, requests, answers, errors.

Each connection has one task.  A request's work is cancelled when its client goes away; what fails becomes an
HTTP error while no answer has begun, and a broken connection after that, which a client can tell from an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import h11
import msgspec

from hypercontainer.engine.interface import Engine
from hypercontainer.errors import HyperError, InvalidArgument, Unavailable
from hypercontainer.surfaces.http.connection import BadRequest, ClientGone, Connection, Limits
from hypercontainer.surfaces.http.pipes import BodyPipe
from hypercontainer.surfaces.hyper.faults import FaultBody, fault_of
from hypercontainer.surfaces.hyper.routes import ROUTES
from hypercontainer.surfaces.hyper.routing import (
    JSON,
    PROTOCOL,
    Call,
    Chunks,
    MethodNotAllowed,
    Nothing,
    Route,
    Router,
    Upgrade,
    read_body,
    read_credentials,
    read_query,
)

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 4096
LISTEN_BACKLOG = 128


class Server:
    """``shutdown`` is called when a client asks the daemon to end, with its wish to stop the containers."""

    def __init__(
        self, engine: Engine, shutdown: Callable[[bool], None], *, limits: Limits | None = None
    ) -> None:
        self._engine = engine
        self._shutdown = shutdown
        self._limits = limits or Limits()
        self._router = Router(ROUTES)
        self._listeners: list[asyncio.Server] = []
        self._open: dict[asyncio.Task[None], Connection] = {}
        self._closing = False

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Returns when clients are being served; the sockets then are the server's."""
        for sock in sockets:
            # Not start_unix_server: it would remove the socket's path, which may be systemd's.
            server = await asyncio.start_server(
                self._connected, sock=sock, limit=self._limits.ahead_bytes, backlog=LISTEN_BACKLOG
            )
            self._listeners.append(server)

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

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = Connection(reader, writer, self._limits)
        self._open[task] = connection
        try:
            await self._requests(connection)
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
            del self._open[task]

    async def _requests(self, connection: Connection) -> None:
        while not self._closing:
            try:
                request = await connection.request()
                if request is None:
                    return
                if self._crowded:
                    raise Unavailable("hyperd has too many clients", hint="close some of them")
                await self._request(connection, request)
            except ClientGone:
                raise
            except Exception as error:
                if not connection.may_answer:
                    raise
                await self._refuse(connection, error)
            if not connection.next_cycle():
                await connection.linger()
                return

    @property
    def _crowded(self) -> bool:
        return len(self._open) > MAX_CONNECTIONS

    async def _refuse(self, connection: Connection, error: Exception) -> None:
        status, fault = fault_of(error)
        headers = [("Content-Type", JSON)]
        if isinstance(error, MethodNotAllowed):
            headers.append(("Allow", ", ".join(error.allowed)))
        body = msgspec.json.encode(FaultBody(fault))
        await connection.answer(status, headers, body, close=isinstance(error, BadRequest) or self._crowded)

    # One request

    async def _request(self, connection: Connection, request: h11.Request) -> None:
        method, target = request.method.decode(), request.target.decode("latin-1")
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s from pid %d, uid %d, gid %d", method, target, *connection.peer())
        route, name, query_text = self._router.find(method, target)
        headers = dict(request.headers)
        query = read_query(query_text, route.query)
        credentials = read_credentials(headers)
        pipe = BodyPipe() if route.takes != JSON else None
        try:
            body = Nothing() if pipe else read_body(await connection.whole_body(), route.body)
            call: Call[Any, Any] = Call(
                engine=self._engine,
                shutdown=self._shutdown,
                id=name,
                query=query,
                body=body,
                credentials=credentials,
                upgrade=route.upgrade and _wants_upgrade(headers),
                stream=pipe.file if pipe else None,
                peer_uid=connection.peer_uid(),
            )
            answer = await while_connected(self._answer(connection, route, call), _watch(connection, pipe))
        finally:
            if pipe:
                pipe.close()
        if isinstance(answer, Upgrade):
            initial = connection.switch(PROTOCOL)
            await answer.session.serve(connection.reader, connection.writer, initial)

    async def _answer(self, connection: Connection, route: Route, call: Call[Any, Any]) -> object:
        answer = await route.handler(call)
        if isinstance(answer, Chunks):
            await _send_chunks(connection, route, answer)
        elif answer is None:
            await connection.answer(route.status)
        elif not isinstance(answer, Upgrade):
            body = msgspec.json.encode(answer)
            await connection.answer(route.status, [("Content-Type", JSON)], body)
        return answer


async def _send_chunks(connection: Connection, route: Route, answer: Chunks) -> None:
    headers = [("Content-Type", route.gives), *answer.headers]
    begin = functools.partial(connection.begin, route.status, headers)
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


async def _watch(connection: Connection, pipe: BodyPipe | None) -> None:
    """Returns when the client has gone; until then, brings its body to whoever reads ``pipe``."""
    if pipe is not None:
        with contextlib.suppress(ClientGone):
            if not await _pump(connection, pipe):
                await asyncio.get_running_loop().create_future()  # answered early: the rest is for `linger`
    if connection.body_done:
        await connection.gone()


async def _pump(connection: Connection, pipe: BodyPipe) -> bool:
    try:
        async for chunk in connection.chunks():
            await pipe.write(chunk)
    except BrokenPipeError:
        return False
    pipe.finish()
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


def _wants_upgrade(headers: dict[bytes, bytes]) -> bool:
    protocol = headers.get(b"upgrade")
    if protocol is None:
        return False
    tokens = [token.strip().lower() for token in headers.get(b"connection", b"").split(b",")]
    if b"upgrade" not in tokens or protocol.lower() != PROTOCOL.encode():
        raise InvalidArgument(f"Upgrade: only {PROTOCOL} is spoken here, with `Connection: Upgrade`")
    return True
