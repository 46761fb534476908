"""Bodies that are made or taken as they go: progress, events, logs, tars in and out."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from hypercontainer import errors as e
from hypercontainer.contract.answers import Played
from hypercontainer.contract.images import ImageSummary, LayerProgress
from hypercontainer.surfaces.http import answers as answers_module
from hypercontainer.surfaces.http.board import Board
from hypercontainer.surfaces.hyper import progress as progress_module

if TYPE_CHECKING:
    from tests.unit.api.conftest import Harness, Serving

MIB = 1 << 20
IMAGE = ImageSummary(
    id="sha256:9",
    references=(),
    repo_digests=(),
    created="",
    size_bytes=3,
    architecture="amd64",
    os="linux",
)


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


def frames_of(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        length = int.from_bytes(body[4:8], "big")
        found.append((body[0], body[8 : 8 + length]))
        body = body[8 + length :]
    return found


async def test_pull_tells_progress_and_then_the_image(serving: Serving) -> None:
    async def pull(
        reference: str, *, platform: Any, credentials: Any, progress: Any, whole: bool, artifacts: bool
    ) -> Any:
        assert (reference, platform, credentials.username) == ("debian:12", "linux/amd64", "u")
        assert whole and artifacts
        progress(LayerProgress("l1", "downloading", 1, 2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        progress(LayerProgress("l1", "downloaded", 2, 2))
        return IMAGE

    async with serving() as harness:
        harness.notes.stand_ins["images.pull"] = pull
        body = {"reference": "debian:12", "platform": "linux/amd64", "credentials": {"username": "u"}}
        status, text = await harness.call("POST", "/v1/images/pull", body)
        *news, last = lines(text)
        assert status == 200
        assert news[-1] == {"progress": {"layer": "l1", "status": "downloaded", "current": 2, "total": 2}}
        assert last["result"]["id"] == IMAGE.id


async def test_push(serving: Serving) -> None:
    async with serving() as harness:
        status, text = await harness.call("POST", "/v1/images/push", {"reference": "busybox"})
        assert (status, lines(text)) == (200, [{"result": {"digest": "sha256:3"}}])
        assert (await harness.call("POST", "/v1/images/push", {"reference": "other"}))[0] == 404


async def test_what_is_pulled_is_there(serving: Serving) -> None:
    async with serving() as harness:
        assert (await harness.call("GET", "/v1/images/inspect?ref=debian:12"))[0] == 404
        assert (await harness.call("POST", "/v1/images/pull", {"reference": "debian:12"}))[0] == 200
        assert (await harness.call("GET", "/v1/images/inspect?ref=debian:12"))[1]["id"] == "sha256:2"


async def test_an_error_before_any_line_is_the_answer_and_after_it_is_the_last_line(serving: Serving) -> None:
    async def pull(reference: str, *, progress: Any, **_: Any) -> Any:
        progress(LayerProgress("l1", "downloading", 1, 2))
        await asyncio.sleep(0.01)
        raise e.RegistryError("no more", http_status=500)

    async with serving() as harness:
        harness.notes.error = e.NotFound("no such image")
        status, answer = await harness.call("POST", "/v1/images/pull", {"reference": "a"})
        assert (status, answer["error"]["message"]) == (404, "no such image")
        harness.notes.error = None
        harness.notes.stand_ins["images.pull"] = pull
        status, text = await harness.call("POST", "/v1/images/pull", {"reference": "a"})
        assert status == 200
        assert lines(text)[-1]["error"]["code"] == "registry"


async def test_a_client_that_leaves_cancels_its_pull(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.hold.add("images.pull")
        _, writer = await harness.connect()
        body = b'{"reference": "a"}'
        writer.write(
            b"POST /v1/images/pull HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await harness.notes.entered.wait()
        writer.close()
        await harness.notes.cancelled.wait()


async def test_progress_that_nobody_takes_is_replaced() -> None:
    board: Board[LayerProgress] = Board()
    post = progress_module.sink(board)
    for count in range(100_000):
        post(LayerProgress(f"l{count % 3}", "downloading", count, 100_000))
    assert sorted(item.current for item in await board.take()) == [99_997, 99_998, 99_999]
    board.end()
    assert await board.take() == []


async def test_events_come_as_they_happen(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.hold.add("system.events:end")
        reader, writer = await harness.connect()
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        size = int(await reader.readline(), 16)
        event = json.loads(await reader.readexactly(size))
        assert event["action"] == "start"
        writer.close()
        await harness.notes.cancelled.wait()


async def test_events_that_fail_say_so_in_the_last_line(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.error = e.Unavailable("the state is gone")
        status, text = await harness.call("GET", "/v1/events")
        assert (status, lines(text)[0]["error"]["code"]) == (200, "unavailable")


async def test_stats_stream(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "TICK_S", 0.01)
    async with serving() as harness:
        reader, writer = await harness.connect()
        writer.write(b"GET /v1/containers/web/stats?stream=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(3):
            size = int(await reader.readline(), 16)
            assert json.loads(await reader.readexactly(size + 2))["id"] == "c1"
        harness.notes.error = e.Conflict("it has ended")
        rest = await reader.readuntil(b"0\r\n\r\n")
        assert b'"conflict"' in rest
        writer.close()


async def test_stats_of_a_pod_are_a_line_for_all(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "TICK_S", 0.01)
    async with serving() as harness:
        status, once = await harness.call("GET", "/v1/pods/shop/stats")
        assert (status, [sample["id"] for sample in once["samples"]]) == (200, ["c1"])
        reader, writer = await harness.connect()
        writer.write(b"GET /v1/pods/shop/stats?stream=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(3):
            size = int(await reader.readline(), 16)
            assert json.loads(await reader.readexactly(size + 2)) == once
        writer.close()


async def test_logs_of_a_pod_are_lines(serving: Serving) -> None:
    async with serving() as harness:
        status, text = await harness.call("GET", "/v1/pods/shop/logs?follow=1&tail=5&timestamps=1&since=10m")
        assert status == 200
        assert lines(text) == [
            {"container": "web", "channel": 1, "data": "b3V0Cg=="},
            {"container": "db", "channel": 2, "data": "/w=="},
        ]
        asked = {"follow": True, "since": "10m", "until": "", "tail": 5, "timestamps": True}
        assert harness.notes.calls == [("pods.logs", "p1", asked)]
        assert (await harness.call("GET", "/v1/pods/other/logs"))[0] == 404


async def test_play_tells_progress_and_what_became_of_each_object(serving: Serving) -> None:
    async def play(text: str, *, progress: Any, **options: Any) -> Any:
        assert (text, options.pop("asked_by")) == ("kind: Pod", os.getuid())
        assert options.pop("credentials") is None
        assert options == {"replace": True, "start": False, "dry_run": True, "skip_unsupported": True}
        progress(LayerProgress("l1", "downloading", 1, 2))
        return [Played(kind="Pod", name="shop", action="created", pods=("p1",))]

    async with serving() as harness:
        harness.notes.stand_ins["manifests.play"] = play
        body = {
            "text": "kind: Pod",
            "replace": True,
            "start": False,
            "dry_run": True,
            "skip_unsupported": True,
        }
        status, text = await harness.call("POST", "/v1/manifests/play", body)
        first, last = lines(text)
        played = {
            "kind": "Pod",
            "name": "shop",
            "action": "created",
            "pods": ["p1"],
            "removed": [],
            "warnings": [],
        }
        assert (status, first["progress"]["layer"], last) == (200, "l1", {"result": [played]})
        harness.notes.error = e.InvalidArgument("Pod shop: spec.containers is missing")
        status, answer = await harness.call("POST", "/v1/manifests/play", body)
        assert (status, answer["error"]["code"]) == (400, "invalid_argument")


async def test_down_answers_as_play_does(serving: Serving) -> None:
    async with serving() as harness:
        body = {"text": "kind: Pod", "volumes": True}
        status, text = await harness.call("POST", "/v1/manifests/down", body)
        (line,) = lines(text)
        assert (status, [one["kind"] for one in line["result"]]) == (200, ["Pod", "PersistentVolumeClaim"])
        _, text = await harness.call("POST", "/v1/manifests/down", {"text": "kind: Pod"})
        assert [one["kind"] for one in lines(text)[0]["result"]] == ["Pod"]


@pytest.mark.parametrize(
    "target", ["/v1/events?since=2026-99-99", "/v1/pods/shop/logs", "/v1/containers/web/logs"]
)
async def test_a_stream_that_is_refused_is_an_http_error(target: str, serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.error = e.InvalidArgument("that is no time", field="since")
        harness.notes.refuses = True
        status, answer = await harness.call("GET", target)
        assert (status, answer["error"]["code"]) == (400, "invalid_argument")
        assert answer["error"]["details"] == {"field": "since"}


async def test_logs_are_frames(serving: Serving) -> None:
    async with serving() as harness:
        harness.web.log = [(1, b"out\n"), (2, b"e" * 100_000), (1, b"")]
        target = "/v1/containers/web/logs?tail=5&timestamps=1&since=2026-01-01T00:00:00Z"
        status, body = await harness.call("GET", target)
        assert status == 200
        assert frames_of(body) == [(1, b"out\n"), (2, b"e" * 65536), (2, b"e" * (100_000 - 65536))]
        assert harness.notes.calls[-1][2] == {
            "follow": False,
            "since": "2026-01-01T00:00:00Z",
            "until": "",
            "tail": 5,
            "timestamps": True,
            "details": False,
        }


async def test_logs_of_nothing(serving: Serving) -> None:
    async with serving() as harness:
        assert (await harness.call("GET", "/v1/containers/other/logs"))[0] == 404


async def test_logs_that_break_say_so_in_a_control_frame(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.error = e.Unavailable("the disk is gone")
        _, body = await harness.call("GET", "/v1/containers/web/logs")
        ((channel, payload),) = frames_of(body)
        assert channel == 3
        assert json.loads(payload)["error"]["code"] == "unavailable"


async def test_following_logs_begins_at_once_and_ends_with_the_client(serving: Serving) -> None:
    async with serving() as harness:
        harness.web.log = []
        harness.notes.hold.add("containers.logs:end")
        reader, writer = await harness.connect()
        writer.write(b"GET /v1/containers/web/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await harness.notes.cancelled.wait()


# Tars


def read_all(stream: BinaryIO) -> int:
    total = 0
    while data := stream.read(100_000):
        total += len(data)
    return total


async def test_load_reads_a_chunked_body_in_a_thread_without_holding_it(serving: Serving) -> None:
    seen = []

    async def load(stream: BinaryIO, *, platform: str | None = None, progress: Any) -> Any:
        progress(LayerProgress("l", "loading", 0, 0))
        seen.append(await asyncio.to_thread(read_all, stream))
        return [IMAGE]

    async with serving() as harness:
        harness.notes.stand_ins["images.load"] = load
        reader, writer = await harness.connect()
        writer.write(
            b"POST /v1/images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        chunk = b"a" * MIB
        for _ in range(20):
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        status, text = await harness.answer(reader)
        assert status == 200
        assert lines(text)[-1]["result"]["images"][0]["id"] == IMAGE.id
        assert seen == [20 * MIB]
        writer.close()


async def test_a_reader_that_does_not_read_stops_the_client(serving: Serving) -> None:
    go = threading.Event()

    async def load(stream: BinaryIO, *, platform: str | None = None, progress: Any) -> Any:
        await asyncio.to_thread(go.wait)
        await asyncio.to_thread(read_all, stream)
        return []

    async with serving() as harness:
        harness.notes.stand_ins["images.load"] = load
        reader, writer = await harness.connect()
        size = 64 * MIB
        writer.write(
            b"POST /v1/images/load HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            % size
        )
        sent = 0
        try:
            async with asyncio.timeout(0.5):
                while sent < size:
                    writer.write(b"a" * 65536)
                    sent += 65536
                    await writer.drain()
        except TimeoutError:
            pass
        assert sent < 2 * MIB  # the socket's and the pipe's buffers, and a few reads
        go.set()
        while sent < size:
            writer.write(b"a" * 65536)
            sent += 65536
            await writer.drain()
        assert (await harness.answer(reader))[0] == 200
        writer.close()


async def test_import(serving: Serving) -> None:
    async def import_(stream: BinaryIO, **options: Any) -> Any:
        assert await asyncio.to_thread(stream.read) == b"tar"
        said = {"reference": "r", "change": ("CMD a", "ENV b=c"), "message": "m", "platform": "arm64"}
        assert options == said
        return IMAGE

    async with serving() as harness:
        harness.notes.stand_ins["images.import_"] = import_
        target = "/v1/images/import?reference=r&message=m&change=CMD%20a&change=ENV%20b%3Dc&platform=arm64"
        status, text = await harness.call("POST", target, b"tar")
        assert (status, lines(text)[0]["result"]["id"]) == (200, IMAGE.id)


async def test_a_body_that_stops_short_is_an_error_to_its_reader(serving: Serving) -> None:
    failed: list[BaseException] = []
    ended = threading.Event()

    def read(stream: BinaryIO) -> None:
        try:
            read_all(stream)
        except (OSError, ValueError) as error:
            failed.append(error)
        ended.set()

    async def load(stream: BinaryIO, *, platform: str | None = None, progress: Any) -> Any:
        await asyncio.to_thread(read, stream)
        return []

    async with serving() as harness:
        harness.notes.stand_ins["images.load"] = load
        head = b"POST /v1/images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        assert await harness.raw(head + b"a" * 1000, end=True) == b""
        assert await asyncio.to_thread(ended.wait, 5)
        assert failed


async def test_an_early_error_reaches_a_client_that_is_still_sending(serving: Serving) -> None:
    async def load(stream: BinaryIO, *, platform: str | None = None, progress: Any) -> Any:
        await asyncio.to_thread(stream.read, 10)
        raise e.ImageError("not a tar")

    async with serving() as harness:
        harness.notes.stand_ins["images.load"] = load
        status, answer = await harness.call("POST", "/v1/images/load", b"a" * (8 * MIB))
        assert (status, answer["error"]["message"]) == (422, "not a tar")


async def save_zeros(ref: Any, out: BinaryIO, **_: Any) -> None:
    def write() -> None:
        out.writelines(bytes(MIB) for _ in range(20))

    await asyncio.to_thread(write)


async def test_save(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.stand_ins["images.save"] = save_zeros
        status, body = await harness.call("GET", "/v1/images/save?ref=a&ref=b&format=oci")
        assert (status, body) == (200, bytes(20 * MIB))
        ((name, _, asked),) = harness.notes.calls
        assert (name, asked["ref"], asked["format"]) == ("images.save", ("a", "b"), "oci")


async def test_save_of_nothing(serving: Serving) -> None:
    async with serving() as harness:
        assert await harness.call("GET", "/v1/images/save?ref=busybox") == (200, b"tar of busybox")
        assert (await harness.call("GET", "/v1/images/save?ref=busybox&ref=other"))[0] == 404


async def test_a_save_that_breaks_is_not_taken_for_whole(serving: Serving) -> None:
    async def save(ref: Any, out: BinaryIO, **_: Any) -> None:
        await asyncio.to_thread(out.write, bytes(MIB))
        raise e.Unavailable("disk gone")

    async with serving() as harness:
        harness.notes.stand_ins["images.save"] = save
        reply = await harness.raw(b"GET /v1/images/save?ref=a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert not reply.endswith(b"0\r\n\r\n")


async def begin_save(harness: Harness, written: list[int]) -> tuple[asyncio.StreamReader, Any]:
    async def save(ref: Any, out: BinaryIO, **_: Any) -> None:
        def write() -> None:
            try:
                for _ in range(1000):
                    out.write(bytes(65536))
                    written.append(65536)
            finally:
                ended.set()

        await asyncio.to_thread(write)

    ended = threading.Event()
    harness.notes.stand_ins["images.save"] = save
    reader, writer = await asyncio.open_unix_connection(harness.path, limit=1024)
    writer.write(b"GET /v1/images/save?ref=a HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    return reader, (writer, ended)


async def test_a_client_that_does_not_read_stops_the_writer(serving: Serving) -> None:
    written: list[int] = []
    async with serving() as harness:
        _, (writer, ended) = await begin_save(harness, written)
        await asyncio.sleep(0.3)
        assert sum(written) < 2 * MIB
        assert not ended.is_set()
        writer.transport.abort()  # it leaves: the thread must not hang
        assert await asyncio.to_thread(ended.wait, 5)
