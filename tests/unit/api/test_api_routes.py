"""Every call reaches the engine as docs/api.md says and answers what it says; the document and the table agree."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest

from hypercontainer.api.hyper.routes import ROUTES
from hypercontainer.api.hyper.routing import FRAMES, JSON, LINES, TAR, Nothing, Route
from hypercontainer.types.spec import ContainerSpec, ExecSpec, PortMapping

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serving

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"
FILTERS = quote(json.dumps({"name": ["web"], "label": ["a=b"]}))
WANTED = {"name": ("web",), "label": ("a=b",)}
CREDENTIALS = {"username": "u", "password": "p", "identity_token": "", "registry_token": ""}

# method, target, body, status, the engine's method, its arguments
CALLS: list[tuple[str, str, Any, int, str, tuple[Any, ...], dict[str, Any]]] = [
    ("GET", "/v1/version", None, 200, "system.version", (), {}),
    ("GET", "/v1/info", None, 200, "system.info", (), {}),
    ("GET", "/v1/doctor", None, 200, "system.doctor", (), {}),
    (
        "GET",
        f"/v1/events?since=10m&until=1700000000.5&filters={FILTERS}",
        None,
        200,
        "system.events",
        (),
        {"since": "10m", "until": "1700000000.5", "filters": WANTED},
    ),
    ("GET", "/v1/system/df", None, 200, "system.disk_usage", (), {}),
    (
        "POST",
        "/v1/system/prune",
        {"all": True, "images": False},
        200,
        "system.prune",
        (),
        {"containers": True, "images": False, "all_images": True},
    ),
    ("GET", "/v1/kernels", None, 200, "system.kernels", (), {}),
    ("GET", f"/v1/images?filters={FILTERS}", None, 200, "images.find", (WANTED,), {}),
    ("GET", "/v1/images/inspect?ref=a%2Fb%3Ac", None, 200, "images.inspect", ("a/b:c",), {}),
    ("GET", "/v1/images/history?ref=a", None, 200, "images.history", ("a",), {}),
    ("POST", "/v1/images/tag", {"source": "a", "target": "b"}, 204, "images.tag", ("a", "b"), {}),
    ("DELETE", "/v1/images?ref=a&force=true", None, 200, "images.remove", ("a",), {"force": True}),
    (
        "GET",
        f"/v1/containers?all=1&filters={FILTERS}&size=",
        None,
        200,
        "containers.find",
        (),
        {"include_stopped": True, "filters": WANTED, "size": False},
    ),
    ("GET", "/v1/containers/web", None, 200, "containers.inspect", ("web",), {}),
    ("POST", "/v1/containers/web/start", None, 204, "containers.start", ("web",), {}),
    (
        "POST",
        "/v1/containers/web/stop",
        {"timeout_s": 3, "signal": "INT"},
        204,
        "containers.stop",
        ("web",),
        {"timeout_s": 3, "signal": "INT"},
    ),
    (
        "POST",
        "/v1/containers/web/stop",
        None,
        204,
        "containers.stop",
        ("web",),
        {"timeout_s": None, "signal": None},
    ),
    ("POST", "/v1/containers/web/restart", {}, 204, "containers.restart", ("web",), {"timeout_s": None}),
    ("POST", "/v1/containers/web/kill", None, 204, "containers.kill", ("web", "KILL"), {}),
    ("POST", "/v1/containers/web/pause", None, 204, "containers.pause", ("web",), {}),
    ("POST", "/v1/containers/web/unpause", None, 204, "containers.unpause", ("web",), {}),
    ("POST", "/v1/containers/web/rename", {"name": "b"}, 204, "containers.rename", ("web", "b"), {}),
    (
        "POST",
        "/v1/containers/web/resize",
        {"rows": 24, "columns": 80},
        204,
        "containers.resize",
        ("web", 24, 80),
        {},
    ),
    (
        "GET",
        "/v1/containers/web/wait?condition=removed",
        None,
        200,
        "containers.wait",
        ("web", "removed"),
        {},
    ),
    ("DELETE", "/v1/containers/web?force=true", None, 204, "containers.remove", ("web",), {"force": True}),
    ("GET", "/v1/containers/web/top", None, 200, "containers.top", ("web",), {}),
    ("GET", "/v1/containers/web/stats", None, 200, "containers.stats", ("web",), {}),
    ("POST", "/v1/execs/e1/start", None, 204, "containers.exec_start", ("e1",), {}),
    (
        "POST",
        "/v1/execs/e1/resize",
        {"rows": 1, "columns": 2},
        204,
        "containers.exec_resize",
        ("e1", 1, 2),
        {},
    ),
    ("GET", "/v1/execs/e1", None, 200, "containers.exec_inspect", ("e1",), {}),
    (
        "POST",
        "/v1/containers/web/exec",
        {"command": ["ls"], "tty": True},
        201,
        "containers.exec_create",
        ("web", ExecSpec(command=("ls",), tty=True)),
        {},
    ),
]


def route_of(method: str, target: str) -> Route:
    path = target.partition("?")[0]
    for route in ROUTES:
        pattern = re.escape(route.path).replace("ID", "[^/]+")
        if route.method == method and re.fullmatch(pattern, path):
            return route
    raise AssertionError(f"no route for {method} {target}")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]} {call[1].partition('?')[0]}")
async def test_call(call: Any, serving: Serving) -> None:
    method, target, body, status, name, args, options = call
    async with serving() as harness:
        answer = await harness.call(method, target, b"" if body is None else body)
        assert answer[0] == status, answer
        assert harness.engine.last() == (name, args, options)
    route = route_of(method, target)
    assert route.status == status
    if isinstance(answer[1], dict):
        msgspec.convert(answer[1], route.answer)  # what came is of the type that the table promises
    elif status == 204:
        assert answer[1] == b""


async def test_ping_and_version(serving: Serving) -> None:
    async with serving() as harness:
        status, pong = await harness.call("GET", "/v1/ping")
        assert (status, set(pong)) == (200, {"version", "api_version"})
        _, version = await harness.call("GET", "/v1/version")
        assert version == pong | {"qemu": "7.2"}


async def test_create_takes_the_whole_specification_and_credentials(serving: Serving) -> None:
    header = base64.urlsafe_b64encode(json.dumps(CREDENTIALS).encode()).decode().rstrip("=")
    body = {"image": "busybox", "ports": [{"container_port": 80, "host_port": 8080}], "cpus": 1.5}
    async with serving() as harness:
        answer = await harness.call("POST", "/v1/containers", body, {"X-Hyper-Credentials": header})
        assert answer == (201, {"id": "c1", "name": "web", "warnings": ["slow"]})
        name, args, options = harness.engine.last()
        assert name == "containers.create"
        assert args == (ContainerSpec(image="busybox", ports=(PortMapping(80, 8080),), cpus=1.5),)
        assert msgspec.to_builtins(options["credentials"]) == CREDENTIALS


async def test_credentials_that_cannot_be_read_are_not_quoted(serving: Serving) -> None:
    header = base64.urlsafe_b64encode(b'{"password": 1, "secret": "hunter2"}').decode()
    async with serving() as harness:
        status, body = await harness.call(
            "POST", "/v1/containers", {"image": "a"}, {"X-Hyper-Credentials": header}
        )
        assert status == 400
        assert "hunter2" not in json.dumps(body)
        assert not harness.engine.calls


async def test_auth(serving: Serving) -> None:
    async with serving() as harness:
        answer = await harness.call("POST", "/v1/auth", {"registry": "r:5000", "credentials": CREDENTIALS})
        assert answer == (200, {"status": "Login Succeeded", "identity_token": "token"})
        _, (registry, credentials), _ = harness.engine.last()
        assert (registry, credentials.username, credentials.password) == ("r:5000", "u", "p")


async def test_removed_lines_say_only_what_was_done(serving: Serving) -> None:
    async with serving() as harness:
        _, body = await harness.call("DELETE", "/v1/images?ref=a")
        assert body == {"removed": [{"untagged": "busybox:latest"}, {"deleted": "sha256:1"}]}


async def test_shutdown(serving: Serving) -> None:
    async with serving() as harness:
        assert (await harness.call("POST", "/v1/system/shutdown"))[0] == 202
        assert (await harness.call("POST", "/v1/system/shutdown", {"stop_containers": True}))[0] == 202
        assert harness.asked_to_end == [False, True]


@pytest.mark.parametrize(
    ("method", "target", "body", "says"),
    [
        ("GET", "/v1/containers?al=1", b"", "al"),
        ("GET", "/v1/containers?all=yes", b"", "all"),
        ("GET", "/v1/containers?all=1&all=0", b"", "all is given twice"),
        ("GET", "/v1/containers?filters=[1", b"", "filters is not JSON"),
        ("GET", "/v1/containers?filters=%7B%22name%22:%22web%22%7D", b"", "filters"),
        ("GET", "/v1/containers?" + "&".join(f"a{i}=1" for i in range(300)), b"", "query"),
        ("GET", "/v1/containers?filters=%ff", b"", "query"),
        ("GET", "/v1/containers/a/wait?condition=never", b"", "condition"),
        ("GET", "/v1/containers/a/logs?tail=-1", b"", "tail"),
        ("GET", "/v1/containers/a/logs?since=yesterday", b"", "since"),
        ("GET", "/v1/images/inspect", b"", "ref"),
        ("GET", "/v1/images/save", b"", "ref"),
        ("POST", "/v1/containers", b"", "image"),
        ("POST", "/v1/containers", b"{", "body"),
        ("POST", "/v1/containers", b"[" * 100_000, "body"),
        ("POST", "/v1/containers", b'{"image": "\xff"}', "body"),
        ("POST", "/v1/containers", b'{"image": "a", "imgae": 1}', "imgae"),
        ("POST", "/v1/containers", b'{"image": "a", "ports": [{"container_port": "80"}]}', "ports[0]"),
        ("POST", "/v1/containers/a/start", b'{"now": true}', "now"),
        ("POST", "/v1/containers/a/resize", b'{"rows": 1, "columns": 65536}', "columns"),
        ("POST", "/v1/containers/a/attach", b"", "frames"),
        ("POST", "/v1/run", b'{"image": "a"}', "frames"),
    ],
    ids=lambda value: None,
)
async def test_wrong_input_names_what_is_wrong(
    method: str, target: str, body: bytes, says: str, serving: Serving
) -> None:
    async with serving() as harness:
        status, answer = await harness.call(method, target, body)
        assert (status, answer["error"]["code"]) == (400, "invalid_argument")
        assert says in answer["error"]["message"]
        assert not harness.engine.calls


async def test_unknown_paths_and_methods(serving: Serving) -> None:
    async with serving() as harness:
        for target in ("/", "/v1", "/v2/ping", "/v1/ping/", "/v1/containers//start", "/v1/containers/a/b/c"):
            status, answer = await harness.call("GET", target)
            assert (status, answer["error"]["code"]) == (404, "not_found"), target
        reply = await harness.raw(b"PUT /v1/containers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 405 ")
        assert b"Allow: GET, POST\r\n" in reply


async def test_an_id_may_be_escaped_but_never_split(serving: Serving) -> None:
    async with serving() as harness:
        await harness.call("GET", "/v1/containers/a%2Fstart")
        assert harness.engine.last()[:2] == ("containers.inspect", ("a/start",))


# The document


def documented() -> dict[tuple[str, str], str]:
    """(method, path) -> the call as docs/api.md has it, from the tables' first column."""
    found = {}
    for line in DOCUMENT.read_text().splitlines():
        match = re.match(r"\| (`(GET|POST|DELETE|PUT) (/v1[^ `?]*).*?) \| ", line)
        if match is None:
            continue
        text, method, path = match.groups()
        found[method, path] = text
        for more in re.findall(r"`, `(/[a-z]+)`", text):  # `/v1/a/pause`, `/unpause`
            found[method, path.rpartition("/")[0] + more] = text
    return found


def test_the_document_has_every_route_and_no_other() -> None:
    assert set(documented()) == {(route.method, route.path) for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_document_says_what_a_route_takes(route: Route) -> None:
    text = documented()[route.method, route.path]
    names = {item.name for item in msgspec.structs.fields(route.query)}
    assert set(re.findall(r"[?&]([a-z_]+)=", text)) == names
    assert ("upgrade" in text) == route.upgrade
    assert ("body: a tar" in text) == (route.takes == TAR)
    if route.body in (ContainerSpec, ExecSpec):
        assert f"body: {route.body.__name__}" in text
    elif route.body is not Nothing:
        body = text[text.index("{") :]
        assert set(re.findall(r'"([a-z_]+)"\??(?=[:,}?])', body)) == {
            item.name for item in msgspec.structs.fields(route.body)
        }
    else:
        assert "{" not in text


def test_what_a_route_gives_is_consistent() -> None:
    for route in ROUTES:
        assert route.gives in (JSON, LINES, FRAMES, TAR)
        if route.gives == JSON:
            assert (route.answer is None) == (route.status in (202, 204)), route.path
