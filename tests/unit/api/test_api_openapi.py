"""The OpenAPI document: it is one, says everything about every route, and a server keeps to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import requests

import api_schema
from fake_engine import FakeEngine
from hypercontainer.contract.calls import Nothing
from hypercontainer.contract.routes import FRAMES, JSON, LINES, NAMES, TAR
from hypercontainer.surfaces.http.server import Server
from hypercontainer.surfaces.hyper.native import NativeApi
from hypercontainer.surfaces.hyper.openapi import document
from hypercontainer.surfaces.hyper.typed import OPERATIONS as TYPED
from hypercontainer.surfaces.hyper.typed import Operation
from soak import rounds

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serving

DOCUMENT = json.loads(msgspec.json.encode(document()))
OPERATIONS = api_schema.operations(DOCUMENT)  # raises where the document is no OpenAPI 3.1
SEED = 20260101
EXAMPLES = rounds(short=5, soak=100)


def described(each: Operation) -> Any:
    return DOCUMENT["paths"][each.route.path.replace("ID", "{id}")][each.method.lower()]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            elif key == "mapping":
                yield from inner.values()
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_is_there_once() -> None:
    found = [(m, path) for path, methods in DOCUMENT["paths"].items() for m in methods]
    assert len(found) == len(NAMES) == len(OPERATIONS)  # which are by name: no name stands for two


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        place: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


@pytest.mark.parametrize("each", TYPED, ids=lambda each: each.route.name)
def test_what_is_said_of_a_route(each: Operation) -> None:
    operation, route = described(each), each.route
    assert operation["summary"] == route.summary
    assert route.summary.endswith(".")
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    named = {(item["in"], item["name"]) for item in operation.get("parameters", ())}
    wanted = {("query", item.name) for item in msgspec.structs.fields(each.query)}
    wanted |= {("path", "id")} if "ID" in route.path else set()
    wanted |= {("header", "X-Hyper-Credentials")} if route.credentials else set()
    assert named == wanted
    takes = set(operation.get("requestBody", {"content": ()})["content"])
    assert takes == ({route.takes} if route.takes != JSON else set() if each.body is Nothing else {JSON})
    responses = operation["responses"]
    told = responses[str(route.status)].get("headers", {}) if not route.upgrade else {}
    assert set(told) == set(route.tells)
    assert ("101" in responses) == route.upgrade
    assert {"4XX", "5XX"} < set(responses)
    if not route.upgrade and route.status != 204:
        assert str(route.status) in responses
        gives = set(responses[str(route.status)].get("content", {}))
        assert gives - {JSON} <= {route.gives}
        assert gives or route.status == 202


def test_unions_say_how_they_are_told_apart() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    source = schemas["Volume"]["properties"]["source"]
    assert set(source["discriminator"]["mapping"]) == {
        "empty",
        "named",
        "disk",
        "network",
        "host",
        "contents",
        "image",
        "nfs",
    }
    assert source["discriminator"]["propertyName"] == "kind"
    check = schemas["Probe"]["properties"]["check"]
    assert check["discriminator"]["mapping"]["http"] == "#/components/schemas/HttpGet"


def test_filters_are_json_in_the_query() -> None:
    (parameter,) = DOCUMENT["paths"]["/v1/pods"]["get"]["parameters"]
    assert parameter["content"][JSON]["schema"]["additionalProperties"]["type"] == "array"


def test_streams_have_their_media_types() -> None:
    paths = DOCUMENT["paths"]
    assert set(paths["/v1/containers/{id}/logs"]["get"]["responses"]["200"]["content"]) == {FRAMES}
    assert set(paths["/v1/pods/{id}/stats"]["get"]["responses"]["200"]["content"]) == {LINES, JSON}
    assert set(paths["/v1/images/save"]["get"]["responses"]["200"]["content"]) == {TAR}
    line = paths["/v1/manifests/play"]["post"]["responses"]["200"]["content"][LINES]["schema"]
    assert [[*item.get("properties", ())] for item in line["anyOf"]] == [[], ["result"], ["progress"]]


async def test_it_is_served(serving: Serving) -> None:
    async with serving() as harness:
        assert await harness.call("GET", "/v1/openapi.json") == (200, DOCUMENT)


def test_it_is_printed() -> None:
    command = [sys.executable, "-m", "hypercontainer.surfaces.hyper.openapi"]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout) == DOCUMENT


# A live server


@contextlib.contextmanager
def served(engine: FakeEngine) -> Iterator[str]:
    """The server on a loop of its own thread's, on a port of this host."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)  # server and client take turns
    loop = asyncio.new_event_loop()
    server = Server(NativeApi(engine.collections(), lambda stop: None))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    # The protocol is named for asyncio, which lets small segments go at once only then.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{sock.getsockname()[1]}"
        asyncio.run_coroutine_threadsafe(server.serve([sock]), loop).result()
        try:
            yield address
        finally:
            asyncio.run_coroutine_threadsafe(server.close(deadline_s=0.05), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            sys.setswitchinterval(interval)


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    """One that a module's tests share."""
    return FakeEngine(makes_all=True)


@pytest.fixture(scope="module")
def address(engine: FakeEngine) -> Iterator[str]:
    with served(engine) as where:
        yield where


def test_nobody_is_known_behind_a_port(address: str, engine: FakeEngine) -> None:
    assert requests.post(f"{address}/v1/pods", json={}, timeout=20).status_code == 201
    assert engine.notes.calls[-1][2]["asked_by"] is None


SILENT = ("containers_attach", "containers_run", "images_build", "images_lend_agent")


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_server_keeps_to_it(name: str, address: str) -> None:
    statuses = api_schema.examine(OPERATIONS[name], address, right=EXAMPLES, wrong=EXAMPLES, seed=SEED)
    # Of calls that may be silent some are left without an answer; what was asked rightly is done.
    assert min(statuses) < 400 or name in SILENT, statuses
