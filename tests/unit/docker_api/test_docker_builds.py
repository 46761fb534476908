"""Builds as Docker's clients ask for them: of one request, in words or as BuildKit's messages; BuildKit's protocol."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import pytest

from docker_client import DockerClient
from fake_attachment import FakeAttachment
from fake_engine import FakeEngine
from hypercontainer.engine import protobuf
from hypercontainer.errors import Unavailable

H2C = {"Connection": "Upgrade", "Upgrade": "h2c"}
DIGEST = "sha256:" + "5" * 64
ID = "sha256:" + "a" * 64
STARTED = "2026-11-29T21:06:00.432720124Z"


def vertex(name: str, **more: Any) -> dict[str, Any]:
    return {"vertexes": [{"digest": DIGEST, "name": name, "started": STARTED, **more}]}


def log(text: bytes) -> dict[str, Any]:
    return {"logs": [{"vertex": DIGEST, "stream": 1, "data": base64.b64encode(text).decode()}]}


RUN = vertex("[made 2/3] RUN true")
SAID = [
    vertex("[internal] load build definition"),
    RUN,
    log(b"hello\n"),
    RUN | vertex("[made 2/3] RUN true", cached=True),
]


async def build(
    docker: DockerClient,
    query: str,
    said: list[Any],
    *,
    status: int = 0,
    last: str = "",
    refused: bool = False,
    **more: Any,
) -> Any:
    """Messages of the answer; status and body of one that is ``refused``.  What the fake builder was
    asked for is in the notes of its engine."""
    going: list[FakeAttachment] = []
    ends: list[asyncio.Task[None]] = []

    async def begin(*_: Any, **__: Any) -> FakeAttachment:
        made = FakeAttachment()
        going.append(made)
        for each in said:
            text = json.dumps(each, indent=2 if len(going) % 2 else None)  # as different builders have it
            made.outputs[2].put_nowait(text.encode() + b"\n")
        made.outputs[2].put_nowait(last.encode())
        made.outputs[1].put_nowait(ID.encode() + b"\n")
        ends.append(asyncio.create_task(end(made)))
        return made

    async def end(made: FakeAttachment) -> None:
        await made.input_ended.wait()
        made.finish(status)

    docker.engine.notes.stand_ins["builds.begin"] = begin
    async with docker.served():
        answer = await docker.ask("POST", f"/v1.41/build{query}", **more)
    (attachment,) = going
    await attachment.closed.wait()
    if refused:
        return answer.status, answer.json
    assert answer.status == 200, answer.body
    return attachment, [json.loads(line) for line in answer.body.split(b"\r\n") if line]


async def test_in_words(docker: DockerClient) -> None:
    context = gzip.compress(b"a context" * 1000)
    attachment, said = await build(docker, "?t=shop:1&t=x/y", SAID, body=context)
    assert [each.get("stream") or each for each in said] == [
        "Step 2/3 : RUN true\n",
        "hello\n",
        " ---> Using cache\n",
        {"aux": {"ID": ID}},
        "Successfully built aaaaaaaaaaaa\n",
        "Successfully tagged shop:1\n",
        "Successfully tagged x/y:latest\n",
    ]
    assert attachment.input == context  # the fake engine unpacks nothing
    assert attachment.input_ended.is_set()


async def test_quietly(docker: DockerClient) -> None:
    _, said = await build(docker, "?q=True", SAID)
    assert said == [{"aux": {"ID": ID}}, {"stream": f"{ID}\n"}]


async def test_a_step_that_fails(docker: DockerClient) -> None:
    process = 'process "/bin/sh -c exit 7" did not complete successfully: exit code: 7'
    last = f"Dockerfile:2\nERROR: failed to solve: {process}\n"
    _, said = await build(docker, "", [RUN], status=1, last=last)
    words = "The command '/bin/sh -c exit 7' returned a non-zero code: 7"
    assert said[1:] == [
        {"errorDetail": {"code": 7, "message": words}, "error": words},
    ]


async def test_something_else_fails(docker: DockerClient) -> None:
    _, said = await build(docker, "?q=1", [], status=1, last="ERROR: failed to solve: no such image\n")
    words = "no such image"
    assert said == [{"errorDetail": {"code": 1, "message": words}, "error": words}]


UNREAD = [
    "dockerfile parse error on line 2: unknown instruction: NONSENSE",
    "file with no instructions",
    "no build stage in current context",
]
EXCERPT = "Dockerfile:2\n----\n   2 | >>> NONSENSE\nERROR: failed to build: failed to solve: "


@pytest.mark.parametrize("words", UNREAD)
async def test_a_dockerfile_that_cannot_be_read_is_refused(docker: DockerClient, words: str) -> None:
    said = [vertex("[internal] load build definition")]
    last = f"{EXCERPT}{words}\n"
    assert await build(docker, "", said, status=1, last=last, refused=True) == (400, {"message": words})


async def test_lines_that_are_no_error(docker: DockerClient) -> None:
    _, said = await build(docker, "", [RUN], last="1 warning found\n")
    assert {"stream": "1 warning found\n"} in said


async def test_a_build_is_cancelled_by_its_clients_name(docker: DockerClient, engine: FakeEngine) -> None:
    await build(docker, "?buildid=mine", [])
    ((_, _, given),) = [call for call in engine.notes.calls if call[0] == "builds.begin"]
    assert given["called"] == "mine"


async def test_a_cancellation_is_of_a_name(docker: DockerClient, engine: FakeEngine) -> None:
    async with docker.served():
        refused = await docker.ask("POST", "/build/cancel")
        done = await docker.ask("POST", "/build/cancel?id=mine")
    assert (refused.status, refused.json) == (400, {"message": "build ID not provided"})
    assert (done.status, done.body) == (200, b"")
    assert "mine" in str([call for call in engine.notes.calls if call[0] == "builds.cancel"])


async def test_by_buildkits_messages(docker: DockerClient) -> None:
    _, said = await build(docker, "?version=2&session=s", [RUN, log(b"hello\n")])
    assert said[-1] == {"id": "moby.image.id", "aux": {"ID": ID}}
    assert [each["id"] for each in said[:-1]] == ["moby.buildkit.trace"] * 2
    step, words = (protobuf.read(base64.b64decode(each["aux"])) for each in said[:-1])
    (raw,) = protobuf.all_of(step, 1)
    told = protobuf.read(raw)
    assert (protobuf.last_text(told, 1), protobuf.last_text(told, 3)) == (DIGEST, "[made 2/3] RUN true")
    (time,) = protobuf.all_of(told, 5)
    when = protobuf.read(time)
    assert (protobuf.last_number(when, 1), protobuf.last_number(when, 2)) == (1795986360, 432720000)
    (raw,) = protobuf.all_of(words, 3)
    assert protobuf.all_of(protobuf.read(raw), 4) == [b"hello\n"]


async def test_what_is_asked_for(docker: DockerClient, engine: FakeEngine) -> None:
    query = (
        "?dockerfile=sub/Dockerfile&nocache=True&pull=1&rm=False&forcerm=1&memory=5&shmsize=9&networkmode=none"
        "&buildargs=%7B%22A%22%3A%22b%22%2C%22GONE%22%3Anull%7D&labels=%7B%22l%22%3A%22v%22%7D&target=made"
        "&extrahosts=a%3A1.2.3.4&platform=linux%2Farm64&t=one:1"
        "&ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Soft%22%3A1%2C%22Hard%22%3A2%7D%5D"
    )
    auth = {"https://index.docker.io/v1/": {"username": "u", "password": "p"}, "r:5000": {}}
    header = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
    await build(docker, query, [], headers={"X-Registry-Config": header})
    ((_, _, given),) = [call for call in engine.notes.calls if call[0] == "builds.begin"]
    spec = given["spec"]
    assert (spec.dockerfile, spec.dockerfile_path, spec.tags) == (None, "sub/Dockerfile", ("one:1",))
    assert (spec.args, spec.labels, spec.target) == ({"A": "b"}, {"l": "v"}, "made")
    assert (spec.no_cache, spec.pull, spec.network, spec.shm_size_bytes) == (True, True, "none", 9)
    assert (spec.extra_hosts, spec.ulimits, spec.platform) == (("a:1.2.3.4",), ("nofile=1:2",), "linux/arm64")
    assert (await given["credentials_of"]("docker.io")).password == "p"
    assert await given["credentials_of"]("r:5000") is None


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("?remote=client-session&version=2", 501, "gRPC"),
        ("?networkmode=container:x", 501, "networkmode"),
        ("?squash=1", 501, "squashed"),
        ("?buildargs=nonsense", 400, "buildargs"),
        ("?remote=file:///etc/passwd", 400, "remote"),
        ("?remote=/etc", 400, "remote"),
    ],
)
async def test_refused(docker: DockerClient, query: str, status: int, words: str) -> None:
    async with docker.served():
        answer = await docker.ask("POST", f"/v1.41/build{query}")
        assert answer.status == status and words in answer.message


async def test_no_builder_is_an_error_before_anything_is_said(
    docker: DockerClient, engine: FakeEngine
) -> None:
    async def begin(*_: Any, **__: Any) -> FakeAttachment:
        raise Unavailable("the builder ended")

    engine.notes.stand_ins["builds.begin"] = begin
    async with docker.served():
        answer = await docker.ask("POST", "/build", b"context")
        assert (answer.status, answer.message) == (503, "the builder ended")


async def test_a_client_that_leaves_ends_its_build(docker: DockerClient, engine: FakeEngine) -> None:
    made: list[FakeAttachment] = []
    begun = asyncio.Event()

    async def begin(*_: Any, **__: Any) -> FakeAttachment:
        made.append(FakeAttachment())
        begun.set()
        return made[0]

    engine.notes.stand_ins["builds.begin"] = begin
    async with docker.served():
        _, writer = await docker.open()
        writer.write(b"POST /build HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        await begun.wait()
        writer.close()
        await made[0].closed.wait()


async def test_buildkits_own_protocol(docker: DockerClient) -> None:
    async with docker.served():
        going = await docker.hijack("POST", "/grpc", headers=H2C)
        assert (going.status, going.headers["upgrade"]) == (101, "h2c")
        going.writer.write(b"PRI * HTTP/2.0")
        assert await going.reader.readexactly(14) == b"PRI * HTTP/2.0"
        going.writer.close()
        reader, writer = await docker.open()
        begun = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        for part in (begun[:5], begun[5:20], begun[20:]):
            writer.write(part)
            await writer.drain()
        assert await reader.readexactly(len(begun)) == begun
        writer.write(b"more")
        assert await reader.readexactly(4) == b"more"
        writer.close()
        refused = await docker.ask("POST", "/v1.41/grpc")
        assert refused.status == 400


async def test_a_session_is_known_by_its_name_and_says_all_that_it_takes(
    docker: DockerClient, engine: FakeEngine
) -> None:
    async with docker.served():
        reader, writer = await docker.open()
        method = "X-Docker-Expose-Session-Grpc-Method"
        writer.write(
            b"POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
            b"X-Docker-Expose-Session-Uuid: s1\r\nX-Docker-Expose-Session-Name: a, b\r\n"
            + f"{method}: /one\r\n{method}: /two\r\n\r\n".encode()
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(2) == b"s1"
        writer.close()
        assert (await docker.ask("POST", "/session", headers=H2C)).status == 400
    ((_, _, given),) = [call for call in engine.notes.calls if call[0] == "builds.session"]
    assert given["fields"] == [
        ("x-docker-expose-session-uuid", "s1"),
        ("x-docker-expose-session-name", "a, b"),
        ("x-docker-expose-session-grpc-method", "/one"),
        ("x-docker-expose-session-grpc-method", "/two"),
    ]


async def test_prune(docker: DockerClient, engine: FakeEngine) -> None:
    async with docker.served():
        target = "/build/prune?all=1&keep-storage=7&filters=%7B%22until%22%3A%7B%221h%22%3Atrue%7D%7D"
        answer = await docker.ask("POST", target)
        assert answer.json == {"CachesDeleted": ["one"], "SpaceReclaimed": 5}
    ((_, _, given),) = engine.notes.calls
    assert (given["filters"], given["all_of_it"], given["keep_bytes"]) == ({"until": ("1h",)}, True, 7)
