"""A fake engine behind a real server on a real unix socket, and a client that is not the product's."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h11
import pytest

from hypercontainer.contract import answers as a
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.surfaces.http.connection import Limits
from hypercontainer.surfaces.hyper.server import Server

TIMEOUT_S = 20.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine function on a loop of its own, which must end with no task left."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def within() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await pyfuncitem.obj(**given)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(within())
    return True


SUMMARY = {
    "id": "c1",
    "name": "web",
    "image": "busybox",
    "image_id": "sha256:1",
    "command": "sh",
    "created": "2026-01-01T00:00:00Z",
    "started": "",
    "finished": "",
    "state": "running",
    "status": "Up",
    "exit_status": 0,
}
IMAGE = a.ImageSummary(
    id="sha256:1",
    references=("busybox:latest",),
    repo_digests=(),
    created="",
    size_bytes=3,
    architecture="amd64",
    os="linux",
)
INSPECT = a.Inspect(
    **SUMMARY,  # type: ignore[arg-type]
    spec=ContainerSpec(image="busybox"),
    config=a.Effective(
        env=(), entrypoint=(), command=("sh",), user="", working_dir="/", stop_signal="TERM", hostname="c1"
    ),
    pid=1,
    error="",
    oom_killed=False,
    restart_count=0,
    vm=a.Machine(),
    network=a.NetworkState(),
    log_path="",
)
SAMPLE = a.Sample(
    time="2026-01-01T00:00:00Z",
    id="c1",
    name="web",
    cpu_ns=1,
    vcpus=1,
    memory_bytes=1,
    memory_limit_bytes=2,
    net_rx_bytes=0,
    net_tx_bytes=0,
    block_read_bytes=0,
    block_write_bytes=0,
    pids=1,
    vm_rss_bytes=1,
)
PROCESS = a.Process(
    pid=1, ppid=0, uid=0, user="root", cpu_ns=1, rss_bytes=1, started="", state="S", tty="?", command="sh"
)
KERNEL = a.KernelLine(name="own", version="6.1", source="own", path="/k", default=True)
HISTORY = a.HistoryLine(id="x", created="", created_by="", size_bytes=0, comment="")
EXEC = a.ExecState(id="e1", container="c1", running=True, exit_status=None, pid=2, command=("sh",))
POD: dict[str, Any] = {
    "id": "p1",
    "name": "shop",
    "created": "2026-01-01T00:00:00Z",
    "state": "running",
    "status": "Up",
    "ready": True,
    "containers": (a.Summary(**SUMMARY),),  # type: ignore[arg-type]
}
PORT = a.Port("0.0.0.0", 8080, 80, "tcp")
VOLUME = a.VolumeInfo(name="data", created="2026-01-01T00:00:00Z", size_bytes=1 << 30, used_bytes=7)
PLAYED = a.Played(kind="Pod", name="shop", action="created", pods=("p1",))
PRUNED = a.Pruned(containers_deleted=("c1",), images_deleted=(), space_reclaimed_bytes=7)


class FakeAttachment:
    """A process: what a test puts in ``outputs`` it has written, what it read is in ``input``."""

    tty = False

    def __init__(self) -> None:
        self.outputs: dict[int, asyncio.Queue[bytes]] = {1: asyncio.Queue(), 2: asyncio.Queue()}
        self.input = bytearray()
        self.input_ended = asyncio.Event()
        self.may_read = asyncio.Event()  # the process reads its input
        self.may_read.set()
        self.write_error: Exception | None = None
        self.taken = {1: 0, 2: 0}
        self.ended: asyncio.Future[a.Exit] = asyncio.get_running_loop().create_future()
        self.controls: list[tuple[Any, ...]] = []
        self.controlled = asyncio.Event()
        self.closed = asyncio.Event()

    def finish(self, status: int = 0, error: str = "") -> None:
        for queue in self.outputs.values():
            queue.put_nowait(b"")
        self.ended.set_result(a.Exit(status, error))

    async def read(self, channel: int) -> bytes:
        data = await self.outputs[channel].get()
        self.taken[channel] += len(data)
        return data

    async def write(self, data: bytes) -> None:
        await self.may_read.wait()
        if self.write_error:
            raise self.write_error
        self.input += data

    async def end_input(self) -> None:
        self.input_ended.set()

    async def _control(self, *what: Any) -> None:
        self.controls.append(what)
        self.controlled.set()

    async def resize(self, rows: int, columns: int) -> None:
        await self._control("resize", rows, columns)

    async def signal(self, name: str) -> None:
        await self._control("signal", name)

    async def exit(self) -> a.Exit:
        return await asyncio.shield(self.ended)

    async def close(self) -> None:
        self.closed.set()


@dataclass
class FakeEngine:
    """Every method notes its call, raises ``error`` if there is one, waits where ``hold`` says so, and answers
    what ``answers`` has for it."""

    answers: dict[str, Any]
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    error: BaseException | None = None
    refuses: bool = False  # a stream's ``error`` comes when it is asked for, not when it is read
    hold: set[str] = field(default_factory=set)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def containers(self) -> Any:
        return _Service(self, "containers")

    @property
    def pods(self) -> Any:
        return _Service(self, "pods")

    @property
    def volumes(self) -> Any:
        return _Service(self, "volumes")

    @property
    def manifests(self) -> Any:
        return _Service(self, "manifests")

    @property
    def images(self) -> Any:
        return _Service(self, "images")

    @property
    def system(self) -> Any:
        return _Service(self, "system")

    async def start(self) -> None: ...
    async def close(self, *, stop_containers: bool = False) -> None: ...

    async def perform(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        self.calls.append((name, args, options))
        self.entered.set()
        if name in self.hold:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error
        answer = self.answers[name]
        return await answer(*args, **options) if callable(answer) else answer

    def last(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return self.calls[-1]


class _Service:
    def __init__(self, engine: FakeEngine, kind: str) -> None:
        self._engine = engine
        self._kind = kind

    def __getattr__(self, name: str) -> Callable[..., Any]:
        full = f"{self._kind}.{name}"

        def call(*args: Any, **options: Any) -> Any:
            if full in ("containers.logs", "pods.logs", "system.events"):
                if self._engine.refuses and self._engine.error:
                    raise self._engine.error
                return self._iterate(full, args, options)
            return self._engine.perform(full, args, options)

        return call

    async def _iterate(self, full: str, args: tuple[Any, ...], options: dict[str, Any]) -> AsyncIterator[Any]:
        for item in await self._engine.perform(full, args, options):
            yield item
        if f"{full}:end" in self._engine.hold:
            await self._engine.perform(f"{full}:end", (), {})


async def read_file(ref: str, path: str) -> tuple[a.FileFacts, AsyncIterator[bytes]]:
    async def content() -> AsyncIterator[bytes]:
        yield b"of "
        yield path.encode()

    return a.FileFacts(0o4750, 1000, 1001, 9), content()


async def write_file(ref: str, path: str, content: BinaryIO, **_: Any) -> None:
    await asyncio.to_thread(content.read)


def default_answers() -> dict[str, Any]:
    done = dict.fromkeys(
        f"containers.{verb}"
        for verb in "start stop restart kill pause unpause rename remove resize exec_resize".split()
    )
    own: dict[str, Any] = {
        "system.version": {"qemu": "7.2"},
        "system.info": {"DaemonPid": 1},
        "system.doctor": [a.Check("kvm", None, "no kvm here")],
        "system.events": [a.Event("t", "container", "start", "c1")],
        "system.disk_usage": {"images": []},
        "system.prune": PRUNED,
        "system.kernels": [KERNEL],
        "containers.create": a.Created("c1", "web", ("slow",)),
        "containers.find": [a.Summary(**SUMMARY)],  # type: ignore[arg-type]
        "containers.inspect": INSPECT,
        "containers.wait": a.Exit(3),
        "containers.top": [PROCESS],
        "containers.stats": SAMPLE,
        "containers.logs": [(1, b"out\n"), (2, b"err\n")],
        "containers.read_file": read_file,
        "containers.write_file": write_file,
        "containers.exec_create": "e1",
        "containers.exec_start": None,
        "containers.exec_inspect": EXEC,
    }
    return done | own | image_answers() | pod_answers()


def image_answers() -> dict[str, Any]:
    return {
        "images.find": [IMAGE],
        "images.inspect": a.ImageInspect(
            id="sha256:1",
            references=(),
            repo_digests=(),
            created="",
            size_bytes=3,
            architecture="amd64",
            os="linux",
            config={"Env": []},
        ),
        "images.history": [HISTORY],
        "images.pull": IMAGE,
        "images.push": "sha256:2",
        "images.tag": None,
        "images.remove": [a.Removed(untagged="busybox:latest"), a.Removed(deleted="sha256:1")],
        "images.check_credentials": ("Login Succeeded", "token"),
    }


def pod_answers() -> dict[str, Any]:
    done = dict.fromkeys(
        f"pods.{verb}" for verb in "start stop restart kill pause unpause remove remove_ports".split()
    )
    return done | {
        "pods.create": a.PodCreated("p1", "shop", (a.Created("c1", "web"),), ("slow",)),
        "pods.find": [a.PodSummary(**POD)],
        "pods.inspect": a.PodInspect(
            **POD, spec=PodSpec(name="shop"), reason="", vm=a.Machine(), network=a.NetworkState()
        ),
        "pods.wait": a.Exit(3),
        "pods.top": [("web", PROCESS)],
        "pods.stats": [SAMPLE],
        "pods.logs": [a.PodLogLine("web", 1, b"out\n"), a.PodLogLine("db", 2, b"\xff")],
        "pods.ports": [PORT],
        "pods.add_ports": [PORT],
        "pods.exec_create": "e1",
        "volumes.create": VOLUME,
        "volumes.find": [VOLUME],
        "volumes.inspect": VOLUME,
        "volumes.remove": None,
        "volumes.prune": (["data"], 5),
        "manifests.play": [PLAYED],
        "manifests.down": [PLAYED],
        "manifests.generate": "kind: Pod\n",
    }


@pytest.fixture(scope="module")
def fake_engine() -> FakeEngine:
    """One that a module's tests share."""
    return FakeEngine(default_answers())


class FrameStream:
    """The client's side of frames, byte by byte as docs/api.md draws them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> None:
        self.reader, self.writer = reader, writer
        self._rest = bytearray(rest)

    async def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self._rest += data
        data = bytes(self._rest[:count])
        del self._rest[:count]
        return data

    async def receive(self) -> tuple[int, bytes]:
        head = await self._exactly(8)
        assert head[1:4] == b"\0\0\0"
        length = int.from_bytes(head[4:], "big")
        assert length <= 65536
        return head[0], await self._exactly(length)

    async def receive_control(self) -> Any:
        channel, payload = await self.receive()
        assert channel == 3, (channel, payload)
        return json.loads(payload)

    async def until_end(self) -> list[tuple[int, bytes]]:
        found = []
        with contextlib.suppress(EOFError):
            while True:
                found.append(await self.receive())
        return found

    async def send(self, channel: int, payload: bytes = b"") -> None:
        await self.send_raw(bytes([channel, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload)

    async def send_raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_credit(self, channel: int, count: int) -> None:
        await self.send(4, bytes([channel, 0, 0, 0]) + count.to_bytes(4, "big"))

    def close(self) -> None:
        self.writer.close()


class Harness:
    def __init__(self, engine: FakeEngine, path: Path) -> None:
        self.engine = engine
        self.path = str(path)
        self.asked_to_end: list[bool] = []
        self.server: Server

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path, limit=1 << 20)

    async def raw(self, data: bytes, *, end: bool = False) -> bytes:
        """Everything that comes back for ``data``, until the server closes."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            return await reader.read()
        finally:
            writer.close()

    async def call(
        self, method: str, target: str, body: Any = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, body: parsed where it is JSON)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        reader, writer = await self.connect()
        try:
            fields = {"Host": "x", "Content-Length": str(len(data)), "Connection": "close"} | (headers or {})
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + data)
            return await self.answer(reader)
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader) -> tuple[int, Any]:
        http = h11.Connection(h11.CLIENT)
        http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        http.send(h11.EndOfMessage())
        status, kind, body = 0, b"", bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status, kind = event.status_code, dict(event.headers).get(b"content-type", b"")
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        return status, json.loads(body) if kind == b"application/json" else bytes(body)

    async def upgrade(
        self, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> FrameStream:
        data = b"" if body is None else json.dumps(body).encode()
        reader, writer = await self.connect()
        fields = {"Host": "x", "Connection": "Upgrade", "Upgrade": "hyper-stream"} | (headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"POST {target} HTTP/1.1\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer + await reader.read(4096)
        return FrameStream(reader, writer, b"")

    def attachment(self, name: str) -> FakeAttachment:
        """What the engine will answer for ``name``."""
        attachment = FakeAttachment()
        self.engine.answers[name] = attachment
        return attachment


@pytest.fixture
def frame_stream() -> type[FrameStream]:
    return FrameStream


Serving = Callable[..., contextlib.AbstractAsyncContextManager[Harness]]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    import socket

    @contextlib.asynccontextmanager
    async def start(**limits: Any) -> AsyncIterator[Harness]:
        path = tmp_path / "s"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        harness = Harness(FakeEngine(default_answers()), path)
        harness.server = Server(harness.engine, harness.asked_to_end.append, limits=Limits(**limits))
        await harness.server.serve([sock])
        try:
            yield harness
        finally:
            await harness.server.close(deadline_s=0.05)

    return start
