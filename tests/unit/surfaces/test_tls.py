"""Connections over TLS: who gets in, what a name may do, and that the two directions end one by one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from authority import Authority
from hypercontainer.surfaces.docker.api import DockerApi
from hypercontainer.surfaces.http.answers import Answer, Reply, Upgrade
from hypercontainer.surfaces.http.connection import Limits
from hypercontainer.surfaces.http.server import Request, Server, Work
from hypercontainer.surfaces.http.tls import Gate, Role

ROLES: dict[str, Role] = {"alice": "admin", "ci.example.org": "operate", "eve": "read"}
BIG = 3 << 20


class Echo:
    """What was sent, once the client has sent it all."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        data = initial + await reader.read()
        writer.write(data)
        await writer.drain()


class EchoSurface:
    def accept(self, request: Request) -> Work:
        async def do(_: bytes) -> Answer:
            return Upgrade("echo", Echo())

        return Work(do)

    def refuse(self, error: Exception) -> Reply:
        return Reply(500, (), repr(error).encode())


@contextlib.asynccontextmanager
async def served(authority: Authority, surface: Any, **limits: Any) -> AsyncIterator[int]:
    gate = Gate(authority.folder / "ca.pem", *authority.issue("server"), ROLES)
    server = Server(surface, limits=Limits(**limits), gate=gate)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await server.serve([sock])
    try:
        yield port
    finally:
        await server.close(deadline_s=0.05)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def ask(port: int, context: ssl.SSLContext, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock, context.wrap_socket(sock) as tls:
        tls.sendall(request)
        said = b""
        while data := tls.recv(65536):
            said += data
        return said


def request(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode()


def test_without_a_certificate_nobody_gets_past_the_handshake(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    impostor = authority.client()
    impostor.load_cert_chain(*stranger.issue("alice"))

    async def talk() -> None:
        async with served(authority, DockerApi(None)) as port:  # type: ignore[arg-type]
            for context in (authority.client(), impostor):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await asyncio.to_thread(ask, port, context, request("GET", "/_ping"))
            good = await asyncio.to_thread(ask, port, authority.client("alice"), request("GET", "/_ping"))
            assert good.startswith(b"HTTP/1.1 200")

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("names", "looks", "acts"),
    [
        (("alice",), b"200", b"404"),
        (("builder", "ci.example.org"), b"200", b"404"),
        (("eve",), b"200", b"403"),
        (("mallory",), b"403", b"403"),
    ],
)
def test_a_name_has_its_role(authority: Authority, names: tuple[str, ...], looks: bytes, acts: bytes) -> None:
    """404: it was let in, to a call that there is not."""

    async def talk() -> None:
        async with served(authority, DockerApi(None)) as port:  # type: ignore[arg-type]
            context = authority.client(*names)
            for method, path, status in (("GET", "/_ping", looks), ("POST", "/v1.51/_nothing", b"404")):
                said = await asyncio.to_thread(ask, port, context, request(method, path))
                assert said.split()[1] == status, said
            said = await asyncio.to_thread(ask, port, context, request("POST", "/exec/x/start"))
            assert (said.split()[1] == b"403") == (acts == b"403"), said

    asyncio.run(talk())


@pytest.mark.parametrize("count", [1000, BIG])
def test_who_has_ended_what_it_sends_is_still_answered(authority: Authority, count: int) -> None:
    context = authority.client("alice")

    def talk_half(port: int) -> bytes:
        """As Go's clients do: the end of one direction, told by TLS, and then reading."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:

            def pump(act: Any) -> Any:
                while True:
                    try:
                        return act()
                    except ssl.SSLWantReadError:
                        if data := outgoing.read():
                            sock.sendall(data)
                        received = sock.recv(65536)
                        incoming.write(received) if received else incoming.write_eof()

            pump(tls.do_handshake)
            head = "POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
            sent = bytes(range(250)) * (count // 250)
            tls.write(head.encode() + sent)
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()  # says goodbye, and does not wait for the other's
            sock.sendall(outgoing.read())
            said = b""
            while not said.endswith(sent):
                data = pump(lambda: tls.read(1 << 20))
                assert data
                said += data
            return said

    async def talk() -> None:
        async with served(authority, EchoSurface()) as port:
            said = await asyncio.to_thread(talk_half, port)
            assert said.startswith(b"HTTP/1.1 101")

    asyncio.run(talk())


def test_who_never_shakes_hands_is_given_up(authority: Authority) -> None:
    async def talk() -> None:
        async with served(authority, EchoSurface(), head_s=0.2) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()

    asyncio.run(talk())
