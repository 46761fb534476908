"""The HTTP client against servers that are odd, slow, or hostile."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_hyperd import FakeHyperd, Peer, Request, chunk
from hypercontainer.client.api import Client, RemoteError
from hypercontainer.client.http import MAX_HEAD_BYTES, BrokenAnswer, Response, quote, target
from hypercontainer.contract.routes import routes
from hypercontainer.errors import Unavailable

OK = b"HTTP/1.1 200 OK\r\n"


def response_of(data: bytes, *, step: int = 1 << 20) -> Response:
    """The response to exactly ``data``, in pieces of ``step`` bytes, with the connection closed behind it."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            for at in range(0, len(data), step):
                try:
                    theirs.sendall(data[at : at + step])
                except OSError:
                    return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    ours.settimeout(10)
    try:
        return Response(ours)
    except BaseException:
        ours.close()
        raise


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"content-LENGTH:5\r\n\r\nhello and more", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            b"abc0123456789",
        ),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n", b"a"),
        (OK + b"\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", b"x"),
    ],
)
def test_bodies_in_any_pieces(data: bytes, body: bytes, step: int) -> None:
    response = response_of(data, step=step)
    assert response.read(1000) == body
    response.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"X: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n",
        OK + b"X: y\r\n" * 30000,
    ],
)
def test_heads_that_are_none(data: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        response_of(data)


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 5\r\n\r\nhell",
        OK + b"Content-Length: -5\r\n\r\nhello",
        OK + b"Content-Length: 99999999999999999999\r\n\r\nhello",
        OK + b"Content-Length: 0x5\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 200000,
        OK + b"Content-Length: 2000\r\n\r\n" + b"x" * 2000,
    ],
)
def test_bodies_that_are_wrong(data: bytes) -> None:
    response = response_of(data)
    with pytest.raises(BrokenAnswer):
        response.read(1000)
    response.close()


def test_lines_are_cut_where_they_end() -> None:
    body = chunk(b'{"a":1}\n{"b"') + chunk(b":2}\n") + chunk(b"\n") + chunk(b'"last"') + b"0\r\n\r\n"
    response = response_of(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert list(response.lines()) == [b'{"a":1}', b'{"b":2}', b'"last"']
    response.close()


def test_an_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercontainer.client.http.MAX_LINE_BYTES", 1000)
    response = response_of(OK + b"\r\n" + b"x" * 300_000)
    with pytest.raises(BrokenAnswer, match="line longer"):
        list(response.lines())
    response.close()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_quoted_text_comes_back(text: str) -> None:
    from urllib.parse import unquote

    assert unquote(quote(text)) == text
    assert quote(text).isascii()


def test_target_leaves_out_what_is_not_said() -> None:
    query = {"a": True, "b": False, "c": None, "d": "", "ref": ["x/y", "z"], "n": 0}
    assert target("/v1", query) == "/v1?a=true&b=false&ref=x%2Fy&ref=z&n=0"
    assert target("/v1", {}) == "/v1"


def test_a_call_sends_json_and_gives_json(hyperd: FakeHyperd) -> None:
    hyperd.answer("POST", "/v1/images/tag", {"done": "é"})
    assert Client(hyperd.path).act("images.tag", body={"source": "ü"}) == {"done": "é"}
    asked = hyperd.asked("POST", "/v1/images/tag")
    assert asked.json == {"source": "ü"}
    assert asked.headers["connection"] == "close"


def test_an_error_carries_what_hyperd_said(hyperd: FakeHyperd) -> None:
    hyperd.fail(
        "GET", "/v1/info", 422, code="layer", message="bad", hint="mend it", details={"layer": "sha256:1"}
    )
    with pytest.raises(RemoteError) as caught:
        Client(hyperd.path).call("system.info")
    assert (caught.value.code, caught.value.message, caught.value.hint) == ("layer", "bad", "mend it")
    assert caught.value.details == {"layer": "sha256:1"}


def test_remedies_come_back_and_their_words_for_the_wire_do_not(hyperd: FakeHyperd) -> None:
    remedy = {"call": "containers.start", "of": "a b", "aim": "", "options": {"n": 1}}
    unknown = {"call": "containers.bury", "of": "web"}
    error = {"code": "conflict", "message": "it does not run"}
    hyperd.fail(
        "GET",
        "/v1/info",
        409,
        **error,
        hint="POST /v1/containers/a%20b/start?n=1",
        details={"remedies": [remedy]},
    )
    hyperd.fail("GET", "/v1/info", 409, **error, hint="wait", details={"remedies": [unknown, remedy, 3]})
    for hint in (None, "wait"):
        with pytest.raises(RemoteError) as caught:
            Client(hyperd.path).call("system.info")
        assert caught.value.hint == hint
        (found,) = caught.value.remedies
        assert (found.call, found.of, found.options) == ("containers.start", "a b", {"n": 1})


def test_every_call_goes_to_its_route(hyperd: FakeHyperd) -> None:
    """Whatever stands for its ID."""
    for route in routes():
        path = route.path.replace("ID", "%2Fa%20b")
        hyperd.answer(route.method, path, {})
        Client(hyperd.path).call(route.name, "/a b")
        assert (hyperd.requests[-1].method, hyperd.requests[-1].path) == (route.method, path)


@pytest.mark.parametrize("body", [b"", b"oops", b"[]", b'{"error": 3}', b'{"error": {"code": 1}}', b"\xff"])
def test_an_error_without_the_right_body_is_still_one(hyperd: FakeHyperd, body: bytes) -> None:
    hyperd.raw("GET", "/v1/info", b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    with pytest.raises(RemoteError):
        Client(hyperd.path).call("system.info")


def test_json_that_is_none(hyperd: FakeHyperd) -> None:
    hyperd.raw("GET", "/v1/info", OK + b"Content-Length: 5\r\n\r\n{{{{{")
    with pytest.raises(BrokenAnswer, match="JSON"):
        Client(hyperd.path).call("system.info")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        Client(str(tmp_path / "none")).call("system.info")
    assert caught.value.hint == "hyper system start"


def test_hyperd_is_started_once(tmp_path: Path) -> None:
    started = []
    client = Client(str(tmp_path / "none"), start=lambda: started.append(1))
    with pytest.raises(Unavailable):
        client.call("system.info")
    assert started == [1]


def test_a_silent_hyperd_ends_in_an_error(hyperd: FakeHyperd) -> None:
    wait = threading.Event()
    hyperd.on("GET", "/v1/info", lambda _peer, _request: bool(wait.wait(20)))  # type: ignore[arg-type]
    begin = time.monotonic()
    with pytest.raises(Unavailable, match="in time"):
        Client(hyperd.path).call("system.info", timeout_s=0.05)
    assert time.monotonic() - begin < 5
    wait.set()


def test_an_upload_runs_beside_its_answer(hyperd: FakeHyperd) -> None:
    """Lines of progress arrive while the body is still being sent."""
    seen = threading.Event()

    def send(sock: object) -> None:
        sock.sendall(chunk(b"first"))  # type: ignore[attr-defined]
        assert seen.wait(10)
        sock.sendall(chunk(b"second") + b"0\r\n\r\n")  # type: ignore[attr-defined]

    got = []

    def serve(sock: socket.socket) -> None:
        with sock:
            peer = Peer(sock)
            while peer.line():
                pass
            assert peer.read(int(peer.line(), 16)) == b"first"
            peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b'{"message":"got it"}\n'))
            peer.read(2)
            got.append(peer.read(int(peer.line(), 16)))
            peer.send(chunk(b'{"result":1}\n') + b"0\r\n\r\n")

    hyperd.serve = serve  # type: ignore[method-assign]
    lines = Client(hyperd.path).lines("images.load", upload=send)
    assert next(lines) == {"message": "got it"}
    seen.set()
    assert list(lines) == [{"result": 1}]
    assert got == [b"second"]


def test_an_error_before_the_body_has_been_read(hyperd: FakeHyperd) -> None:
    """hyperd refuses and closes; the unfinished upload is no error of its own."""

    def serve(sock: socket.socket) -> None:
        with sock:
            peer = Peer(sock)
            while peer.line():
                pass
            body = b'{"error":{"code":"conflict","message":"no room"}}'
            peer.send(b"HTTP/1.1 409 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def send(sock: object) -> None:
        try:
            while True:
                sock.sendall(chunk(b"x" * 65536))  # type: ignore[attr-defined]
        except OSError:
            pass

    hyperd.serve = serve  # type: ignore[method-assign]
    with pytest.raises(RemoteError, match="no room"):
        list(Client(hyperd.path).lines("images.load", upload=send))


def test_an_upgrade_gives_the_first_bytes_too(hyperd: FakeHyperd) -> None:
    head = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: hyper-stream\r\n\r\n"

    def script(peer: Peer, _request: Request) -> None:
        peer.send(head + b"frames")
        assert peer.read(4) == b"back"

    hyperd.on("POST", "/v1/run", script)
    sock, first = Client(hyperd.path).upgrade("containers.run", body={"image": "x"})
    assert first == b"frames"
    sock.sendall(b"back")
    sock.close()


def test_an_upgrade_that_is_refused(hyperd: FakeHyperd) -> None:
    hyperd.answer("POST", "/v1/run", {"not": "a stream"})
    with pytest.raises(BrokenAnswer, match="in place of a stream"):
        Client(hyperd.path).upgrade("containers.run")
