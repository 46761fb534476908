"""Logs, statistics, processes and files of a container, through Docker's API."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import json
import lzma
import stat
import tarfile
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from backports import zstd

from docker_client import DockerClient
from docker_stage import Play, Stage, player
from fake_engine import FakeContainer
from hypercontainer.agent.stats import Stats
from hypercontainer.contract.answers import FileFacts, Process, Sample
from hypercontainer.engine.container import looked
from hypercontainer.engine.container.observe import Measured
from hypercontainer.engine.pipes import pieces_of
from hypercontainer.engine.plain import plain
from hypercontainer.errors import InvalidArgument, ReadOnly
from hypercontainer.surfaces.docker import ps
from hypercontainer.surfaces.docker.archives import file_mode
from hypercontainer.surfaces.docker.stats import document
from hypercontainer.surfaces.http import answers
from stories import have_any_kernel


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    have_any_kernel(monkeypatch)
    return player(tmp_path)


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        length = int.from_bytes(body[4:8], "big")
        found.append((body[0], body[8 : 8 + length]))
        body = body[8 + length :]
    return found


def web(docker: DockerClient) -> FakeContainer:
    found: FakeContainer = docker.engine.containers.known[0]
    return found


# ---------------------------------------------------------------------------------------------- logs


@pytest.mark.parametrize(
    ("version", "kind"),
    [("/v1.41", "raw-stream"), ("/v1.42", "multiplexed-stream"), ("", "multiplexed-stream")],
)
async def test_logs_are_framed(docker: DockerClient, version: str, kind: str) -> None:
    async with docker.served():
        got = await docker.ask("GET", f"{version}/containers/web/logs?stdout=1&stderr=1&tail=all")
        assert (got.status, got.headers["content-type"]) == (200, f"application/vnd.docker.{kind}")
        assert frames(got.body) == [(1, b"out\n"), (2, b"err\n")]


@pytest.mark.parametrize(
    ("query", "found"),
    [("stdout=1", [(1, b"out\n")]), ("stderr=true", [(2, b"err\n")]), ("stdout=0&stderr=1", [(2, b"err\n")])],
)
async def test_one_stream(docker: DockerClient, query: str, found: Any) -> None:
    async with docker.served():
        assert frames((await docker.ask("GET", f"/containers/web/logs?{query}")).body) == found


async def test_no_stream_at_all(docker: DockerClient) -> None:
    async with docker.served():
        got = await docker.ask("GET", "/containers/web/logs?stdout=False&follow=1")
        assert (got.status, got.message) == (400, "Bad parameters: you must choose at least one stream")


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("tail=all", {"tail": None}),
        ("tail=-1&since=0", {"tail": None, "since": ""}),
        ("tail=7", {"tail": 7}),
        ("tail=x", {"tail": None}),
        ("since=1767225600.000000000", {"since": "1767225600.000000000"}),
        ("since=1.123&until=2", {"since": "1.123", "until": "2"}),
        ("follow=1&timestamps=True&details=1", {"follow": True, "timestamps": True, "details": True}),
        ("follow=0&timestamps=0", {"follow": False, "timestamps": False, "details": False}),
    ],
)
async def test_what_of_it(docker: DockerClient, query: str, asked: dict[str, Any]) -> None:
    async with docker.served():
        await docker.ask("GET", f"/containers/web/logs?stdout=1&{query}")
        given = next(
            given for name, _, given in reversed(docker.engine.notes.calls) if name == "containers.logs"
        )
        assert asked.items() <= given.items()


def test_details_and_a_terminal(play: Play) -> None:
    async def story(stage: Stage) -> None:
        for name, tty in (("plain", False), ("terminal", True)):
            await stage.container(name, tty=tty)
            log = (await stage.world.engine.real.containers.held(name)).log
            log.begin_run(1)
            log.append(1, b"one\ntw")
            log.append(1, b"o\n")
            log.end_run()
        got = await stage.client.ask("GET", "/containers/plain/logs?stdout=1&details=1")
        assert b"".join(data for _, data in frames(got.body)) == b" one\n two\n"
        got = await stage.client.ask("GET", "/containers/plain/logs?stdout=1&details=1&timestamps=1")
        assert b"Z  one\n" in got.body
        got = await stage.client.ask("GET", "/containers/terminal/logs?stdout=1&follow=1")
        assert got.body == b"one\ntwo\n"
        assert got.headers["content-type"] == "application/vnd.docker.raw-stream"

    play(story, networks=False)


# ---------------------------------------------------------------------------------------------- stats

USED = Stats(
    cpu_ns=7000,
    memory_bytes=5000,
    pids=3,
    cpu_stat={"user_usec": 4, "system_usec": 3, "nr_periods": 9, "nr_throttled": 2, "throttled_usec": 1},
    memory_stat={"inactive_file": 1000},
    disks={"254:0": {"rbytes": 1, "wbytes": 2}, "what": {"rbytes": 1}},
    interfaces={"eth0": {"rx_bytes": 5, "tx_bytes": 6}},
)


def measured(time: str = "2026-01-01T00:00:00Z") -> Measured:
    numbers = {field: 1 for field in Sample.__struct_fields__ if field not in ("time", "id", "name")}
    sample = Sample(time=time, id="c1", name="web", **{**numbers, "cpu_ns": 7000, "vcpus": 2})
    return Measured(sample, USED, 1_000_000)


def test_a_sample() -> None:
    told = document("c1", "web", measured("2026-01-01T00:00:01Z"), measured())
    assert (told["name"], told["id"]) == ("/web", "c1")
    assert (told["read"], told["preread"]) == ("2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z")
    assert told["cpu_stats"] == {
        "cpu_usage": {"total_usage": 7000, "usage_in_kernelmode": 3000, "usage_in_usermode": 4000},
        "system_cpu_usage": 1_000_000,
        "online_cpus": 2,
        "throttling_data": {"periods": 9, "throttled_periods": 2, "throttled_time": 1000},
    }
    assert told["precpu_stats"] == told["cpu_stats"]
    assert told["memory_stats"] == {"usage": 5000, "stats": {"inactive_file": 1000}, "limit": 1}
    assert told["networks"] == {"eth0": {"rx_bytes": 5, "tx_bytes": 6}}
    assert told["pids_stats"] == {"current": 3, "limit": 2**64 - 1}
    assert told["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 254, "minor": 0, "op": "read", "value": 1},
        {"major": 254, "minor": 0, "op": "write", "value": 2},
    ]


def test_a_guest_may_say_anything() -> None:
    most = 2**64 - 1
    used = Stats(
        cpu_ns=most, cpu_stat={"user_usec": most}, memory_stat={"": most}, disks={"9" * 99 + ":0": {}}
    )
    told = document("c1", "web", Measured(measured().sample, used, most), None)
    assert told["cpu_stats"]["cpu_usage"]["usage_in_usermode"] == most
    assert told["blkio_stats"]["io_service_bytes_recursive"] is None
    assert msgspec.json.encode(told)


def test_a_sample_of_what_does_not_run() -> None:
    told = document("c1", "web", None, None)
    assert told["read"] == told["preread"] == "0001-01-01T00:00:00Z"
    assert told["memory_stats"] == told["pids_stats"] == {}
    assert "networks" not in told and "system_cpu_usage" not in told["cpu_stats"]


def test_stats_once_and_again(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "TICK_S", 0.01)
    monkeypatch.setattr(looked, "FRESH_S", 0.0)

    async def story(stage: Stage) -> None:
        await stage.container("web", start=True)
        got = await stage.client.ask("GET", "/containers/web/stats?stream=0")
        assert got.headers["content-type"] == "application/json"
        assert got.json["preread"] != "0001-01-01T00:00:00Z" and got.json["os_type"] == "linux"
        assert got.json["cpu_stats"]["cpu_usage"]["total_usage"] == 1_000_000
        assert got.json["cpu_stats"]["system_cpu_usage"] > got.json["precpu_stats"]["system_cpu_usage"] > 0
        got = await stage.client.ask("GET", "/v1.51/containers/web/stats?stream=0&one-shot=1")
        assert got.json["preread"] == "0001-01-01T00:00:00Z" and "os_type" not in got.json
        got = await stage.client.ask("GET", "/containers/web/stats?one-shot=1")
        assert got.status == 400
        stream = await stage.client.hijack("GET", "/containers/web/stats", headers={})
        assert "content-type" not in stream.headers
        seen: list[Any] = []
        while len(seen) < 3:
            line = await stream.reader.readline()
            if line.startswith(b"{"):
                seen.append(json.loads(line))
                if len(seen) == 2:
                    await stage.world.engine.containers.stop("web")
        assert seen[0]["preread"] == "0001-01-01T00:00:00Z" and seen[1]["preread"] == seen[0]["read"]
        await stage.world.engine.containers.remove("web", force=True)
        await stream.reader.readuntil(b"\r\n0\r\n\r\n")
        stream.writer.close()

    play(story, networks=False)


# ---------------------------------------------------------------------------------------------- top

STARTED = "2026-01-02T10:00:00.123456789Z"
TASK = Process(
    pid=1,
    ppid=0,
    uid=0,
    user="0",
    cpu_ns=61_000_000_000,
    rss_bytes=2048,
    started=STARTED,
    state="S",
    tty="pts/0",
    command="sh -c x",
    name="sh",
    threads=2,
    virtual_bytes=4096,
)
AROUND = ps.Around(datetime(2026, 1, 2, 11, 0, 1, tzinfo=UTC), 1 << 20)


@pytest.mark.parametrize(
    ("options", "titles", "row"),
    [
        ("-ef", "UID PID PPID C STIME TTY TIME CMD", "root 1 0 1 10:00 pts/0 00:01:01 sh_-c_x"),
        (
            "aux",
            "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
            "root 1 1.7 0.2 4 2 pts/0 Sl 10:00 1:01 sh_-c_x",
        ),
        ("-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND", None),
        ("-eo pid,comm", "PID COMMAND", "1 sh"),
        ("-o pid -o user=WHO", "PID WHO", "1 root"),
        ("axo pid,ppid,args", "PID PPID COMMAND", "1 0 sh_-c_x"),
        ("-eopid,uid,s,nlwp", "PID UID S NLWP", "1 0 S 2"),
        ("-o etime,etimes,time,tty,stat", "ELAPSED ELAPSED TIME TT STAT", "01:00:00 3600 00:01:01 pts/0 Sl"),
        ("-e", "PID TTY TIME CMD", "1 pts/0 00:01:01 sh"),
        ("ax", "PID TTY STAT TIME COMMAND", "1 pts/0 Sl 1:01 sh_-c_x"),
    ],
)
def test_ps(options: str, titles: str, row: str | None) -> None:
    shown, rows = ps.table([TASK], options, AROUND)
    assert shown == titles.split()
    if row is not None:
        assert rows == [[cell.replace("_", " ") for cell in row.split()]]


@pytest.mark.parametrize(
    "options", ["--forest", "-o", "-o ,", "-o nothing", "-l", "ef", "-ez", "'", "-o pid,wchan", "--sort=-pid"]
)
def test_what_ps_cannot_tell_from_outside(options: str) -> None:
    with pytest.raises(InvalidArgument, match="ps_args"):
        ps.table([TASK], options, AROUND)


async def test_top(docker: DockerClient) -> None:
    docker.engine.notes.stand_ins["containers.top"] = [TASK]
    async with docker.served():
        got = await docker.ask("GET", "/containers/web/top?ps_args=-o+pid,cmd")
        assert got.json == {"Titles": ["PID", "CMD"], "Processes": [["1", "sh -c x"]]}
        assert (await docker.ask("GET", "/containers/web/top")).json["Titles"][0] == "UID"
        assert (await docker.ask("GET", "/containers/web/top?ps_args=--forest")).status == 400
        assert (await docker.ask("GET", "/containers/none/top")).status == 404


# ---------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("mode", "there"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFDIR | 0o755, 2147484141),
        (stat.S_IFLNK | 0o777, 134218239),
        (stat.S_IFCHR | 0o600, 1 << 26 | 1 << 21 | 0o600),
        (stat.S_IFBLK | 0o600, 1 << 26 | 0o600),
        (stat.S_IFIFO, 1 << 25),
        (stat.S_IFSOCK, 1 << 24),
        (stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
        (stat.S_IFDIR | 0o3777, 1 << 31 | 1 << 22 | 1 << 20 | 0o777),
    ],
)
def test_modes_as_go_has_them(mode: int, there: int) -> None:
    assert file_mode(mode) == there


def told(headers: Any) -> Any:
    return json.loads(b64decode(headers["x-docker-container-path-stat"], validate=True))


async def test_archives(docker: DockerClient) -> None:
    web(docker).files["/etc/passwd"] = (FileFacts(0o640, 0, 0, 4), b"data")
    shown = {
        "name": "passwd",
        "size": 4,
        "mode": 0o640,
        "mtime": "1970-01-01T00:00:00.000000000Z",
        "linkTarget": "",
    }
    async with docker.served():
        for path in ("/etc/passwd", "etc/passwd"):
            got = await docker.ask("HEAD", f"/containers/web/archive?path={path}")
            assert (got.status, got.body, told(got.headers)) == (200, b"", shown)
        got = await docker.ask("GET", "/containers/web/archive?path=/etc/passwd")
        assert (got.headers["content-type"], got.body) == ("application/x-tar", b"data")
        assert told(got.headers) == shown
        got = await docker.ask("GET", "/containers/web/archive?path=/none")
        assert got.message == "Could not find the file /none in container web"
        for method in ("HEAD", "GET"):
            assert (await docker.ask(method, "/containers/web/archive?path=/none")).status == 404
            assert (await docker.ask(method, "/containers/web/archive")).status == 400
            assert (await docker.ask(method, "/containers/web/archive?path=a%00")).status == 400
        got = await docker.ask("PUT", "/containers/web/archive?path=/x&noOverwriteDirNonDir=true", b"tar")
        assert (got.status, got.body) == (200, b"")
        assert web(docker).files["/x"] == (FileFacts(0o755, 0, 0, 3), b"tar")
        await docker.ask("PUT", "/containers/web/archive?path=/x&copyUIDGID=true", b"tar")
        assert web(docker).files["/x"] == (FileFacts(0o755, 1, 1, 3), b"tar")
        docker.engine.notes.error = ReadOnly("it is mounted read-only")
        assert (await docker.ask("PUT", "/containers/web/archive?path=/x", b"tar")).status == 403


async def test_changes_and_export(docker: DockerClient) -> None:
    async with docker.served():
        got = await docker.ask("GET", "/containers/web/changes")
        assert got.json == [{"Path": "/etc/passwd", "Kind": 0}]
        got = await docker.ask("GET", "/containers/web/export")
        assert (got.headers["transfer-encoding"], got.body) == ("chunked", b"tar of a container")


def a_tar() -> bytes:
    with io.BytesIO() as made:
        with tarfile.open(fileobj=made, mode="w") as archive:
            info = tarfile.TarInfo("file")
            info.size = 300_000
            archive.addfile(info, io.BytesIO(bytes(300_000)))
        return made.getvalue()


@pytest.mark.parametrize("packed", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd.compress])
async def test_compressed_archives_become_plain(packed: Any) -> None:
    data = packed(a_tar())

    async def slowly() -> Any:
        for at in range(0, len(data), 1000) if len(data) < 100_000 else range(0, len(data), 65536):
            yield data[at : at + (1000 if len(data) < 100_000 else 65536)]

    assert b"".join([bytes(piece) async for piece in plain(slowly())]) == a_tar()


@pytest.mark.parametrize("data", [b"", b"x", b"\x1f", b"BZ"])
async def test_what_is_short_is_left_as_it_is(data: bytes) -> None:
    assert b"".join([bytes(piece) async for piece in plain(pieces_of(data))]) == data


async def test_a_damaged_archive() -> None:
    packed = gzip.compress(a_tar())
    for data in (packed[:100], packed[:50] + b"no" + packed[52:], b"BZh9nothing"):
        with pytest.raises(InvalidArgument, match="damaged"):
            async for _ in plain(pieces_of(data)):
                pass


async def test_who_leaves_a_compressed_archive_leaves_no_thread_at_work() -> None:
    pieces = plain(pieces_of(gzip.compress(bytes(50 << 20))))
    assert await anext(pieces)
    await pieces.aclose()
    while len(asyncio.all_tasks()) > 1:  # the thread's, until it has seen that nobody reads
        await asyncio.sleep(0)
