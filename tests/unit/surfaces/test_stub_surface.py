"""Another surface over the same engine is a small thing: a taste of Docker's API (ping, version, list, start), with
nothing changed in the engine nor in ``surfaces/http``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fake_engine import FakeEngine
from hypercontainer.contract.calls import Filters
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.errors import HyperError
from hypercontainer.surfaces.http.answers import Answer, Reply, json_reply
from hypercontainer.surfaces.http.reading import read_query
from hypercontainer.surfaces.http.routing import Router
from hypercontainer.surfaces.http.server import Request, Server, Work

# The surface


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class ListQuery(msgspec.Struct, forbid_unknown_fields=True):
    all: bool = False
    filters: Filters = msgspec.field(default_factory=dict)


Collections = Mapping[str, Any]
Do = Callable[[Collections, str, Any], Awaitable[Answer]]  # of the ID and the query


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    do: Do
    query: type[msgspec.Struct] = Nothing

    @property
    def segments(self) -> list[str]:
        return self.path.split("/")


async def ping(collections: Collections, _id: str, _query: Nothing) -> Reply:
    return Reply(200, (("Api-Version", "1.47"), ("Content-Type", "text/plain")), b"OK")


async def version(collections: Collections, _id: str, _query: Nothing) -> Reply:
    found = await collections["system"].version()
    return json_reply({"ApiVersion": "1.47", "Components": [{"Name": name} for name in found]})


async def ps(collections: Collections, _id: str, query: ListQuery) -> Reply:
    found = await collections["containers"].find(all=query.all, filters=query.filters)
    return json_reply([{"Id": each.id, "Names": [f"/{each.name}"], "State": each.state} for each in found])


async def start(collections: Collections, identifier: str, _query: Nothing) -> Reply:
    container = await collections["containers"].held(identifier)
    if (await container.inspect()).state == "running":
        return Reply(304)
    await container.start()
    return Reply(204)


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/containers/json", ps, ListQuery),
    Route("POST", "/containers/ID/start", start),
)


class DockerStub:
    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        self._router = Router(ROUTES)

    def accept(self, request: Request) -> Work:
        _, _, unversioned = request.target.rpartition("/v1.47")
        route, identifier, query_text = self._router.find(request.method, unversioned)
        query = read_query(query_text, route.query)

        async def do(_body: bytes) -> Answer:
            return await route.do(self._collections, identifier, query)

        return Work(do)

    def refuse(self, error: Exception) -> Reply:
        status = error.status if isinstance(error, HyperError) else 500
        return json_reply({"message": str(error)}, status)


# What it does


@contextlib.asynccontextmanager
async def served(engine: FakeEngine) -> AsyncIterator[Callable[[str, str], Awaitable[tuple[int, Any]]]]:
    server = Server(DockerStub(engine.collections()))
    # The protocol is named for asyncio, which lets small segments go at once only then.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{sock.getsockname()[1]}"

    def ask(method: str, path: str) -> tuple[int, Any]:
        request = urllib.request.Request(address + path, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = answer.read()
            return answer.status, json.loads(body) if body[:1] in (b"[", b"{") else body

    async def call(method: str, path: str) -> tuple[int, Any]:
        return await asyncio.to_thread(ask, method, path)

    await server.serve([sock])
    try:
        yield call
    finally:
        await server.close(deadline_s=0.05)


def test_a_stub_of_dockers_api() -> None:
    async def talk() -> None:
        engine = FakeEngine()
        engine.make_container(ContainerSpec(image="busybox", name="idle"))
        async with served(engine) as call:
            assert await call("GET", "/_ping") == (200, b"OK")
            assert (await call("GET", "/v1.47/version"))[1]["Components"] == [{"Name": "qemu"}]
            _, running = await call("GET", "/v1.47/containers/json")
            assert running == [{"Id": "c1", "Names": ["/web"], "State": "running"}]
            assert await call("POST", "/v1.47/containers/idle/start") == (204, b"")
            assert await call("POST", "/v1.47/containers/idle/start") == (304, b"")
            assert len((await call("GET", "/v1.47/containers/json?all=1"))[1]) == 2
            assert (await call("POST", "/v1.47/containers/none/start"))[0] == 404
            assert await call("GET", "/containers/json?al=1") == (
                400,
                {"message": "query: there is no field 'al'"},
            )
            assert (await call("DELETE", "/version"))[0] == 405

    asyncio.run(talk())
