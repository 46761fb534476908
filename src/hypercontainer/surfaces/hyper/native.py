"""The native API as a surface (``http.server.Surface``): a request becomes a call, which is done as its route says.

No call has code here: a new one is a route, a method of the engine, and, where it is more than that, a handler.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hypercontainer.contract.calls import CredentialsBody, Nothing
from hypercontainer.contract.routes import CREDENTIALS_HEADER, JSON, LINES, PROTOCOL
from hypercontainer.engine.interface import ProgressSink
from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.http.answers import Answer, Reply, json_reply
from hypercontainer.surfaces.http.reading import read_body, read_query
from hypercontainer.surfaces.http.routing import Router
from hypercontainer.surfaces.http.server import Request, Work, wants_upgrade
from hypercontainer.surfaces.hyper.call import Call, Collections
from hypercontainer.surfaces.hyper.faults import FaultBody, fault_of
from hypercontainer.surfaces.hyper.handlers import HANDLERS
from hypercontainer.surfaces.hyper.progress import progress_lines, value_lines
from hypercontainer.surfaces.hyper.typed import OPERATIONS


class NativeApi:
    """``collections``: the engine's, and what else there is, by the names of the routes (containers, execs, pods,
    volumes, images, system, manifests).  ``shutdown`` is called when a client asks the daemon to end, with its wish
    to stop the containers."""

    def __init__(self, collections: Collections, shutdown: Callable[[bool], None]) -> None:
        self._collections = collections
        self._shutdown = shutdown
        self._router = Router(OPERATIONS, hint="docs/api.md lists them")

    def accept(self, request: Request) -> Work:
        operation, identifier, query_text = self._router.find(request.method, request.target)
        route = operation.route
        query = read_query(query_text, operation.query)
        credentials = read_credentials(request.headers)
        upgrade = route.upgrade and wants_upgrade(request.headers, PROTOCOL)
        streams = route.takes != JSON

        async def do(body: Any) -> Answer:
            call = Call(
                operation=operation,
                collections=self._collections,
                shutdown=self._shutdown,
                id=identifier,
                query=query,
                body=Nothing() if streams else read_body(body, operation.body),
                stream=body if streams else None,
                credentials=credentials,
                upgrade=upgrade,
                peer_uid=request.peer_uid,
            )
            return await perform(call)

        return Work(do, "pieces" if route.pieces else "file" if streams else "whole")

    def refuse(self, error: Exception) -> Reply:
        status, fault = fault_of(error)
        return json_reply(FaultBody(fault), status)


async def perform(call: Call) -> Answer:
    route = call.route
    if (handler := HANDLERS.get(route.name)) is not None:
        return await handler(call)
    method = await call.method()
    if route.progress:

        async def work(progress: ProgressSink) -> object:
            return call.wrapped(await (method() if route.silent else method(progress=progress)))

        return call.chunks(progress_lines(work))
    if route.gives == LINES:
        return call.chunks(value_lines(method()), at_once=True)
    return call.reply(await method())


def read_credentials(headers: Mapping[bytes, bytes]) -> CredentialsBody | None:
    value = headers.get(CREDENTIALS_HEADER.lower().encode())
    if value is None:
        return None
    try:
        data = base64.b64decode(value + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=CredentialsBody)
    except (binascii.Error, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # Without the cause: it could quote what it read.
        raise InvalidArgument(
            f"{CREDENTIALS_HEADER}: base64url of the JSON in docs/api.md is wanted"
        ) from None
