"""TCP, HTTP and HTTPS checks, against servers that behave well and badly."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from health_peers import PATIENCE_S, Site, dial, page, served, silent
from hypercontainer.contract.probes import Grpc, HttpGet, TcpConnect
from hypercontainer.engine.health.connect import tcp
from hypercontainer.engine.health.grpc_probe import grpc
from hypercontainer.engine.health.http_probe import BODY_MAX_BYTES, http_get
from hypercontainer.engine.health.result import Result


def ask(pages: dict[str, bytes], path: str = "/", **options: object) -> tuple[Result, list[str]]:
    async def main() -> tuple[Result, list[str]]:
        site = Site(pages)
        async with served(site) as port:
            check = HttpGet(port=port, path=path, headers=options.pop("headers", ()))  # type: ignore[arg-type]
            return await http_get(dial, check, PATIENCE_S, **options), site.requests  # type: ignore[arg-type]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (204, True), (304, True), (399, True), (400, False), (503, False)]
)
def test_status_decides(status: int, ok: bool) -> None:
    result, _ = ask({"/": page(status)})
    assert result == Result(ok, f"HTTP status {status}")
    assert ask({"/": page(status)}, any_status=True)[0].ok


def test_request() -> None:
    _, (text,) = ask({}, "healthz?deep=1&x=a b#c", headers=(("X-Probe", "yes"),))
    lines = text.split("\r\n")
    assert lines[0] == "GET /healthz?deep=1&x=a%20b HTTP/1.1"
    assert lines[1].startswith("Host: 127.0.0.1:")
    assert {"X-Probe: yes", "User-Agent: hyper-probe", "Accept: */*", "Connection: close"} <= set(lines)


def test_headers_override() -> None:
    given = (("host", "shop.example"), ("user-agent", "mine"), ("ACCEPT", ""), ("X-Name", "Zoë"))
    _, (text,) = ask({}, headers=given)
    lines = text.split("\r\n")
    assert {"Host: shop.example", "user-agent: mine", "X-Name: Zoë"} <= set(lines)
    assert "accept" not in text.lower() and "hyper-probe" not in text


def test_redirections_on_the_host_are_followed() -> None:
    pages = {
        "/a": page(302, b"", "Location: /b"),
        "/b": page(308, b"", "Location: c?d"),
        "/c?d": page(200, b"hi"),
    }
    result, requests = ask(pages, "/a", headers=(("Host", "shop.example"),))
    assert result == Result(True, "hi")
    assert ["Host: shop.example" in text for text in requests] == [True, True, True]
    assert not ask({"/a": page(301, b"", "Location: /gone")}, "/a")[0].ok


def test_redirections_elsewhere_are_good() -> None:
    result, requests = ask({"/": page(301, b"", "Location: http://elsewhere.example/")})
    assert result == Result(True, "HTTP status 301, to another host")
    assert len(requests) == 1
    assert ask({"/": page(302)})[0].ok  # without a place to go to


def test_redirections_end() -> None:
    result, requests = ask({"/": page(302, b"", "Location: /")})
    assert result == Result(False, "stopped after 10 redirections")
    assert len(requests) == 10


@pytest.mark.parametrize(
    "location", ["http://[::1", "ftp://127.0.0.1/", "http://127.0.0.1:99999/", "http:///"]
)
def test_redirections_to_nonsense(location: str) -> None:
    assert not ask({"/": page(302, b"", f"Location: {location}")})[0].ok


def test_body_is_bounded() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"a" * (BODY_MAX_BYTES + 1)
    result, _ = ask({"/": endless})
    assert result.ok and len(result.detail) <= 1024


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4000 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"\0" * 100,
    ],
)
def test_nonsense_is_bad(answer: bytes) -> None:
    result, _ = ask({"/": answer})
    assert not result.ok and result.detail


def test_another_protocol_is_bad() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    headers = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
    assert not ask({"/": switch}, headers=headers)[0].ok


@pytest.mark.parametrize("headers", [(("X\r\nY", "1"),), (("X", "1\r\nY: 2"),), (("Content-Length", "9"),)])
def test_impossible_headers(headers: tuple[tuple[str, str], ...]) -> None:
    result, requests = ask({}, headers=headers)
    assert not result.ok and requests == []


async def hasty(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(page(400))
    await writer.drain()


def test_https(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    command = ["openssl", "req", "-x509", *curve, "-subj", "/CN=nobody", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(certificate)], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def main() -> None:
        async with served(Site({"/": page(200, b"a" * 9000)}), tls) as port:
            assert (await http_get(dial, HttpGet(port=port, scheme="HTTPS"), PATIENCE_S)).ok
            named = HttpGet(port=port, scheme="https", host="localhost", path="/none")
            assert await http_get(dial, named, PATIENCE_S) == Result(False, "HTTP status 404")
            assert not (await http_get(dial, HttpGet(port=port), PATIENCE_S)).ok
        async with served(hasty) as port:
            plain = await http_get(dial, HttpGet(port=port, scheme="https"), PATIENCE_S)
            assert not plain.ok and plain.detail.startswith("TLS")

    asyncio.run(main())


def test_silence_has_an_end() -> None:
    async def main() -> None:
        async with served(silent) as port:
            began = time.monotonic()
            for attempt in (
                http_get(dial, HttpGet(port=port), 0.02),
                http_get(dial, HttpGet(port=port, scheme="https"), 0.02),
                grpc(dial, Grpc(port=port), 0.02),
            ):
                assert await attempt == Result(False, "no answer within 0.02 s")
            assert time.monotonic() - began < PATIENCE_S

    asyncio.run(main())


def test_tcp() -> None:
    async def main() -> None:
        async with served(silent) as port:
            assert (await tcp(dial, TcpConnect(port=port), PATIENCE_S)).ok
        refused = await tcp(dial, TcpConnect(port=port, host="127.0.0.1"), PATIENCE_S)
        assert not refused.ok and "refused" in refused.detail
        assert not (await http_get(dial, HttpGet(port=port), PATIENCE_S)).ok
        assert not (await grpc(dial, Grpc(port=port), PATIENCE_S)).ok

    asyncio.run(main())
