"""The proxy's process: what it may do, what it serves, what is left when it is killed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from egress_stage import POD, SERVER, answer
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Process
from hypercontainer.network.egress import authority, program
from hypercontainer.network.egress.authority import Authority
from hypercontainer.network.egress.process import NOBODY, ProxyProcess
from hypercontainer.network.egress.proxy import trusting
from hypercontainer.network.egress.rules import HttpRule
from hypercontainer.network.egress.wire import Denied, Secret, Tell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")
API = "api.example.test"
PROXY = ("127.0.0.1", 15080)
OWN = authority.make("pod", (API,))
TOLD = Tell(
    "p",
    (POD,),
    (HttpRule((API,), ("GET",)), HttpRule(("passed.test",))),
    (Secret(API, "Authorization", "4711"),),
    OWN.certificate,
    OWN.key,
    "careful",
)


class Hearer:
    def __init__(self) -> None:
        self.told: asyncio.Queue[Denied] = asyncio.Queue()

    async def resolve(self, pod: str, host: str) -> tuple[str, ...]:
        if host == "nowhere.test":
            raise ValueError("there is no nowhere.test")
        return (SERVER,)

    def denied(self, denied: Denied) -> None:
        self.told.put_nowait(denied)


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Namespace]:
    made = Namespace.start(tmp_path / "namespace", user=False)
    try:
        yield made
    finally:
        made.end()


@asynccontextmanager
async def served(namespace: Namespace, folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[list[bytes]]:
    """A server of the world's, in the namespace; the heads that it gets."""
    world, heads = authority.make("the world"), []
    bundle = folder / "world.pem"
    bundle.write_text(world.certificate)
    patch.setenv("SSL_CERT_FILE", str(bundle))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    sock = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((SERVER, 443))
    server = await asyncio.start_server(serve, sock=sock, ssl=Authority(world, folder).context(API))
    try:
        yield heads
    finally:
        server.close()


@asynccontextmanager
async def running(namespace: Namespace, hearer: Hearer) -> AsyncIterator[ProxyProcess]:
    listener = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(PROXY)
    listener.listen()
    try:
        proxy = await ProxyProcess.start(namespace, [listener], hearer)
        try:
            await proxy.tell(TOLD)
            await proxy.serve()
            yield proxy
        finally:
            await proxy.close()
    finally:
        listener.close()


async def opened(namespace: Namespace, host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((POD, 0))
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, PROXY)
    return await asyncio.open_connection(sock=sock, ssl=trusting(OWN.certificate), server_hostname=host)


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


def test_it_serves_and_may_do_little(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        hearer = Hearer()
        async with served(namespace, tmp_path, monkeypatch) as heads, running(namespace, hearer) as proxy:
            _is_shut_in(proxy.process.pid, namespace)
            reader, writer = await opened(namespace, API)
            writer.write(f"GET /x?y HTTP/1.1\r\nHost: {API}\r\nAuthorization: guest\r\n\r\n".encode())
            assert (await answer(reader))[2] == b"ok"
            writer.close()
            assert b"Authorization: 4711" in heads[0] and b"guest" not in heads[0]
            reader, writer = await opened(namespace, API)
            writer.write(f"POST /x?y HTTP/1.1\r\nHost: {API}\r\nContent-Length: 0\r\n\r\n".encode())
            status, _, body = await answer(reader)
            assert status == 403 and b"policy careful" in body
            writer.close()
            denied = await hearer.told.get()
            assert (denied.pod, denied.method, denied.url) == ("p", "POST", f"https://{API}/x")
            with pytest.raises((ssl.SSLError, OSError)):
                await opened(namespace, "leak.test")
            assert (await hearer.told.get()).url == "https://leak.test/"

    play(story)


def _is_shut_in(pid: int, namespace: Namespace) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == [str(NOBODY)] * 4 and status["Groups"].split() == []
    assert all(int(status[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"))
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert os.listdir(f"/proc/{pid}/root") == []
    ours, its = (os.stat(f"/proc/{each}/ns/net").st_ino for each in (namespace.pid, pid))
    assert ours == its
    kept = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if fd != "2"]
    assert {name.partition(":")[0] for name in kept} <= {"socket", "anon_inode", "/dev/null"}


def test_it_is_killed_and_another_serves(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with served(namespace, tmp_path, monkeypatch):
            async with running(namespace, Hearer()) as proxy:
                reader, writer = await opened(namespace, API)
                process = Process.open(proxy.process.identity)
                assert process is not None
                process.kill()
                process.close()
                await proxy.ended
                with pytest.raises(OSError, match=r"has ended|[Bb]roken|closed|descriptor"):
                    await proxy.tell(TOLD)
                writer.close()
            async with running(namespace, Hearer()) as proxy:
                reader, writer = await opened(namespace, API)
                writer.write(f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
                assert (await answer(reader))[0] == 200
                writer.close()

    play(story)


def test_an_authority_that_is_none_is_refused(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with running(namespace, Hearer()) as proxy:
            with pytest.raises(OSError, match="the proxy: "):
                await proxy.tell(Tell("p", (POD,), (), (), "no certificate", "no key"))
            await proxy.tell(TOLD)

    play(story)


def test_its_calls_are_a_filter() -> None:
    assert len(program.call_filter()) % 8 == 0
