"""One call of Docker's API: what has been read of its request, and the engine that it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hypercontainer.contract.reading import why
from hypercontainer.engine.interface import NOBODY
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.surfaces.docker.query import Query
from hypercontainer.surfaces.docker.versions import Version
from hypercontainer.surfaces.docker.wording import Forbidden
from hypercontainer.surfaces.http.answers import Answer, Reply, json_reply

if TYPE_CHECKING:
    from hypercontainer.engine.container.container import Container
    from hypercontainer.engine.engine import Engine
    from hypercontainer.engine.sandbox.execs import Exec

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """``names``: what stands for {..} in the route's path, in its order.  ``body``: bytes, or what the route's
    ``takes`` brings.  ``peer_uid``: whose process the client is, as for the native API; None: nobody knows."""

    engine: Engine
    version: Version
    method: str
    names: tuple[str, ...]
    query: Query
    headers: Mapping[bytes, bytes]
    body: Any
    peer_uid: int | None

    @property
    def name(self) -> str:
        return self.names[0]

    async def container(self, name: str | None = None) -> Container:
        """That the path names, or that is called so.  NotFound in the words that clients look for."""
        wanted = self.name if name is None else name
        try:
            return await self.engine.containers.held(wanted)
        except NotFound:
            raise NotFound(f"No such container: {wanted}") from None

    async def entered(self, name: str | None = None) -> Container:
        """The same, whose files or programs are reached.  Forbidden for who is no user of this machine, where they lead
        to something of it."""
        container = await self.container(name)
        if self.peer_uid == NOBODY and container.reaches_host:
            raise Forbidden(f"{container.what} has files of its host, or Docker's API: that is for its users")
        return container

    async def exec(self) -> Exec:
        try:
            return await self.engine.execs.held(self.name)
        except NotFound:
            raise NotFound(f"No such exec instance: {self.name}") from None

    def json(self, kind: type[T], *, empty: bool = False) -> T:
        """The body, read as ``kind``; ``empty``: none at all is an empty object."""
        if not self.body and not empty:
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        try:
            return msgspec.json.decode(self.body or b"{}", type=kind)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"invalid JSON: {why(error)}") from None

    def header(self, name: str) -> str:
        return self.headers.get(name.lower().encode(), b"").decode("latin-1")

    def wants_upgrade(self, protocol: str) -> bool:
        tokens = [token.strip() for token in self.header("connection").lower().split(",")]
        return "upgrade" in tokens and self.header("upgrade").lower() == protocol


Handler = Callable[[Call], Awaitable[Answer]]


def done(status: int = 204) -> Reply:
    """No body; of 204 no length either."""
    return Reply(status)


def found(value: object, status: int = 200) -> Reply:
    return json_reply(value, status)
