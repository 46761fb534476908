"""Versions, errors, and a container's life through Docker's API."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Request

from docker_client import DockerClient
from fake_attachment import FakeAttachment
from fake_engine import FakeContainer
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.errors import GuestError

ENOENT = 2


@contextlib.asynccontextmanager
async def attached(docker: DockerClient) -> Any:
    """Whoever attaches to the container "web" gets this."""
    attachment = FakeAttachment()

    async def attach(**_: Any) -> FakeAttachment:
        return attachment

    docker.engine.containers.known[0].attach = attach
    async with docker.served():
        yield attachment


@pytest.mark.parametrize("path", ["/_ping", "/v1.40/_ping", "/v1.52/_ping"])
async def test_ping(docker: DockerClient, path: str) -> None:
    async with docker.served():
        got = await docker.ask("GET", path)
        assert (got.status, got.body) == (200, b"OK")
        assert got.headers["api-version"] == "1.52"
        assert got.headers["ostype"] == "linux"
        head = await docker.ask("HEAD", path)
        assert (head.status, head.body, head.headers["builder-version"]) == (200, b"", "2")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1.39/_ping", 400, "client version 1.39 is too old. Minimum supported API version is 1.40"),
        ("/v1.53/_ping", 400, "client version 1.53 is too new. Maximum supported API version is 1.52"),
        ("/v2.0/_ping", 400, "is too new"),
        ("/1.41/_ping", 404, "page not found"),
        ("/vx/_ping", 404, "page not found"),
        ("/v1.41/nothing", 404, "page not found"),
    ],
)
async def test_what_is_not_served(docker: DockerClient, path: str, status: int, words: str) -> None:
    async with docker.served():
        got = await docker.ask("GET", path)
        assert got.status == status
        assert words in got.message
        assert got.headers["api-version"] == "1.52"


async def test_another_method_is_another_page(docker: DockerClient) -> None:
    async with docker.served():
        assert (await docker.ask("DELETE", "/_ping")).status == 404


async def test_start_and_stop(docker: DockerClient) -> None:
    async with docker.served():
        made = docker.engine.make_container(ContainerSpec(image="busybox", name="idle"))
        assert (await docker.ask("POST", "/v1.41/containers/idle/start")).status == 204
        assert made.state == "running"
        assert (await docker.ask("POST", "/containers/idle/start")).status == 304
        assert (await docker.ask("POST", "/containers/idle/start", {"Binds": []})).status == 400
        assert (await docker.ask("POST", "/containers/idle/stop?t=0&signal=INT")).status == 204
        assert (await docker.ask("POST", "/containers/idle/stop")).status == 304
        assert (await docker.ask("POST", "/containers/idle/kill")).status == 409
        missing = await docker.ask("POST", "/containers/nope/start")
        assert missing.status == 404
        assert missing.message == "No such container: nope"


@pytest.mark.parametrize(
    "call",
    (
        "GET changes,GET export,HEAD archive?path=/a,GET archive?path=/a,PUT archive?path=/a,GET logs?stdout=1,"
        "GET stats?stream=0,GET top,GET json,POST kill,POST restart,POST pause,POST wait,POST update"
    ).split(","),
)
async def test_one_that_is_not_there_is_said_in_one_way(docker: DockerClient, call: str) -> None:
    async with docker.served():
        method, _, path = call.partition(" ")
        body: dict[str, int] | None = {} if path == "update" else None
        missing = await docker.ask(method, f"/containers/nope/{path}", body)
        assert missing.status == 404
        if method != "HEAD":
            assert missing.message == "No such container: nope"


async def test_a_number_that_is_none(docker: DockerClient) -> None:
    async with docker.served():
        got = await docker.ask("POST", "/containers/web/stop?t=soon")
        assert (got.status, got.message) == (400, "invalid value 'soon' for t: a whole number is wanted")
        assert (await docker.ask("POST", "/containers/web/resize?h=70000&w=1")).status == 400


async def test_remove(docker: DockerClient) -> None:
    async with docker.served():
        refused = await docker.ask("DELETE", "/containers/web")
        assert refused.status == 409
        assert "stop the container before removing or force remove" in refused.message
        assert (await docker.ask("DELETE", "/containers/web?force=True&v=1")).status == 204
        assert (await docker.ask("DELETE", "/containers/web")).status == 404


async def test_whoever_waits_has_the_head_before_it_starts(docker: DockerClient) -> None:
    async with docker.served():
        made: FakeContainer = docker.engine.make_container(
            ContainerSpec(image="busybox", name="idle"), "running"
        )
        reader, writer = await docker.open()
        writer.write(b"POST /v1.51/containers/idle/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        await made.kill()
        assert b'{"StatusCode":137}\n' in await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        assert (await docker.ask("POST", "/containers/idle/wait?condition=soon")).status == 400


@pytest.mark.parametrize(
    ("version", "kind"),
    [("1.41", "raw-stream"), ("1.42", "multiplexed-stream"), ("1.52", "multiplexed-stream")],
)
async def test_attach_with_an_upgrade(docker: DockerClient, version: str, kind: str) -> None:
    async with attached(docker) as process:
        got = await docker.hijack(
            "POST", f"/v{version}/containers/web/attach?stream=1&stdout=1&stderr=1&stdin=1"
        )
        assert (got.status, got.headers["upgrade"]) == (101, "tcp")
        assert got.headers["content-type"] == f"application/vnd.docker.{kind}"
        got.writer.write(b"typed")
        got.writer.write_eof()  # no goodbye
        await process.input_ended.wait()
        assert process.input == b"typed"
        process.outputs[1].put_nowait(b"out")
        assert await got.frame() == (1, b"out")
        process.outputs[2].put_nowait(b"err")
        assert await got.frame() == (2, b"err")
        process.finish()
        assert await got.reader.read() == b""
        got.writer.close()
        await process.closed.wait()


async def test_attach_without_an_upgrade(docker: DockerClient) -> None:
    async with attached(docker) as process:
        got = await docker.hijack("POST", "/containers/web/attach?stream=1&stdout=1", headers={})
        assert got.status == 200
        assert got.headers["content-type"] == "application/vnd.docker.raw-stream"
        assert "transfer-encoding" not in got.headers
        process.outputs[2].put_nowait(b"not asked for")
        process.outputs[1].put_nowait(b"out")
        assert await got.frame() == (1, b"out")
        process.finish()
        assert await got.reader.read() == b""
        got.writer.close()


async def test_a_client_that_hangs_up_is_let_go(docker: DockerClient) -> None:
    """Also one that had ended what it sends long before."""
    async with attached(docker) as process:
        got = await docker.hijack("POST", "/containers/web/attach?stream=1&stdout=1")
        got.writer.write_eof()
        process.outputs[1].put_nowait(b"out")
        assert await got.frame() == (1, b"out")
        assert not process.closed.is_set()
        got.writer.close()
        await process.closed.wait()


async def test_a_terminal_is_carried_as_it_is_and_left_by_its_keys(docker: DockerClient) -> None:
    async with attached(docker) as process:
        process.tty = True
        got = await docker.hijack("POST", "/containers/web/attach?stream=1&stdout=1&stdin=1&detachKeys=a,b")
        assert got.headers["content-type"] == "application/vnd.docker.raw-stream"
        process.outputs[1].put_nowait(b"\x1b[0m$ ")
        assert await got.reader.readexactly(6) == b"\x1b[0m$ "
        got.writer.write(b"lsab")
        await process.closed.wait()
        assert process.input == b"ls"
        assert not process.ended.done()
        got.writer.close()


async def test_who_attaches_to_nothing_is_told_in_plain_text(docker: DockerClient) -> None:
    async with docker.served():
        got = await docker.ask("POST", "/containers/nope/attach?stream=1")
        assert (got.status, got.headers["content-type"]) == (404, "application/vnd.docker.raw-stream")
        assert got.body == b"No such container: nope\r\n"


async def test_attach_as_a_websocket(docker: DockerClient) -> None:
    async with attached(docker) as process:
        reader, writer = await docker.open()
        wire = WSConnection(ConnectionType.CLIENT)
        writer.write(
            wire.send(
                Request("d", "/containers/web/attach/ws?stream=1&stdout=1&stdin=1", subprotocols=["chat"])
            )
        )

        async def event() -> Any:
            while True:
                for each in wire.events():
                    return each
                wire.receive_data(await reader.read(65536))

        accepted = await event()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == "chat"
        process.outputs[1].put_nowait(b"out")
        assert (await event()).data == b"out"
        writer.write(wire.send(BytesMessage(b"typed")))
        while process.input != b"typed":
            await asyncio.sleep(0)
        writer.write(wire.send(CloseConnection(1000)))
        assert isinstance(await event(), CloseConnection)
        await process.closed.wait()
        writer.close()
        assert (await docker.ask("GET", "/containers/web/attach/ws?stream=1")).status == 400


async def test_exec(docker: DockerClient) -> None:
    async with docker.served():
        made = await docker.ask("POST", "/containers/web/exec", {"Cmd": ["id", "-u"], "Env": None})
        assert made.status == 201
        identifier = made.json["Id"]
        held = await docker.engine.execs.held(identifier)
        attachment = FakeAttachment()

        async def start() -> FakeAttachment:
            return attachment

        held.start = start
        got = await docker.hijack("POST", f"/exec/{identifier}/start", {"Detach": False, "Tty": False})
        assert got.status == 101
        attachment.outputs[1].put_nowait(b"0\n")
        attachment.finish()
        assert await got.frame() == (1, b"0\n")
        assert await got.reader.read() == b""
        got.writer.close()
        found = (await docker.ask("GET", f"/exec/{identifier}/json")).json
        assert (found["ID"], found["ProcessConfig"]["entrypoint"]) == (identifier, "id")
        assert (await docker.ask("GET", "/exec/nope/json")).message == "No such exec instance: nope"
        assert (await docker.ask("POST", "/containers/web/exec", {"Cmd": []})).status == 400
        refused = await docker.ask("POST", "/containers/web/exec", {"Cmd": ["id"], "User": "nosuch"})
        assert (refused.status, refused.message) == (400, "unable to find user nosuch")
        assert (await docker.ask("POST", "/containers/web/exec", b"{")).status == 400
        assert (await docker.ask("POST", "/containers/web/exec")).status == 400


async def test_a_program_that_is_not_there_is_said_on_the_output(docker: DockerClient) -> None:
    async with docker.served():
        made = await docker.ask("POST", "/containers/web/exec", {"Cmd": ["nope"]})
        held = await docker.engine.execs.held(made.json["Id"])

        async def start() -> None:
            words = 'exec: "nope": executable file not found in $PATH'
            raise GuestError(words, errno=ENOENT, operation="process start")

        held.start = start
        got = await docker.hijack("POST", f"/exec/{held.id}/start", {})
        assert got.status == 101
        assert await got.frame() == (1, b'exec: "nope": executable file not found in $PATH\r\n')
        got.writer.close()
        refused = await docker.ask("POST", f"/exec/{held.id}/start", {"Detach": True})
        assert refused.status == 400
        assert "executable file not found" in refused.message


@pytest.mark.parametrize("tty", [False, True])
async def test_a_terminals_input_does_not_end_with_a_clients(docker: DockerClient, tty: bool) -> None:
    """docker run -it has ended its own when it is left by its keys."""
    async with docker.served():
        body = {"Cmd": ["cat"], "AttachStdin": True, "Tty": tty}
        made = await docker.ask("POST", "/containers/web/exec", body)
        held = await docker.engine.execs.held(made.json["Id"])
        attachment = FakeAttachment()
        attachment.tty = tty

        async def start() -> FakeAttachment:
            return attachment

        held.start = start
        got = await docker.hijack("POST", f"/exec/{held.id}/start", {"Tty": tty})
        got.writer.write(b"typed")
        got.writer.write_eof()
        while attachment.input != b"typed":
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        attachment.finish()
        await got.reader.read()
        got.writer.close()
        assert attachment.input_ended.is_set() is not tty


async def test_a_terminal_whose_process_has_ended_needs_no_size(docker: DockerClient) -> None:
    async with docker.served():
        made = await docker.ask("POST", "/containers/web/exec", {"Cmd": ["tty"], "Tty": True})
        held = await docker.engine.execs.held(made.json["Id"])
        attachment = FakeAttachment()

        async def start() -> FakeAttachment:
            return attachment

        async def resize(rows: int, columns: int) -> None:
            attachment.outputs[1].put_nowait(b"/dev/pts/0\r\n")
            attachment.finish()
            raise GuestError("it has exited", errno=ENOENT, operation="process resize")

        held.start, held.resize = start, resize
        got = await docker.hijack("POST", f"/exec/{held.id}/start", {"Tty": True, "ConsoleSize": [24, 80]})
        assert await got.frame() == (1, b"/dev/pts/0\r\n")
        got.writer.close()


async def test_a_process_is_begun_when_the_client_has_the_head(docker: DockerClient) -> None:
    """docker-py reads the head through a buffer, and goes on below it."""
    async with docker.served():
        made = await docker.ask("POST", "/containers/web/exec", {"Cmd": ["id"]})
        held = await docker.engine.execs.held(made.json["Id"])
        begin, attachment = asyncio.Event(), FakeAttachment()

        async def start() -> FakeAttachment:
            await begin.wait()
            return attachment

        held.start = start
        got = await docker.hijack("POST", f"/exec/{held.id}/start", {})
        assert got.status == 101
        begin.set()
        attachment.finish()
        assert await got.reader.read() == b""
        got.writer.close()


async def test_exec_start_that_cannot_be_is_an_answer(docker: DockerClient) -> None:
    async with docker.served():
        made = await docker.ask("POST", "/containers/web/exec", {"Cmd": ["id"]})
        await docker.engine.containers.known[0].pause()
        refused = await docker.hijack("POST", f"/exec/{made.json['Id']}/start", {})
        assert refused.status == 409
        refused.writer.close()


@pytest.mark.parametrize(("query", "said"), [("logs=1", b"out\n"), ("", b"")])
async def test_attach_without_a_stream_is_what_was_said_till_now(
    docker: DockerClient, query: str, said: bytes
) -> None:
    async with docker.served():
        got = await docker.hijack("POST", f"/containers/web/attach?stdout=1&stream=0&{query}")
        assert got.status == 101
        assert (await got.reader.read())[8:] == said
        got.writer.close()
