"""What is not a good request, and clients that come and go: HTTP, errors, deadlines, bounds."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from hypercontainer import errors as e
from hypercontainer.engine import crowd
from hypercontainer.linux import memory
from hypercontainer.surfaces.http import admission
from hypercontainer.surfaces.http.connection import Connection, Limits

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serving

PING = b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"

ERRORS: list[tuple[Exception, int, str, dict[str, Any]]] = [
    (e.InvalidArgument("m", hint="h"), 400, "invalid_argument", {}),
    (e.NotFound("m", hint="h"), 404, "not_found", {}),
    (e.Conflict("m", hint="h"), 409, "conflict", {}),
    (e.NotSupported("m", hint="h"), 501, "not_supported", {}),
    (e.Unavailable("m", hint="h"), 503, "unavailable", {}),
    (e.ImageError("m", hint="h"), 422, "image", {}),
    (
        e.RegistryError("m", http_status=500, url="u", hint="h"),
        502,
        "registry",
        {"http_status": 500, "url": "u"},
    ),
    (e.Unauthorized("m", hint="h"), 401, "unauthorized", {}),
    (
        e.LaunchError("m", command=["qemu"], exit_code=1, stderr="e", console="c", hint="h"),
        500,
        "launch",
        {"command": ["qemu"], "exit_code": 1, "stderr": "e", "console": "c"},
    ),
    (e.AgentTimeout("m", hint="h"), 504, "agent_timeout", {}),
]


@pytest.mark.parametrize(("error", "status", "code", "details"), ERRORS, ids=lambda value: None)
async def test_error(error: Exception, status: int, code: str, details: Any, serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.error = error
        answer = await harness.call("POST", "/v1/containers/web/start")
        assert answer == (
            status,
            {"error": {"code": code, "message": "m", "hint": "h", "details": details}},
        )


async def test_errors_that_carry_their_own_message(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.error = e.LayerError("a bomb", layer="sha256:1", entry="x")
        _, answer = await harness.call("GET", "/v1/images")
        assert answer["error"]["details"] == {"layer": "sha256:1", "entry": "x"}
        harness.notes.error = e.DigestMismatch("blob", expected="a", actual="b")
        status, answer = await harness.call("GET", "/v1/images")
        assert (status, answer["error"]["details"]) == (422, {"expected": "a", "actual": "b"})


async def test_what_helps_is_said_as_calls_of_this_api(serving: Serving) -> None:
    start, remove = e.Remedy("containers.start", "a b"), e.Remedy("pods.remove", options={"force": True})
    async with serving() as harness:
        harness.notes.error = e.Conflict("it does not run", remedies=(start, remove))
        _, answer = await harness.call("POST", "/v1/containers/web/kill")
        assert answer["error"]["hint"] == "POST /v1/containers/a%20b/start or DELETE /v1/pods/ID?force=true"
        assert answer["error"]["details"]["remedies"] == [
            {"call": "containers.start", "of": "a b", "aim": "", "options": {}},
            {"call": "pods.remove", "of": "", "aim": "", "options": {"force": True}},
        ]
        harness.notes.error = e.InvalidArgument(
            "no signal", field="signal", takes="a name", remedies=(start,)
        )
        _, answer = await harness.call("POST", "/v1/containers/web/kill")
        assert (answer["error"]["message"], answer["error"]["hint"]) == ("signal: no signal", "a name")
        assert answer["error"]["details"]["field"] == "signal"


@pytest.mark.parametrize(("errno", "exit_status"), [(2, 127), (20, 127), (13, 126), (8, 126), (0, 126)])
async def test_a_program_that_cannot_be_executed(errno: int, exit_status: int, serving: Serving) -> None:
    async with serving() as harness:
        _, made = await harness.call("POST", "/v1/containers/web/exec", {"command": ["no"]})
        harness.notes.error = e.GuestError("exec: no", errno=errno, operation="process start")
        upgrade = {"Connection": "Upgrade", "Upgrade": "hyper-stream"}
        status, answer = await harness.call("POST", f"/v1/execs/{made['id']}/start", headers=upgrade)
        assert (status, answer["error"]["code"]) == (422, "guest")
        assert answer["error"]["details"]["exit_status"] == exit_status
        harness.notes.error = e.GuestError("/etc: no", errno=errno, operation="container create")
        status, answer = await harness.call("POST", "/v1/containers/web/start")
        assert status == 500
        assert "exit_status" not in answer["error"]["details"]  # the program has not failed: hyper has


async def test_a_defect_is_logged_and_not_told(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as harness:
        harness.notes.error = KeyError("secret detail")
        with caplog.at_level(logging.ERROR):
            status, answer = await harness.call("GET", "/v1/info")
        assert status == 500
        assert "secret detail" not in json.dumps(answer)
        identifier = answer["error"]["message"].split()[2].rstrip(":")
        assert identifier in caplog.text
        assert "secret detail" in caplog.text
        harness.notes.error = FileNotFoundError(2, "not there")  # not to be taken for the client's leaving
        assert (await harness.call("GET", "/v1/info"))[0] == 500
        harness.notes.error = None
        assert (await harness.call("GET", "/v1/info"))[0] == 200


@pytest.fixture
def as_users(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the connections, in their order; the last is everybody's after it."""
    users = [0]
    given: dict[Connection, int] = {}

    def peer_uid(connection: Connection) -> int:
        if connection not in given:
            given[connection] = users.pop(0) if len(users) > 1 else users[0]
        return given[connection]

    monkeypatch.setattr(Connection, "peer_uid", peer_uid)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return users


async def at_work(harness: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    harness.notes.hold.add("containers.wait")
    reader, writer = await harness.connect()
    writer.write(b"GET /v1/containers/web/wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await harness.notes.entered.wait()
    harness.notes.entered.clear()
    return reader, writer


async def answered(harness: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One that is idle now."""
    reader, writer = await harness.connect()
    writer.write(PING)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    return reader, writer


async def test_more_clients_than_are_taken(serving: Serving, as_users: list[int]) -> None:
    async with serving(connections=2) as harness:
        working = [await at_work(harness) for _ in range(2)]
        assert (await harness.raw(PING)).startswith(b"HTTP/1.1 503 ")
        for _, writer in working:
            writer.close()


async def test_those_that_are_idle_make_room_the_oldest_first(serving: Serving, as_users: list[int]) -> None:
    async with serving(connections=4) as harness:
        working = await at_work(harness)
        idle = [await answered(harness) for _ in range(8)]
        assert (await harness.call("GET", "/v1/ping"))[0] == 200
        for reader, _ in idle[:4]:
            await reader.read()  # its end
        writer = idle[-1][1]
        writer.write(PING)
        await idle[-1][0].readuntil(b"HTTP/1.1 200 OK")
        for _, writer in (working, *idle):
            writer.close()


async def test_who_holds_all_that_is_theirs_takes_nothing_from_others(
    serving: Serving, as_users: list[int]
) -> None:
    as_users[:] = [1000] * 8 + [1001, 0, 1000]
    async with serving(connections=32) as harness:  # of which one user that is not root may hold 7
        working = [await at_work(harness) for _ in range(7)]
        assert (await harness.raw(PING)).startswith(b"HTTP/1.1 503 ")  # the eighth of this one
        for _ in range(2):
            assert (await harness.call("GET", "/v1/ping"))[0] == 200
        working.pop()[1].close()
        await harness.notes.cancelled.wait()
        assert (await harness.call("GET", "/v1/ping"))[0] == 200
        for _, writer in working:
            writer.close()


async def test_many_that_hold_all_together_leave_some_to_the_servers_own_user(
    serving: Serving, as_users: list[int]
) -> None:
    as_users[:] = [*(uid for uid in range(1000, 1005) for _ in range(6)), 1006, 0]
    async with serving(connections=32) as harness:
        working = [await at_work(harness) for _ in range(30)]
        assert (await harness.raw(PING)).startswith(b"HTTP/1.1 503 ")
        assert (await harness.call("GET", "/v1/ping"))[0] == 200
        for _, writer in working:
            writer.close()


async def test_the_memory_of_a_crowd_goes_back(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    given = asyncio.Event()
    monkeypatch.setattr(memory, "give_back", given.set)
    async with serving() as harness:
        clients = [await harness.connect() for _ in range(crowd.MANY)]
        await harness.call("GET", "/v1/version")  # all that came before have been taken
        for _, writer in clients:
            writer.close()
        await given.wait()


async def test_unfinished_bodies_are_bounded(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, as_users: list[int]
) -> None:
    monkeypatch.setattr(
        admission, "BODIES_BYTES", 64_000
    )  # of which one user that is not root may hold 15,000
    as_users[:] = [1000, 1000, 1001, 0, 1000]
    head = b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    async with serving() as harness:
        reader, writer = await harness.connect()
        writer.write(head % 14_000 + b" " * 13_999)
        while not harness.server._admission._bodies:
            await asyncio.sleep(0)
        assert (await harness.raw(head % 4000 + b" " * 3999)).startswith(b"HTTP/1.1 503 ")
        body = b'{"image": "busybox"}'
        for _ in range(2):
            assert (await harness.call("POST", "/v1/containers", body + b" " * 5000))[0] == 201
        writer.write(b" ")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")  # all blanks, but whole
        writer.close()
        assert (await harness.call("POST", "/v1/containers", body + b" " * 5000))[0] == 201
        assert harness.server._admission._bodies == {}


async def test_a_connection_serves_many_requests_also_sent_ahead(serving: Serving) -> None:
    async with serving() as harness:
        last = PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        refused = b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        reply = await harness.raw(PING + refused + PING + last)
        assert reply.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert reply.count(b"HTTP/1.1 404 Not Found\r\n") == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/1.1\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (
            b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /v1/ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 200_000, 431),
    ],
    ids=lambda value: None,
)
async def test_malformed(data: bytes, status: int, serving: Serving) -> None:
    async with serving() as harness:
        reply = await harness.raw(data)
        assert reply.startswith(f"HTTP/1.1 {status} ".encode()), reply[:200]
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_argument"
        assert b"connection: close" in reply.lower()
        assert (await harness.call("GET", "/v1/ping"))[0] == 200


async def test_a_body_beyond_the_bound_is_refused_while_it_comes(serving: Serving) -> None:
    limit = Limits().body_bytes
    async with serving() as harness:
        head = b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        reply = await harness.raw(head % (limit * 2) + b" " * (limit + 1))
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert str(limit).encode() in reply


async def test_chunked_body_and_continue(serving: Serving) -> None:
    async with serving() as harness:
        reader, writer = await harness.connect()
        writer.write(
            b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        body = b'{"image": "busybox"}'
        for byte in body:
            writer.write(b"1\r\n" + bytes([byte]) + b"\r\n")
        writer.write(b"0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 201 Created\r\n")
        writer.close()


async def test_no_continue_for_what_is_refused_anyway(serving: Serving) -> None:
    async with serving() as harness:
        reply = await harness.raw(
            b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
            end=True,
        )
        assert reply.startswith(b"HTTP/1.1 404 ")


async def test_a_slow_head_has_a_deadline(serving: Serving) -> None:
    async with serving(head_s=0.1) as harness:
        reader, writer = await harness.connect()
        writer.write(b"GET /v1/ping HTTP/1.1\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_slow_body_has_a_deadline(serving: Serving) -> None:
    async with serving(body_s=0.1) as harness:
        reader, writer = await harness.connect()
        writer.write(b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_client_that_says_nothing_is_let_go(serving: Serving) -> None:
    async with serving(idle_s=0.1) as harness:
        reader, writer = await harness.connect()
        writer.write(PING)
        reply = await reader.read()
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert reply.count(b"HTTP/1.1") == 1
        writer.close()


@pytest.mark.parametrize(
    ("target", "name"),
    [("GET /v1/containers/web/wait", "containers.wait"), ("POST /v1/containers/web/stop", "containers.stop")],
)
async def test_a_client_that_leaves_cancels_what_it_waits_for(
    target: str, name: str, serving: Serving
) -> None:
    async with serving() as harness:
        harness.notes.hold.add(name)
        _, writer = await harness.connect()
        writer.write(f"{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await harness.notes.entered.wait()
        writer.close()
        await harness.notes.cancelled.wait()


async def test_a_client_that_leaves_an_upgrade_cancels_it(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.hold.add("containers.attach")
        _, writer = await harness.connect()
        writer.write(
            b"POST /v1/containers/web/attach HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
            b"Upgrade: hyper-stream\r\nContent-Length: 0\r\n\r\n"
        )
        await harness.notes.entered.wait()
        writer.close()
        await harness.notes.cancelled.wait()


async def test_a_client_that_breaks_off_in_its_body(serving: Serving) -> None:
    async with serving() as harness:
        reply = await harness.raw(
            b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{", end=True
        )
        assert reply == b""
        assert not harness.notes.calls


async def test_a_wrong_upgrade(serving: Serving) -> None:
    async with serving() as harness:
        for headers in ({"Connection": "Upgrade", "Upgrade": "websocket"}, {"Upgrade": "hyper-stream"}):
            status, answer = await harness.call("POST", "/v1/run", {"image": "a"}, headers)
            assert (status, answer["error"]["code"]) == (400, "invalid_argument")


async def test_an_upgrade_that_a_call_does_not_know_is_no_matter(serving: Serving) -> None:
    async with serving() as harness:
        headers = {"Connection": "Upgrade, close", "Upgrade": "h2c"}
        assert (await harness.call("GET", "/v1/ping", headers=headers))[0] == 200


async def test_close_lets_a_request_end_and_idle_clients_go(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.hold.add("containers.wait")
        reader, writer = await harness.connect()
        idle_reader, idle_writer = await harness.connect()
        idle_writer.write(PING)
        assert await idle_reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /v1/containers/web/wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await harness.notes.entered.wait()
        async with asyncio.timeout(1):
            await harness.server.close(deadline_s=0.05)
        assert harness.notes.cancelled.is_set()
        assert await reader.read() == b""
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            await harness.connect()
        writer.close()
        idle_writer.close()


async def test_what_is_refused_to_head_has_no_body(serving: Serving) -> None:
    async with serving() as harness:
        refused = b"HEAD /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        last = PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        first, _, rest = (await harness.raw(refused + last)).partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 404 ")
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")  # the connection is as good as before
