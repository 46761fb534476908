"""curl through the proxy, as it is and with what it knows to do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from egress_stage import POD, Stage, stage
from hypercontainer.network.egress.rules import HttpRule
from hypercontainer.network.egress.wire import Secret, Tell

API = "api.example.test"
TOLD = Tell("p", (), (HttpRule((API,), ("GET", "HEAD", "PUT")),), (Secret(API, "Authorization", "4711"),))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says the digest of what it was sent; of nothing, whether it has heard the secret."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"expect: 100-continue" in head:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = b""
            if b"transfer-encoding: chunked" in head:
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readexactly(2)
            elif b"content-length: " in head:
                body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            heard = b"secret" if b"authorization: 4711\r\n" in head else b"nothing"
            said = hashlib.sha256(body).hexdigest().encode() if body else heard
            writer.write(HEAD % len(said) + (b"" if head.startswith(b"head") else said))
            await writer.drain()


@pytest.fixture
def curl(tmp_path: Path) -> Callable[..., str]:
    """What it says, run with these words; its exit status is said where it is not 0."""

    def play(*words: str) -> str:
        async def story() -> str:
            async with asyncio.timeout(60), stage(tmp_path) as made, made.server(serve, API):
                made.tell(TOLD)
                return await _run(made, words)

        return asyncio.run(story())

    return play


async def _run(made: Stage, words: tuple[str, ...]) -> str:
    bundle = made.folder / "own.pem"
    bundle.write_text(made.own.certificate)
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", "30", "--interface", POD, "--cacert", str(bundle)),
        *("--connect-to", f"::127.0.0.1:{made.port}"),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode() + (f" ({process.returncode})" if process.returncode else "")


def test_it_gets_what_it_asks_for_on_one_connection(curl: Callable[..., str]) -> None:
    url = f"https://{API}/"
    assert curl("-w", "|%{num_connects}|", url, url) == "secret|1|secret|0|"
    assert "HTTP/1.1 200 OK" in curl("-I", url)
    assert curl("--http2", "-w", "|%{http_version}", url) == "secret|1.1"


@pytest.mark.parametrize("more", [(), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue")])
def test_it_sends_a_big_file(curl: Callable[..., str], tmp_path: Path, more: tuple[str, ...]) -> None:
    data = bytes(range(256)) * 8192
    (tmp_path / "big").write_bytes(data)
    assert curl(*more, "-T", str(tmp_path / "big"), f"https://{API}/") == hashlib.sha256(data).hexdigest()


def test_it_is_told_what_is_denied(curl: Callable[..., str]) -> None:
    said = curl("-X", "DELETE", "-w", "|%{http_code}", f"https://{API}/x")
    assert "nothing lets this pod DELETE /x" in said and said.endswith("|403")
    assert "(35)" in curl("https://leak.test/")  # TLS's own word
