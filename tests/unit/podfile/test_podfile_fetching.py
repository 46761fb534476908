"""The real fetch, against files and a server of the test's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hypercontainer.errors import InvalidArgument, NotFound, Unavailable
from hypercontainer.podfile.fetching import Fetcher, FetchPolicy

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()


def send(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


# ---------------------------------------------------------------------------------------------------- files


def test_a_file_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "with space"
    path.write_bytes(b"\0content")
    for uri in (path.as_uri(), f"file://localhost{path}", f"file:{path}"):
        assert Fetcher()(uri) == b"\0content"


def test_files_that_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"12345")
    fetch = Fetcher(FetchPolicy(max_bytes=4))
    with pytest.raises(NotFound, match="no such file"):
        fetch(f"file://{tmp_path}/none")
    for name, text in (
        ("pipe", "no regular file"),
        ("", "irectory|no regular file"),
        ("large", "more than 4 bytes"),
    ):
        with pytest.raises(InvalidArgument, match=text):
            fetch(f"file://{tmp_path}/{name}")
    for uri in ("file:///dev/zero", "file://elsewhere/etc/passwd", "file:relative", "file:///a%00b"):
        with pytest.raises(InvalidArgument):
            fetch(uri)


def test_a_policy_forbids(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="files of this machine are not read here"):
        Fetcher(FetchPolicy(files=False))(f"file://{tmp_path}/f")
    with pytest.raises(InvalidArgument, match="no address is fetched here"):
        Fetcher(FetchPolicy(http=False))("http://127.0.0.1:1/")


@pytest.mark.parametrize(
    "uri", ["", "/etc/passwd", "ftp://h/x", "gopher://h", "http://", "http://u:secret@h/x", "http://[x"]
)
def test_what_is_no_uri_to_fetch(uri: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Fetcher()(uri)
    assert "secret" not in str(caught.value)


# -------------------------------------------------------------------------------------------------- servers


def test_content_with_and_without_a_length() -> None:
    def chunked(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    with server(send(200, b"x" * 200_000)) as address:
        assert Fetcher()(f"{address}/f") == b"x" * 200_000
    with server(chunked) as address:
        assert Fetcher()(f"{address}/f") == b"abcde"


def test_a_redirect_is_followed_within_http_alone(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"private")

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/end":
            send(200, b"found")(request)
        else:
            send(
                302, Location={"/start": "/end", "/loop": "/loop"}.get(request.path, f"file://{tmp_path}/f")
            )(request)

    with server(answer) as address:
        assert Fetcher()(f"{address}/start") == b"found"
        with pytest.raises(Unavailable, match="more than 5 redirects"):
            Fetcher()(f"{address}/loop")
        with pytest.raises(Unavailable, match="which is not followed"):
            Fetcher()(f"{address}/file")


def test_answers_that_are_no_content() -> None:
    with server(send(404)) as address, pytest.raises(NotFound, match="the server answers 404"):
        Fetcher()(address)
    with server(send(500)) as address, pytest.raises(Unavailable, match="the server answers 500"):
        Fetcher()(address)
    with server(send(200, b"12345")) as address, pytest.raises(InvalidArgument, match="more than 4 bytes"):
        Fetcher(FetchPolicy(max_bytes=4))(address)
    with pytest.raises(Unavailable):
        Fetcher()(address)  # nobody listens any more


def test_content_that_breaks_off_is_not_taken_for_all_of_it() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        send(200, b"abc", **{"Content-Length": "100"})(request)
        request.close_connection = True

    with server(answer) as address, pytest.raises(Unavailable):
        Fetcher()(address)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_server_that_drips_is_given_up(head: bytes) -> None:
    enough = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.wfile.write(head)
        try:
            while not enough.wait(0.02):
                request.wfile.write(b"x")
        except OSError:
            pass

    with server(answer) as address:
        with pytest.raises(Unavailable, match="did not arrive in time"):
            Fetcher(FetchPolicy(timeout_s=0.3))(f"{address}/f")
        enough.set()
