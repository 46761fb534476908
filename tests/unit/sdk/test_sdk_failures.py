"""hyperd's errors as those of the tree, and answers that are none."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

import hypercontainer
from fake_hyperd import FakeHyperd, Peer, Request, chunk, control, frame
from hypercontainer import AsyncClient, Client, errors
from hypercontainer.client.api import RemoteError
from hypercontainer.client.http import BrokenAnswer
from hypercontainer.contract import answers
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.sdk.failures import wire_error
from hypercontainer.sdk.transport import Api

OK = b"HTTP/1.1 200 OK\r\n"


def every_kind() -> list[type[errors.HyperError]]:
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    return [kind for kind in kinds if issubclass(kind, errors.HyperError)]


@pytest.mark.parametrize("kind", every_kind())
def test_a_code_is_its_class(kind: type[errors.HyperError]) -> None:
    error = wire_error({"code": kind.code, "message": "what, why", "hint": "do this"})
    told = next(
        each for each in kind.mro() if "code" in vars(each)
    )  # one without a code is told as its parent
    assert isinstance(error, RemoteError if kind is errors.HyperError else told)
    assert (error.message, error.hint) == ("what, why", "do this")
    assert str(error) == "what, why (do this)"


def test_errors_carry_their_data() -> None:
    details = {"command": ["qemu"], "exit_code": 1, "stderr": "no", "console": "panic"}
    launch = wire_error({"code": "launch", "message": "m", "details": details})
    assert isinstance(launch, errors.LaunchError)
    assert (launch.command, launch.exit_code, launch.stderr) == (("qemu",), 1, "no")
    remedies = [{"call": "containers.remove", "of": "web", "aim": "first", "options": {"force": True}}]
    conflict = wire_error({"code": "conflict", "message": "m", "details": {"remedies": remedies}})
    assert str(conflict) == "m (hyper.containers.get('web').remove(force=True))"
    layer = wire_error({"code": "layer", "message": "layer x: m", "details": {"layer": "x", "entry": "e"}})
    assert isinstance(layer, errors.LayerError)
    assert (layer.message, layer.layer, layer.entry) == ("layer x: m", "x", "e")
    guest = wire_error({"code": "guest", "message": "m"})
    assert isinstance(guest, errors.GuestError)
    assert (guest.errno, guest.operation) == (0, "")


def test_what_is_wrong_and_what_helps_come_back() -> None:
    details = {
        "field": "cpus",
        "remedies": [{"call": "containers.start", "of": "web", "aim": "", "options": {}}],
    }
    error = wire_error(
        {
            "code": "invalid_argument",
            "message": "cpus: too many",
            "hint": "POST /v1/containers/web/start",
            "details": details,
        }
    )
    assert isinstance(error, errors.InvalidArgument)
    assert (error.field, error.why, error.hint) == ("cpus", "too many", "hyper.containers.get('web').start()")
    assert [(remedy.call, remedy.of) for remedy in error.remedies] == [("containers.start", "web")]
    assert str(error) == "cpus: too many (hyper.containers.get('web').start())"


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"message": 3}, {"code": "new", "message": "m"}])
def test_an_error_of_no_known_kind_is_a_hyper_error(answer: object) -> None:
    assert isinstance(wire_error(answer), errors.HyperError)


def test_an_error_status_is_raised(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.fail("GET", "/v1/containers/web", 404, code="not_found", message="no container web", hint="ps -a")
    with pytest.raises(hypercontainer.NotFound, match="no container web"):
        client.containers.get("web")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "before it answered|broken"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "broken"),
        (OK + b"Content-Length: 10\r\n\r\n{}", "broken"),
        (OK + b"Content-Length: 2\r\n\r\n{]", "not what it must be"),
        (OK + b"Content-Length: 4\r\n\r\nnull", "not what it must be"),
        (OK + b'Content-Length: 11\r\n\r\n{"kernels":3', "not what it must be"),
        (OK + b"X: " + b"y" * 500_000 + b"\r\n\r\n", "broken"),
        (b"HTTP/1.1 502 X\r\nContent-Length: 6\r\n\r\n<html>", "HTTP status 502"),
    ],
)
def test_what_is_no_answer(hyperd: FakeHyperd, client: Client, answer: bytes, message: str) -> None:
    says(hyperd, "GET", "/v1/kernels", answer)
    with pytest.raises(BrokenAnswer, match=message):
        client.kernels()


@pytest.mark.parametrize(
    "lines", [b"", chunk(b"[]\n"), chunk(b"{\n"), chunk(b'{"result": 3}\n'), chunk(b"x" * 5_000_000)]
)
def test_an_operation_without_a_good_result(hyperd: FakeHyperd, client: Client, lines: bytes) -> None:
    answer = OK + b"Transfer-Encoding: chunked\r\n\r\n" + lines + b"0\r\n\r\n"
    says(hyperd, "POST", "/v1/images/pull", answer)
    with pytest.raises(BrokenAnswer):
        client.images.pull("an-image")


def test_an_error_among_lines_is_raised(hyperd: FakeHyperd, client: Client) -> None:
    event = {"time": "t", "type": "image", "action": "pull", "id": "x"}
    hyperd.lines("GET", "/v1/events", event, {"error": {"code": "unavailable", "message": "full"}})
    events = client.events()
    assert next(events).action == "pull"
    with pytest.raises(hypercontainer.Unavailable, match="full"):
        next(events)


@pytest.mark.parametrize(
    "logs",
    [
        frame(1, b"abc")[:-1],
        b"\x09" + bytes(7),
        frame(1, b"x") + control(error={"code": "agent", "message": "m"}),
    ],
)
def test_logs_that_end_badly(hyperd: FakeHyperd, client: Client, logs: bytes) -> None:
    hyperd.answer("GET", "/v1/containers/web", inspect_answer())
    hyperd.raw(
        "GET",
        "/v1/containers/abc/logs",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(logs) + b"0\r\n\r\n",
    )
    with pytest.raises(hypercontainer.HyperError):
        list(client.containers.get("web").logs())


def test_nobody_listens(tmp_path: Path) -> None:
    client = Client(f"unix://{tmp_path}/none.sock", start=False)
    with client, pytest.raises(hypercontainer.Unavailable, match="nobody listens"):
        client.version()


def test_hyperd_is_started_once_for_each_time_that_it_is_missing(tmp_path: Path) -> None:
    started = []

    async def start() -> None:
        started.append(1)

    async def ask() -> None:
        api = Api(f"{tmp_path}/none.sock", start=start)
        for _ in range(2):
            with pytest.raises(hypercontainer.Unavailable, match="nobody listens"):
                await api.call("system.version", dict[str, str])

    asyncio.run(ask())
    assert len(started) == 2


def test_hyperd_is_not_started_where_the_program_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("HYPER_RUN", str(tmp_path / "run"))
    with (
        Client(f"unix://{tmp_path}/none.sock") as client,
        pytest.raises(hypercontainer.Unavailable, match=f"nobody listens at {tmp_path}/none.sock"),
    ):
        client.version()
    assert not (tmp_path / "run").exists()


def test_why_hyperd_did_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[nonsense\n")
    monkeypatch.setenv("HYPER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("HYPER_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    with Client(f"unix://{tmp_path}/run/hyper.sock") as client:  # the usual one
        monkeypatch.setenv("HYPER_CONFIG", str(file))
        with pytest.raises(hypercontainer.Unavailable, match=r"nonsense|config"):
            client.version()


def test_a_silent_hyperd_is_not_waited_for_without_end(hyperd: FakeHyperd) -> None:
    hyperd.on("GET", "/v1/version", lambda peer, _request: expect_end(peer))

    async def ask() -> None:
        api = Api(hyperd.path)
        with pytest.raises(hypercontainer.Unavailable, match=r"did not answer system\.version in time"):
            await api.call("system.version", dict[str, str], timeout_s=0.05)

    asyncio.run(ask())


def test_a_closed_client_says_so(hyperd: FakeHyperd) -> None:
    async def ask() -> None:
        async with AsyncClient(f"unix://{hyperd.path}", start=False) as client:
            pass
        with pytest.raises(hypercontainer.InvalidArgument, match="has been closed"):
            await client.version()

    asyncio.run(ask())


def test_a_blocking_call_from_a_callback_is_refused(hyperd: FakeHyperd, client: Client) -> None:
    progress = {"layer": "a", "status": "done", "current": 1, "total": 1}
    hyperd.lines("POST", "/v1/images/pull", {"progress": progress}, {"result": {}})

    def asks(_: object) -> None:
        client.version()

    with pytest.raises(hypercontainer.InvalidArgument, match="within a callback"):
        client.images.pull("an-image", progress=asks)


def says(hyperd: FakeHyperd, method: str, path: str, data: bytes) -> None:
    """``data``, of which the client need not read more than it takes to refuse it."""

    def script(peer: Peer, _request: Request) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.send(data)

    hyperd.on(method, path, script)


def expect_end(peer: Peer) -> None:
    assert peer.at_end()


def inspect_answer() -> dict[str, Any]:
    """The least that is a whole answer."""
    effective = answers.Effective(
        env=(), entrypoint=(), command=(), user="", working_dir="", stop_signal="", hostname=""
    )
    found = answers.Inspect(
        id="abc",
        name="web",
        state="running",
        exit_status=0,
        spec=ContainerSpec("x"),
        config=effective,
        pid=0,
        error="",
        oom_killed=False,
        restart_count=0,
        vm=answers.Machine(),
        network=answers.NetworkState(),
        log_path="",
        image="",
        image_id="",
        command="",
        created="",
        started="",
        finished="",
        status="",
    )
    made: dict[str, Any] = msgspec.to_builtins(found)
    return made
