"""Calls and what comes of them, as docs/api.md says it; the document and the routes agree."""

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

from hypercontainer.contract.builds import BuildSpec
from hypercontainer.contract.calls import Nothing
from hypercontainer.contract.networks import NetworkSpec
from hypercontainer.contract.policies import PolicySpec
from hypercontainer.contract.routes import BYTES, TAR
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, PodSpec, PortMapping
from hypercontainer.contract.volumes import ContentFile, Contents, DiskImage, EmptyDir, HostPath, NamedVolume
from hypercontainer.surfaces.hyper.typed import OPERATIONS, Operation

if TYPE_CHECKING:
    from tests.unit.api.conftest import Harness, Serving

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"
FILTERS = quote(json.dumps({"name": ["web"]}))
CREDENTIALS = {"username": "u", "password": "p", "identity_token": "", "registry_token": ""}
HEADER = base64.urlsafe_b64encode(json.dumps(CREDENTIALS).encode()).decode().rstrip("=")


async def state(harness: Harness, path: str) -> str:
    status, found = await harness.call("GET", path)
    assert status == 200
    return str(found["state"])


# What containers and pods go through

LIVES = [("/v1/containers/web", "exited"), ("/v1/pods/shop", "failed")]
lives = pytest.mark.parametrize(("path", "ended"), LIVES, ids=["container", "pod"])


@lives
async def test_pause_holds_until_unpause_and_neither_is_done_twice(
    path: str, ended: str, serving: Serving
) -> None:
    async with serving() as harness:
        for verb, after in (("pause", "paused"), ("unpause", "running")):
            assert await harness.call("POST", f"{path}/{verb}") == (204, b"")
            assert await state(harness, path) == after
            status, answer = await harness.call("POST", f"{path}/{verb}")
            assert (status, answer["error"]["code"]) == (409, "conflict")


@lives
async def test_what_is_stopped_can_be_started_and_started_again_is_no_matter(
    path: str, ended: str, serving: Serving
) -> None:
    async with serving() as harness:
        assert await harness.call("POST", f"{path}/stop") == (204, b"")
        assert await state(harness, path) == ended
        for _ in range(2):
            assert await harness.call("POST", f"{path}/start") == (204, b"")
            assert await state(harness, path) == "running"
        await harness.call("POST", f"{path}/stop", {"timeout_s": 3})
        assert await harness.call("POST", f"{path}/restart", {"timeout_s": 0}) == (204, b"")
        assert await state(harness, path) == "running"


@lives
async def test_a_kill_ends_it_and_whoever_waits_hears_of_it(path: str, ended: str, serving: Serving) -> None:
    async with serving() as harness:
        assert await harness.call("POST", f"{path}/kill") == (204, b"")
        assert await state(harness, path) == ended
        wanted = {"exit_status": 137, "error": "", "timings": None}
        assert await harness.call("GET", f"{path}/wait") == (200, wanted)
        assert (await harness.call("POST", f"{path}/kill", {"signal": "TERM"}))[0] == 409


@lives
async def test_what_runs_is_removed_by_force_only(path: str, ended: str, serving: Serving) -> None:
    async with serving() as harness:
        assert (await harness.call("DELETE", path))[0] == 409
        assert await harness.call("DELETE", f"{path}?force=true") == (204, b"")
        assert (await harness.call("GET", path))[0] == 404
        assert (await harness.call("POST", f"{path}/start"))[0] == 404


async def test_a_stop_says_how_long_and_with_what(serving: Serving) -> None:
    async with serving() as harness:
        await harness.call("POST", "/v1/containers/web/stop", {"timeout_s": 3, "signal": "INT"})
        await harness.call("POST", "/v1/containers/c1/stop")
        assert harness.notes.calls == [
            ("containers.stop", "c1", {"timeout_s": 3, "signal": "INT"}),
            ("containers.stop", "c1", {"timeout_s": None, "signal": None}),
        ]


async def test_another_signal_ends_nothing_by_itself(serving: Serving) -> None:
    async with serving() as harness:
        assert await harness.call("POST", "/v1/containers/web/kill", {"signal": "HUP"}) == (204, b"")
        assert await state(harness, "/v1/containers/web") == "running"
        assert harness.notes.calls[0] == ("containers.kill", "c1", {"signal": "HUP"})


async def test_a_container_has_the_name_that_it_is_given_and_no_other_has_it(serving: Serving) -> None:
    async with serving() as harness:
        assert await harness.call("POST", "/v1/containers/web/rename", {"name": "b"}) == (204, b"")
        assert (await harness.call("GET", "/v1/containers/b"))[1]["id"] == "c1"
        assert (await harness.call("GET", "/v1/containers/web"))[0] == 404
        assert (await harness.call("POST", "/v1/containers", {"image": "a", "name": "b"}))[0] == 409


async def test_a_terminal_has_the_size_that_it_is_told(serving: Serving) -> None:
    async with serving() as harness:
        size = {"rows": 24, "columns": 80}
        assert await harness.call("POST", "/v1/containers/web/resize", size) == (204, b"")
        assert harness.web.size == (24, 80)
        _, made = await harness.call("POST", "/v1/containers/web/exec", {"command": ["sh"], "tty": True})
        assert await harness.call("POST", f"/v1/execs/{made['id']}/resize", size) == (204, b"")
        assert (await harness.engine.execs.held(made["id"])).size == (24, 80)


# What there is


async def test_containers_are_listed_as_asked(serving: Serving) -> None:
    async with serving() as harness:
        await harness.call("POST", "/v1/containers", {"image": "busybox", "name": "idle"})

        async def names(query: str) -> list[str]:
            status, found = await harness.call("GET", f"/v1/containers{query}")
            assert status == 200
            return [each["name"] for each in found["containers"]]

        assert await names("") == ["web"]
        assert await names("?all=1&size=") == ["web", "idle"]
        assert await names(f"?all=1&filters={FILTERS}") == ["web"]
        _, found = await harness.call("GET", "/v1/containers?size=true")
        assert found["containers"][0]["size_bytes"] == 7


async def test_pods_and_volumes_are_listed_as_asked(serving: Serving) -> None:
    async with serving() as harness:
        for kind, there in (("pods", "shop"), ("volumes", "data")):
            filters = quote(json.dumps({"name": [there]}))
            for query in ("", f"?filters={filters}"):
                _, found = await harness.call("GET", f"/v1/{kind}{query}")
                assert [each["name"] for each in found[kind]] == [there]
            assert (await harness.call("GET", f"/v1/{kind}?filters={FILTERS}"))[1] == {kind: []}


async def test_what_runs_is_looked_at(serving: Serving) -> None:
    async with serving() as harness:
        assert [
            one["pid"] for one in (await harness.call("GET", "/v1/containers/web/top"))[1]["processes"]
        ] == [1]
        assert (await harness.call("GET", "/v1/containers/web/stats"))[1]["id"] == "c1"
        (line,) = (await harness.call("GET", "/v1/pods/shop/top"))[1]["processes"]
        assert (line["container"], line["process"]["command"]) == ("web", "sh")
        for path in ("/v1/containers/web", "/v1/pods/shop"):
            await harness.call("POST", f"{path}/kill")
            assert (await harness.call("GET", f"{path}/top"))[0] == 409
            assert (await harness.call("GET", f"{path}/stats"))[0] == 409


async def test_hyperd_says_what_it_is(serving: Serving) -> None:
    async with serving() as harness:
        status, pong = await harness.call("GET", "/v1/ping")
        assert (status, set(pong)) == (200, {"version", "api_version"})
        assert (await harness.call("GET", "/v1/version"))[1] == pong | {"qemu": "7.2"}
        _, info = await harness.call("GET", "/v1/info")
        assert (info["DaemonPid"], info["ContainersRunning"]) == (1, 1)
        assert (await harness.call("GET", "/v1/doctor"))[1]["checks"][0]["ok"] is None
        assert await harness.call("GET", "/v1/system/df") == (200, {"images": []})
        assert (await harness.call("GET", "/v1/kernels"))[1]["kernels"][0]["name"] == "own"


async def test_events_are_asked_for_by_time_and_kind(serving: Serving) -> None:
    async with serving() as harness:
        await harness.call("GET", f"/v1/events?since=10m&until=1700000000.5&filters={FILTERS}")
        asked = {"since": "10m", "until": "1700000000.5", "filters": {"name": ("web",)}}
        assert harness.notes.calls == [("system.events", "", asked)]


async def test_pruning_says_what_went(serving: Serving) -> None:
    async with serving() as harness:
        _, answer = await harness.call("POST", "/v1/system/prune", {"volumes": True})
        assert answer == {
            "containers_deleted": ["c1"],
            "images_deleted": [],
            "volumes_deleted": ["data"],
            "space_reclaimed_bytes": 7,
        }
        _, answer = await harness.call("POST", "/v1/system/prune", {"all": True, "containers": False})
        assert (answer["containers_deleted"], answer["images_deleted"]) == ([], ["sha256:1"])


# What is made


async def test_create_takes_the_whole_specification_and_credentials(serving: Serving) -> None:
    body = {"image": "busybox", "ports": [{"container_port": 80, "host_port": 8080}], "cpus": 1.5}
    async with serving() as harness:
        answer = await harness.call("POST", "/v1/containers", body, {"X-Hyper-Credentials": HEADER})
        assert answer == (201, {"id": "c2", "name": "c2", "warnings": ["slow"]})
        assert await state(harness, "/v1/containers/c2") == "created"
        ((_, _, asked), _) = harness.notes.calls
        assert asked["spec"] == ContainerSpec(image="busybox", ports=(PortMapping(80, 8080),), cpus=1.5)
        assert msgspec.to_builtins(asked["credentials"]) == CREDENTIALS
        assert asked["asked_by"] == os.getuid()  # as the kernel says, not the client


async def test_a_pod_is_created_and_started(serving: Serving) -> None:
    body = {"name": "duo", "containers": [{"image": "busybox", "name": "one"}], "share_pids": True}
    created = {"id": "p2", "name": "duo", "containers": [{"id": "c2", "name": "one", "warnings": []}]}
    async with serving() as harness:
        assert await harness.call("POST", "/v1/pods", body) == (201, created | {"warnings": ["slow"]})
        assert await state(harness, "/v1/pods/duo") == "created"
        asked = harness.notes.calls[0][2]
        containers = (ContainerSpec(image="busybox", name="one"),)
        assert asked["spec"] == PodSpec(name="duo", containers=containers, share_pids=True)
        assert (asked["credentials"], asked["asked_by"]) == (None, os.getuid())
        assert (await harness.call("POST", "/v1/pods?start=true", {"name": "solo"}))[0] == 201
        assert await state(harness, "/v1/pods/solo") == "running"


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
        read = harness.engine.pods.known[-1].spec.volumes
        assert [volume.source for volume in read] == [
            EmptyDir(memory=True),
            NamedVolume("data"),
            DiskImage("/d.qcow2", "qcow2"),
            HostPath("/srv", "directory"),
            Contents((ContentFile("a", b"hi"),)),
        ]
        status, answer = await harness.call("POST", "/v1/pods", {"volumes": [{"name": "v", "source": {}}]})
        assert (status, answer["error"]["code"]) == (400, "invalid_argument")


async def test_ports_come_and_go(serving: Serving) -> None:
    ports = {"ports": [{"container_port": 80, "host_port": 8080}, {"container_port": 53, "protocol": "udp"}]}
    path = "/v1/pods/shop/ports"
    async with serving() as harness:
        status, added = await harness.call("POST", path, ports)
        assert (status, [each["host_port"] for each in added["ports"]]) == (200, [8080, 49152])
        assert await harness.call("GET", path) == (200, added)
        assert (await harness.call("POST", path, ports))[0] == 409
        assert await harness.call("DELETE", path, ports) == (204, b"")
        assert await harness.call("GET", path) == (200, {"ports": []})
        assert (await harness.call("DELETE", path, ports))[0] == 404


async def test_the_pod_of_a_container_alone_has_ports_and_processes_and_nothing_else(
    serving: Serving,
) -> None:
    async with serving() as harness:
        assert (await harness.call("GET", "/v1/pods/c1/ports"))[0] == 200
        assert (await harness.call("POST", "/v1/pods/c1/exec", {"command": ["ls"]}))[0] == 201
        assert (await harness.call("GET", "/v1/pods/c1"))[0] == 404
        assert (await harness.call("POST", "/v1/pods/c1/stop"))[0] == 404


@pytest.mark.parametrize(("path", "owner"), [("/v1/containers/web", "c1"), ("/v1/pods/shop", "p1")])
async def test_a_process_is_prepared_and_then_started_once(path: str, owner: str, serving: Serving) -> None:
    async with serving() as harness:
        body = {"command": ["ls"], "tty": True, "detach": True}
        status, made = await harness.call("POST", f"{path}/exec", body)
        assert status == 201
        started = f"/v1/execs/{made['id']}"
        assert (await harness.call("GET", started))[1] == {
            "id": made["id"],
            "container": owner,
            "running": False,
            "exit_status": None,
            "pid": 2,
            "command": ["ls"],
        }
        assert await harness.call("POST", f"{started}/start") == (204, b"")
        assert (await harness.call("GET", started))[1]["running"] is True
        assert (await harness.call("POST", f"{started}/start"))[0] == 409
        assert (await harness.call("POST", "/v1/execs/other/start"))[0] == 404
        assert (await harness.engine.execs.held(made["id"])).spec == ExecSpec(
            command=("ls",), tty=True, detach=True
        )


async def test_a_volume_from_its_making_to_its_end(serving: Serving) -> None:
    async with serving() as harness:
        body = {"name": "logs", "size_bytes": 7, "labels": {"a": "b"}}
        status, made = await harness.call("POST", "/v1/volumes", body)
        assert (status, made["size_bytes"], made["labels"]) == (201, 7, {"a": "b"})
        assert (await harness.call("POST", "/v1/volumes", body))[0] == 409
        assert await harness.call("GET", "/v1/volumes/logs") == (200, made)
        harness.engine.volumes.used.add("logs")
        assert (await harness.call("DELETE", "/v1/volumes/logs?force=true"))[0] == 409
        pruned = {"removed": ["data"], "space_reclaimed_bytes": 7}
        assert (await harness.call("POST", "/v1/volumes/prune"))[1]["removed"] == []
        assert await harness.call("POST", "/v1/volumes/prune", {"all": True}) == (200, pruned)
        harness.engine.volumes.used.clear()
        assert await harness.call("DELETE", "/v1/volumes/logs") == (204, b"")
        assert (await harness.call("DELETE", "/v1/volumes/logs"))[0] == 404
        assert await harness.call("DELETE", "/v1/volumes/logs?force=true") == (204, b"")


async def test_an_image_has_names_and_goes_with_the_last(serving: Serving) -> None:
    async with serving() as harness:
        tag = {"source": "busybox", "target": "mine:1"}
        assert await harness.call("POST", "/v1/images/tag", tag) == (204, b"")
        assert (await harness.call("GET", "/v1/images/inspect?ref=mine%3A1"))[1]["id"] == "sha256:1"
        filters = quote(json.dumps({"reference": ["mine:1"]}))
        assert len((await harness.call("GET", "/v1/images"))[1]["images"]) == 2
        assert len((await harness.call("GET", f"/v1/images?filters={filters}"))[1]["images"]) == 1
        assert (await harness.call("GET", "/v1/images/history?ref=mine:1"))[1]["history"][0][
            "created_by"
        ] == "sh"
        _, gone = await harness.call("DELETE", "/v1/images?ref=busybox&force=true")
        assert gone == {"removed": [{"untagged": "busybox:latest"}]}  # only what was done is said
        _, gone = await harness.call("DELETE", "/v1/images?ref=mine:1")
        assert gone == {"removed": [{"untagged": "mine:1"}, {"deleted": "sha256:1"}]}
        assert (await harness.call("DELETE", "/v1/images?ref=mine:1"))[0] == 404


async def test_a_manifest_is_written_of_what_is_named(serving: Serving) -> None:
    async with serving() as harness:
        body = {"refs": ["a", "b"]}
        text = "kind: Pod # a\n---\nkind: Pod # b\n"
        assert await harness.call("POST", "/v1/manifests/generate", body) == (200, {"text": text})


async def test_auth(serving: Serving) -> None:
    async with serving() as harness:
        answer = await harness.call("POST", "/v1/auth", {"registry": "r:5000", "credentials": CREDENTIALS})
        assert answer == (200, {"status": "u is known at r:5000", "identity_token": "token"})


async def test_credentials_that_cannot_be_read_are_not_quoted(serving: Serving) -> None:
    header = base64.urlsafe_b64encode(b'{"password": 1, "secret": "hunter2"}').decode()
    async with serving() as harness:
        status, body = await harness.call(
            "POST", "/v1/containers", {"image": "a"}, {"X-Hyper-Credentials": header}
        )
        assert status == 400
        assert "hunter2" not in json.dumps(body)
        assert not harness.notes.calls


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
        ("GET", "/v1/containers?filters=[1", b"", "filters: is no JSON"),
        ("GET", "/v1/containers?filters=%7B%22name%22:%22web%22%7D", b"", "filters"),
        ("GET", "/v1/containers?" + "&".join(f"a{i}=1" for i in range(300)), b"", "query"),
        ("GET", "/v1/containers?filters=%ff", b"", "query"),
        ("GET", "/v1/containers/web/wait?condition=never", b"", "condition"),
        ("GET", "/v1/containers/web/logs?tail=-1", b"", "tail"),
        ("GET", "/v1/containers/web/logs?since=yesterday", b"", "since"),
        ("GET", "/v1/containers/web/files", b"", "path"),
        ("GET", "/v1/containers/web/files?path=relative", b"", "path"),
        ("GET", "/v1/containers/web/files?path=/a%00b", b"", "path"),
        ("PUT", "/v1/containers/web/files?path=/directory/", b"", "path"),
        ("PUT", "/v1/containers/web/files?path=/a&mode=rw", b"", "mode"),
        ("PUT", "/v1/containers/web/files?path=/a&uid=-1", b"", "uid"),
        ("GET", "/v1/images/inspect", b"", "ref"),
        ("GET", "/v1/images/save", b"", "ref"),
        ("POST", "/v1/containers", b"", "image"),
        ("POST", "/v1/containers", b"{", "body"),
        ("POST", "/v1/containers", b"[" * 100_000, "body"),
        ("POST", "/v1/containers", b'{"image": "\xff"}', "body"),
        ("POST", "/v1/containers", b'{"image": "a", "imgae": 1}', "imgae"),
        ("POST", "/v1/containers", b'{"image": "a", "ports": [{"container_port": "80"}]}', "ports[0]"),
        ("POST", "/v1/containers/web/start", b'{"now": true}', "now"),
        ("POST", "/v1/containers/web/resize", b'{"rows": 1, "columns": 65536}', "columns"),
        ("POST", "/v1/containers/web/attach", b"", "frames"),
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
        assert not harness.notes.calls


async def test_unknown_paths_and_methods(serving: Serving) -> None:
    async with serving() as harness:
        for target in (
            "/",
            "/v1",
            "/v2/ping",
            "/v1/ping/",
            "/v1/containers//start",
            "/v1/containers/web/b/c",
        ):
            status, answer = await harness.call("GET", target)
            assert (status, answer["error"]["code"]) == (404, "not_found"), target
        reply = await harness.raw(b"PUT /v1/containers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 405 ")
        assert b"Allow: GET, POST\r\n" in reply


async def test_an_id_may_be_escaped_but_never_split(serving: Serving) -> None:
    async with serving() as harness:
        harness.engine.make_container(ContainerSpec(image="busybox", name="a/start"))
        status, found = await harness.call("GET", "/v1/containers/a%2Fstart")
        assert (status, found["name"]) == (200, "a/start")


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
    assert set(documented()) == {(each.method, each.route.path) for each in OPERATIONS}


@pytest.mark.parametrize("each", OPERATIONS, ids=lambda each: each.route.name)
def test_the_document_says_what_a_route_takes(each: Operation) -> None:
    route = each.route
    text = documented()[route.method, route.path]
    names = {item.name for item in msgspec.structs.fields(each.query)}
    assert set(re.findall(r"[?&]([a-z_]+)=", text)) == names
    assert ("upgrade" in text) == route.upgrade
    assert ("body: a tar" in text) == (route.takes == TAR)
    assert ("body: bytes" in text) == (route.takes == BYTES)
    if each.body in (BuildSpec, ContainerSpec, ExecSpec, NetworkSpec, PodSpec, PolicySpec):
        assert f"body: {each.body.__name__}" in text
    elif each.body is not Nothing:
        body = text[text.index("{") :]
        assert set(re.findall(r'"([a-z_]+)"\??(?=[:,}?])', body)) == {
            item.name for item in msgspec.structs.fields(each.body)
        }
    else:
        assert "{" not in text
