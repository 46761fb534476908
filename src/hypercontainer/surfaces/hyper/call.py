"""One call of the native API: what has been read of its request, and the method that does it."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from hypercontainer.contract.calls import CredentialsBody, Request, Wrapper
from hypercontainer.contract.routes import NAMES, Route
from hypercontainer.engine.pipes import Pieces
from hypercontainer.errors import HyperError, NotFound, Remedy
from hypercontainer.surfaces.http.answers import Answer, Chunks, Fields, Reply, json_reply
from hypercontainer.surfaces.hyper.typed import Operation

Collections = Mapping[str, Any]  # by the names that routes say in ``does``


@dataclass(frozen=True)
class Call:
    """``id`` is what stands for ID in the path; ``stream`` the body of a route that takes no JSON.  ``peer_uid``: whose
    process the client is.  ``shutdown`` is told whether the containers shall be stopped."""

    operation: Operation
    collections: Collections
    shutdown: Callable[[bool], None]
    id: str
    query: Any
    body: Any
    stream: BinaryIO | Pieces | None
    credentials: CredentialsBody | None
    upgrade: bool
    peer_uid: int | None

    @property
    def route(self) -> Route:
        return self.operation.route

    # What is called

    async def target(self) -> Any:
        """A collection, or what it holds under the ID."""
        collection = self.collections[self.route.does.partition(".")[0]]
        if "ID" not in self.route.segments or self.route.id_as:
            return collection
        if self.route.also_of_one:
            return await collection.held(self.id, also_of_one=True)
        try:
            return await collection.held(self.id)
        except NotFound as error:
            await self._explain(error)
            raise

    async def _explain(self, error: NotFound) -> None:
        """Where a pod is asked for what containers do: what does it, and what there is in the pod."""
        kind, _, method = self.route.name.partition(".")
        if kind != "containers":
            return
        try:
            pod = await (await self.collections["pods"].held(self.id)).inspect()
        except HyperError:
            return
        members = ", ".join(member.name for member in pod.containers)
        error.hint = f"{self.id} is a pod" + (f", with the containers {members}" if members else "")
        call = f"pods.{method}"
        error.remedies = (Remedy(call, self.id, aim="is for pods"),) if call in NAMES else ()

    async def method(self) -> Callable[..., Any]:
        """With its arguments, but those that only an answer under way can give (``progress``, ``created``)."""
        name = self.route.does.partition(".")[2]
        return functools.partial(getattr(await self.target(), name), **self.arguments())

    def arguments(self) -> dict[str, Any]:
        given = fields_of(self.query)
        given |= fields_of(self.body) if isinstance(self.body, Request) else {"spec": self.body}
        if self.stream is not None:
            given["stream"] = self.stream
        if self.route.id_as:
            given[self.route.id_as] = self.id
        return given | self.on_behalf()

    def on_behalf(self) -> dict[str, Any]:
        """Who asks, and what opens the registry's doors to him, of a call that heeds it."""
        if not self.route.credentials:
            return {}
        return {"credentials": self.credentials, "asked_by": self.peer_uid}

    # What is answered

    def wrapped(self, value: Any) -> Any:
        """What the method returned, as the route answers it."""
        kind = self.operation.answer
        return kind(value) if isinstance(kind, type) and issubclass(kind, Wrapper) else value

    def reply(self, value: Any) -> Reply:
        if value is None:
            return Reply(self.route.status)
        return json_reply(self.wrapped(value), self.route.status)

    def chunks(
        self, chunks: AsyncGenerator[bytes, None], *, at_once: bool = False, headers: Fields = ()
    ) -> Chunks:
        fields = (("Content-Type", self.route.gives), *headers)
        return Chunks(self.route.status, fields, chunks, at_once)


Handler = Callable[[Call], Awaitable[Answer]]


def fields_of(request: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__struct_fields__}
