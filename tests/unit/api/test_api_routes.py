"""Every call reaches the engine as docs/api.md says and answers what it says; the document and the table agree."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest

from hypercontainer.contract.spec import ContainerSpec, ExecSpec, PodSpec, PortMapping
from hypercontainer.contract.volumes import ContentFile, Contents, DiskImage, EmptyDir, HostPath, NamedVolume
from hypercontainer.surfaces.hyper.routes import ROUTES
from hypercontainer.surfaces.hyper.routing import BYTES, FRAMES, JSON, LINES, TAR, Nothing, Route

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serving

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"
FILTERS = quote(json.dumps({"name": ["web"], "label": ["a=b"]}))
WANTED = {"name": ("web",), "label": ("a=b",)}
CREDENTIALS = {"username": "u", "password": "p", "identity_token": "", "registry_token": ""}

PORTS = {"ports": [{"container_port": 80, "host_port": 8080}, {"container_port": 53, "protocol": "udp"}]}
MAPPINGS = (PortMapping(80, 8080), PortMapping(53, protocol="udp"))

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
    ("POST", "/v1/system/prune", {"volumes": True}, 200, "volumes.prune", (), {}),
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
    ("GET", f"/v1/pods?filters={FILTERS}", None, 200, "pods.find", (), {"filters": WANTED}),
    ("GET", "/v1/pods/shop", None, 200, "pods.inspect", ("shop",), {}),
    ("DELETE", "/v1/pods/shop?force=1", None, 204, "pods.remove", ("shop",), {"force": True}),
    ("POST", "/v1/pods/shop/start", None, 204, "pods.start", ("shop",), {}),
    ("POST", "/v1/pods/shop/stop", {"timeout_s": 3}, 204, "pods.stop", ("shop",), {"timeout_s": 3}),
    ("POST", "/v1/pods/shop/restart", None, 204, "pods.restart", ("shop",), {"timeout_s": None}),
    ("POST", "/v1/pods/shop/kill", {"signal": "HUP"}, 204, "pods.kill", ("shop", "HUP"), {}),
    ("POST", "/v1/pods/shop/pause", None, 204, "pods.pause", ("shop",), {}),
    ("POST", "/v1/pods/shop/unpause", None, 204, "pods.unpause", ("shop",), {}),
    ("GET", "/v1/pods/shop/wait", None, 200, "pods.wait", ("shop",), {}),
    ("GET", "/v1/pods/shop/top", None, 200, "pods.top", ("shop",), {}),
    ("GET", "/v1/pods/shop/stats", None, 200, "pods.stats", ("shop",), {}),
    ("GET", "/v1/pods/shop/ports", None, 200, "pods.ports", ("shop",), {}),
    ("POST", "/v1/pods/shop/ports", PORTS, 200, "pods.add_ports", ("shop", MAPPINGS), {}),
    ("DELETE", "/v1/pods/shop/ports", PORTS, 204, "pods.remove_ports", ("shop", MAPPINGS), {}),
    (
        "POST",
        "/v1/pods/shop/exec",
        {"command": ["ls"]},
        201,
        "pods.exec_create",
        ("shop", ExecSpec(command=("ls",))),
        {},
    ),
    (
        "POST",
        "/v1/volumes",
        {"name": "data", "labels": {"a": "b"}},
        201,
        "volumes.create",
        ("data",),
        {"size_bytes": None, "labels": {"a": "b"}},
    ),
    ("GET", f"/v1/volumes?filters={FILTERS}", None, 200, "volumes.find", (WANTED,), {}),
    ("GET", "/v1/volumes/data", None, 200, "volumes.inspect", ("data",), {}),
    ("DELETE", "/v1/volumes/data?force=true", None, 204, "volumes.remove", ("data",), {"force": True}),
    ("POST", "/v1/volumes/prune", None, 200, "volumes.prune", (), {}),
    ("POST", "/v1/manifests/generate", {"refs": ["a", "b"]}, 200, "manifests.generate", (("a", "b"),), {}),
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
        assert options["asked_by"] == os.getuid()  # as the kernel says, not the client


async def test_a_pod_is_created_and_started(serving: Serving) -> None:
    body = {"name": "shop", "containers": [{"image": "busybox"}], "share_pids": True}
    created = {"id": "p1", "name": "shop", "containers": [{"id": "c1", "name": "web", "warnings": []}]}
    async with serving() as harness:
        answer = await harness.call("POST", "/v1/pods", body)
        assert answer == (201, created | {"warnings": ["slow"]})
        spec = PodSpec(name="shop", containers=(ContainerSpec(image="busybox"),), share_pids=True)
        wanted: Any = ("pods.create", (spec,), {"credentials": None, "asked_by": os.getuid()})
        assert harness.engine.calls == [wanted]
        assert (await harness.call("POST", "/v1/pods?start=true", body))[0] == 201
        assert harness.engine.calls[1:] == [wanted, ("pods.start", ("p1",), {})]


async def test_all_kinds_of_source_are_read(serving: Serving) -> None:
    sources: list[Any] = [
        {"kind": "empty", "memory": True},
        {"kind": "named", "name": "data"},
        {"kind": "disk", "path": "/d.qcow2", "format": "qcow2"},
        {"kind": "host", "path": "/srv", "expect": "directory"},
        {"kind": "contents", "files": [{"path": "a", "content": "aGk="}]},
    ]
    volumes = [{"name": f"v{number}", "source": source} for number, source in enumerate(sources)]
    async with serving() as harness:
        assert (await harness.call("POST", "/v1/pods", {"volumes": volumes}))[0] == 201
        read = harness.engine.last()[1][0].volumes
        assert [volume.source for volume in read] == [
            EmptyDir(memory=True),
            NamedVolume("data"),
            DiskImage("/d.qcow2", "qcow2"),
            HostPath("/srv", "directory"),
            Contents((ContentFile("a", b"hi"),)),
        ]
        status, answer = await harness.call("POST", "/v1/pods", {"volumes": [{"name": "v", "source": {}}]})
        assert (status, answer["error"]["code"]) == (400, "invalid_argument")


async def test_pruning_says_what_went_with_the_volumes(serving: Serving) -> None:
    async with serving() as harness:
        _, answer = await harness.call("POST", "/v1/system/prune", {"volumes": True})
        assert answer == {
            "containers_deleted": ["c1"],
            "images_deleted": [],
            "volumes_deleted": ["data"],
            "space_reclaimed_bytes": 12,
        }


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
        ("GET", "/v1/containers/a/files", b"", "path"),
        ("GET", "/v1/containers/a/files?path=relative", b"", "path"),
        ("GET", "/v1/containers/a/files?path=/a%00b", b"", "path"),
        ("PUT", "/v1/containers/a/files?path=/directory/", b"", "path"),
        ("PUT", "/v1/containers/a/files?path=/a&mode=rw", b"", "mode"),
        ("PUT", "/v1/containers/a/files?path=/a&uid=-1", b"", "uid"),
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
        ("POST", "/v1/pods?strat=1", b"", "strat"),
        (
            "POST",
            "/v1/pods",
            b'{"containers": [{"image": "a", "liveness": {"check": {"kind": "dns"}}}]}',
            "kind",
        ),
        ("POST", "/v1/pods/a/ports", b'{"ports": []}', "ports"),
        ("POST", "/v1/volumes", b'{"name": "a", "size_bytes": 0}', "size_bytes"),
        ("POST", "/v1/manifests/play", b"{}", "text"),
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
    assert ("body: bytes" in text) == (route.takes == BYTES)
    if route.body in (ContainerSpec, ExecSpec, PodSpec):
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
        assert route.gives in (JSON, LINES, FRAMES, TAR, BYTES)
        if route.gives == JSON:
            assert (route.answer is None) == (route.status in (202, 204)), route.path
