"""Pods whose HTTP goes through the proxy: what is kept of their secrets, what they are told, how the proxy lives."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from hypercontainer.contract.egress import SecretHeader
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.engine.network import secrets as own
from hypercontainer.engine.network.egress import Around, Egress, Ruled
from hypercontainer.engine.network.secrets import Kept, Secrets
from hypercontainer.engine.network.worker import Maker, Worker
from hypercontainer.engine.state import Attachment, PodRecord
from hypercontainer.errors import InvalidArgument
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Process
from hypercontainer.network.dns.upstream import Upstream
from hypercontainer.network.egress.rules import HttpRule, Refused
from hypercontainer.network.egress.wire import Denied
from hypercontainer.network.parts import Fabric

API = "api.example.test"
TOKEN = "Bearer 4711"
SECRET = SecretHeader(API, "Authorization", TOKEN)
POD, SERVER, PROXY = "127.0.0.31", "127.0.0.32", ("127.0.0.1", 15080)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")


# ------------------------------------------------------------------------------------------- secrets


def test_a_secret_is_in_a_file_of_its_pods_that_nobody_else_reads(tmp_path: Path) -> None:
    kept = Secrets(tmp_path / "secrets")
    with kept.made("p", (SECRET,)), kept.made("q", (SECRET,)):
        pass
    (file, _) = sorted((tmp_path / "secrets").iterdir())
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("p", 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    again = Secrets(tmp_path / "secrets")
    again.open({"p"})
    assert again.get("p").secrets == (SECRET,) and again.get("q") == Kept()
    again.drop("p")
    assert not list((tmp_path / "secrets").iterdir())


def test_a_creation_that_fails_keeps_no_secret(tmp_path: Path) -> None:
    kept = Secrets(tmp_path / "secrets")
    with pytest.raises(RuntimeError), kept.made("p", (SECRET,)):
        raise RuntimeError
    assert not list((tmp_path / "secrets").iterdir())


def test_what_is_written_down_of_a_pod_has_no_values() -> None:
    member = ContainerSpec("x", secret_headers=(SECRET,))
    spec, members, secrets = own.apart(
        PodSpec(secret_headers=(SecretHeader("API.Example.test.", "X", "v"),)), [member]
    )
    assert secrets == (SecretHeader(API, "X", "v"),)
    assert [each.value for each in (*spec.secret_headers, *members[0].secret_headers)] == ["", ""]
    assert TOKEN not in repr(SECRET) + repr(Kept((SECRET,)))


@pytest.mark.parametrize(
    "wrong",
    [
        SecretHeader("*.example.test", "X", "v"),
        SecretHeader(API, "Content-Length", "4711"),
        SecretHeader(API, "X Y", "4711"),
        SecretHeader(API, "X", "47\r\n11"),
        SecretHeader(API, "X", ""),
        SecretHeader(API, "X", "4711" * 4000),
        SecretHeader(API, "X", "4711", "ftp"),
    ],
)
def test_what_is_no_secret_is_refused_without_its_value(wrong: SecretHeader) -> None:
    with pytest.raises(InvalidArgument) as refused:
        own.check_secrets([wrong], [Join("bridge")])
    assert refused.value.field == "secret_headers" and "4711" not in str(refused.value)


def test_a_secret_wants_a_way_out_of_hyperds() -> None:
    own.check_secrets([SECRET], [Join("bridge")])
    own.check_secrets([], [Join("user")])
    for name in ("user", "none"):
        with pytest.raises(InvalidArgument, match="no way out"):
            own.check_secrets([SECRET], [Join(name)])
    with pytest.raises(InvalidArgument, match="twice"):
        own.check_secrets([SECRET, SecretHeader(API, "authorization", "v")], [Join("bridge")])


# ------------------------------------------------------------------------------------------- the proxy's life


@dataclass
class Ground:
    """As much of a fabric as the proxy stands on."""

    namespace: Namespace
    is_open: bool = True

    def proxy_listeners(self) -> tuple[socket.socket, ...]:
        if (kept := self.namespace.take("proxy")) is not None:
            return (socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=kept),)
        made = self.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.bind(PROXY)
        made.listen()
        self.namespace.keep("proxy", made.fileno())
        return (made,)

    def close(self) -> None:
        pass


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Namespace.start(tmp_path / "namespace", user=False)
    try:
        yield Ground(made)
    finally:
        made.end()


@asynccontextmanager
async def egress(ground: Ground, folder: Path) -> AsyncIterator[Egress]:
    async def fill(fabric: Fabric) -> None:
        pass

    worker = Worker(Maker(folder / "absent", lambda: cast(Fabric, ground)), "", fill)
    upstream = Upstream(list)
    place = Attachment(network="n", address=f"{POD}/8")
    made = Egress(
        folder / "secrets",
        worker,
        upstream,
        Around(lambda pod: (place,), lambda pod: (), lambda: "192.0.2.9"),
    )
    try:
        yield made
    finally:
        await made.close()
        await upstream.close()
        await worker.close(used=True)


def pod(name: str, *hosts: str) -> PodRecord:
    return PodRecord(id=name, spec=PodSpec(extra_hosts=hosts), memory_mib=64, cpus=1, mac="", networks=())


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


async def ask(ground: Ground, path: str) -> bytes:
    """As the pod, in clear."""
    sock = ground.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((POD, 0))
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, PROXY)
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\n\r\n".encode())
    said = await reader.read()
    writer.close()
    return said


@as_root
def test_the_proxy_is_there_for_as_long_as_a_pod_needs_it(ground: Ground, tmp_path: Path) -> None:
    async def story() -> None:
        denied: asyncio.Queue[Denied] = asyncio.Queue()
        async with egress(ground, tmp_path) as made:
            made.denied = denied.put_nowait
            await made.begin(pod("plain"))
            assert not made.proxies("plain") and made._proxy is None and made.authority("plain") == ""
            made.ruled = lambda record: Ruled("narrow", (HttpRule((API,), ("GET",), ("/public",)),))
            await made.begin(pod("p"))
            assert made.proxies("p") and made.authority("p").startswith("-----BEGIN CERTIFICATE")
            said = await ask(ground, "/secret?token=1")
            assert b" 403 " in said and b"policy narrow" in said
            assert await denied.get() == Denied(
                "p", "GET", f"http://{API}/secret", f"nothing lets this pod GET /secret of {API}"
            )
            first = made._proxy
            assert first is not None
            process = Process.open(first.process.identity)
            assert process is not None
            process.kill()
            process.close()
            assert b" 403 " in await ask(ground, "/again")  # of the next one, which knows the pod
            assert made._proxy is not first and made._proxy is not None
            last = made._proxy
            made.release("p")
            await asyncio.wait([last.ended])
            assert not made.proxies("p") and made.authority("p") == ""

    play(story)


@as_root
def test_an_authority_is_of_one_vm_and_a_proxy_of_one_namespace(ground: Ground, tmp_path: Path) -> None:
    async def story() -> None:
        async with egress(ground, tmp_path) as made:
            with made.secrets.made("p", (SECRET,)):
                await made.begin(pod("p"))
            first, proxy = made.authority("p"), made._proxy
            await made.begin(pod("p"))
            assert made.authority("p") not in ("", first) and made._proxy is proxy
            await made.opened(cast(Fabric, ground))
            assert made._proxy not in (None, proxy)

    play(story)


@as_root
def test_a_policy_changes_while_its_pod_runs(ground: Ground, tmp_path: Path) -> None:
    async def story() -> None:
        async with egress(ground, tmp_path) as made:
            made.ruled = lambda record: Ruled("old", (HttpRule((API,)),))
            await made.begin(pod("p"))
            assert made.authority("p") == ""  # nothing is looked into
            made.ruled = lambda record: Ruled("new", (HttpRule((API,), ("PUT",)),))
            await made.changed(pod("p"))
            assert made.authority("p") != ""
            said = await ask(ground, "/")
            assert b" 403 " in said and b"policy new" in said

    play(story)


@as_root
def test_a_host_is_where_its_user_says_or_a_name_server_and_never_here(
    ground: Ground, tmp_path: Path
) -> None:
    async def story() -> None:
        async with egress(ground, tmp_path) as made:
            with made.secrets.made("p", (SECRET,)):
                lines = (
                    f"{API}:10.0.0.5",
                    "up=host-gateway",
                    "six:[fd00::5]",
                    "here:127.0.0.1",
                    "meta:169.254.169.254",
                )
                await made.begin(pod("p", *lines))
            assert await made.resolve("p", API) == ("10.0.0.5",)
            assert await made.resolve("p", "up") == ("192.0.2.9",)
            assert await made.resolve("p", "six") == ("fd00::5",)
            for name, why in (
                ("here", "no address"),
                ("meta", "no address"),
                ("else.test", "no name server"),
            ):
                with pytest.raises(Refused, match=why):
                    await made.resolve("p", name)
            with pytest.raises(Refused):
                await made.resolve("q", API)

    play(story)
