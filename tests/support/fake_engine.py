"""The engine's face over a handful of objects in memory: what the tests of surfaces talk to.

Its signatures are the real ones (tests/unit/surfaces/test_engine_face.py compares them), and what is done shows: a
container that is paused is paused until it is unpaused, and is not paused twice.  `Notes` adds what only tests want.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from fake_attachment import FakeAttachment
from fake_builds import FakeBuilds
from fake_changes import Changed, Committed
from fake_collections import FakeImages, FakeManifests, FakeNetworks, FakeSystem, FakeVolumes
from fake_facts import NOW, PROCESS, published, sample
from fake_policies import FakePolicies
from hypercontainer.contract import answers as a
from hypercontainer.contract.calls import PodProcess
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, LogConfig, PodSpec, PortMapping
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.pipes import Pieces
from hypercontainer.errors import Conflict, NameTaken, NotFound
from noted import Noted, Notes

Filters = Mapping[str, Sequence[str]]


class FakeEngine:
    """Holds a container "web" (c1) and a pod "shop" (p1), which run, a volume "data", a network "back" and an
    image "busybox".

    ``makes_all``: whatever is asked for is there, and as it has to be.
    """

    def __init__(self, *, makes_all: bool = False) -> None:
        self.notes = Notes()
        self.makes_all = makes_all
        self.execs = FakeExecs(self)
        self.images = FakeImages(self.notes, makes_all=makes_all)
        self.containers = FakeContainers(self)
        self.pods = FakePods(self)
        self.volumes = FakeVolumes(self.notes, makes_all=makes_all)
        self.networks = FakeNetworks(self.notes, makes_all=makes_all)
        self.policies = FakePolicies(self.notes, makes_all=makes_all)
        self.builds = FakeBuilds(self.notes, makes_all=makes_all)
        self.system = FakeSystem(self.notes)
        self.manifests = FakeManifests(self.notes)
        self.make_container(ContainerSpec(image="busybox", name="web"), "running")
        self.make_pod(PodSpec(name="shop"), "running")

    def collections(self) -> dict[str, Any]:
        """What the native API serves."""
        names = (
            "containers",
            "execs",
            "pods",
            "volumes",
            "networks",
            "policies",
            "images",
            "builds",
            "system",
            "manifests",
        )
        return {name: getattr(self, name) for name in names}

    def make_container(self, spec: ContainerSpec, state: str = "created") -> FakeContainer:
        known = self.containers.known
        if spec.name in [each.name for each in known] and not self.makes_all:
            raise NameTaken(f"the name {spec.name} is already in use")
        made = FakeContainer(self, f"c{len(known) + 1}", spec, state)
        known.append(made)
        return made

    def make_pod(self, spec: PodSpec, state: str = "created") -> FakePod:
        made = FakePod(self, f"p{len(self.pods.known) + 1}", spec, state)
        self.pods.known.append(made)
        return made


class _Living:
    """A state and the moves between them, of a container or a pod."""

    notes: Notes
    id: str
    name: str

    def __init__(self, engine: FakeEngine, state: str) -> None:
        self._engine = engine
        self.notes = engine.notes
        self.state = state
        self.exit_status = 0
        self._changed = asyncio.Event()

    def _become(self, state: str, *, exit_status: int = 0) -> None:
        self.state, self.exit_status = state, exit_status
        self._changed.set()
        self._changed = asyncio.Event()

    def _must(self, *states: str) -> None:
        if self._engine.makes_all:
            self.state = states[0]
        elif self.state not in states:
            raise Conflict(f"{self.name} is {self.state}")

    async def _until_ended(self) -> a.Exit:
        while self.state in ("running", "paused") and not self._engine.makes_all:
            await self._changed.wait()
        return a.Exit(self.exit_status)


class FakeContainer(Changed, _Living, Noted, of="containers"):
    def __init__(self, engine: FakeEngine, identifier: str, spec: ContainerSpec, state: str) -> None:
        super().__init__(engine, state)
        self.id, self.name, self.spec = identifier, spec.name or identifier, spec
        self.size: tuple[int, int] | None = None  # of its terminal
        self.said: dict[str, Any] = {}
        self.log: list[tuple[int, bytes]] = [(1, b"out\n"), (2, b"err\n")]
        self.files: dict[str, tuple[a.FileFacts, bytes]] = {}

    async def start(self) -> None:
        if self.state != "running":
            self._must("created", "exited")
            self._become("running")

    async def stop(self, *, timeout_s: int | None = None, signal: str | None = None) -> None:
        self._become("exited", exit_status=143)

    async def restart(self, *, timeout_s: int | None = None, signal: str | None = None) -> None:
        self._become("running")

    async def kill(self, signal: str = "KILL") -> None:
        self._must("running", "paused")
        if signal == "KILL":
            self._become("exited", exit_status=137)

    async def pause(self) -> None:
        self._must("running")
        self._become("paused")

    async def unpause(self) -> None:
        self._must("paused")
        self._become("running")

    async def rename(self, name: str) -> None:
        if any(other.name == name for other in self._engine.containers.known):
            raise NameTaken(f"the name {name} is already in use")
        self.name = name

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        if not force:
            self._must("created", "exited")
        self._become("removed")
        self._engine.containers.known.remove(self)

    async def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)

    async def wait(self, condition: str = "not-running") -> a.Exit:
        return await self._until_ended()

    async def inspect(self) -> a.Inspect:
        # One that was created has all three.
        log = self.spec.log if self.spec.log.driver else LogConfig("file", 20 << 20, 5)
        return a.Inspect(
            **_facts(self),
            spec=replace(self.spec, log=log),
            config=a.Effective(
                env=(),
                entrypoint=(),
                command=("sh",),
                user="",
                working_dir="/",
                stop_signal="TERM",
                hostname=self.id,
            ),
            pid=1,
            error="",
            oom_killed=False,
            restart_count=0,
            vm=a.Machine(),
            network=a.NetworkState(),
            log_path="",
            asked=self.said,
        )

    async def top(self) -> list[a.Process]:
        self._must("running", "paused")
        return [PROCESS]

    async def stats(self) -> a.Sample:
        self._must("running", "paused")
        return sample(self.id, self.name)

    async def attach(self, *, stdin: bool = True, logs: bool = False) -> FakeAttachment:
        return FakeAttachment()

    async def read_file(self, path: str) -> tuple[a.FileFacts, AsyncGenerator[bytes, None]]:
        if path not in self.files and not self._engine.makes_all:
            raise NotFound(f"no {path}")
        facts, data = self.files.get(path, (a.FileFacts(0o644, 0, 0, 0), b""))

        async def content() -> AsyncGenerator[bytes, None]:
            for at in range(0, len(data), 65536):
                yield data[at : at + 65536]

        return facts, content()

    async def write_file(
        self, path: str, content: Pieces, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        data = b"".join([piece async for piece in content])
        self.files[path] = (a.FileFacts(mode, uid, gid, len(data)), data)

    async def stat_path(self, path: str) -> a.PathFacts:
        facts, data = self.files.get(path, (a.FileFacts(0o644, 0, 0, 0), b""))
        if path not in self.files and not self._engine.makes_all:
            raise NotFound(f"no {path}")
        return a.PathFacts(path.rpartition("/")[2], 0o100000 | facts.mode, len(data), 0)

    async def pack(
        self, path: str, *, follow: bool = False
    ) -> tuple[a.PathFacts, AsyncGenerator[bytes, None]]:
        facts = await self.stat_path(path)
        return facts, (await self.read_file(path))[1]

    async def unpack(self, path: str, stream: Pieces, *, replace: bool = False, own: bool = False) -> None:
        data = b"".join([piece async for piece in stream])
        self.files[path] = (a.FileFacts(0o755, int(own), int(replace), len(data)), data)

    async def exec_create(self, spec: ExecSpec) -> str:
        self._must("running")
        return self._engine.execs.make(self.id, spec).id

    def logs(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
        details: bool = False,
    ) -> AsyncIterator[tuple[int, bytes]]:
        return _each(self.log[-tail:] if tail else self.log)


class FakeContainers(Committed, Noted, of="containers"):
    def __init__(self, engine: FakeEngine) -> None:
        self.notes = engine.notes
        self.known: list[FakeContainer] = []
        self._engine = engine
        self._images = engine.images

    async def held(self, ref: str) -> FakeContainer:
        for each in self.known:
            if ref in (each.id, each.name):
                return each
        if self._engine.makes_all:
            return self._engine.make_container(ContainerSpec(image="busybox", name=ref), "running")
        raise NotFound(f"no container {ref}")

    async def create(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
        said: Mapping[str, Any] | None = None,
        networks_later: bool = False,
        couple: PodSpec | None = None,
    ) -> a.Created:
        if spec.pull == "never":
            await self._images.inspect(spec.image)
        made = self._engine.make_container(spec, "created")
        made.said = dict(said or {})
        return a.Created(made.id, made.name, ("slow",))

    async def run(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        created: Callable[[a.Created], None],
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> FakeAttachment:
        made = self._engine.make_container(spec, "running")
        created(a.Created(made.id, made.name))
        return FakeAttachment()

    async def find(
        self, *, all: bool = False, filters: Filters | None = None, size: bool = False
    ) -> list[a.Summary]:
        names = (filters or {}).get("name")
        return [
            a.Summary(**_facts(each), size_bytes=7 if size else None)
            for each in self.known
            if (all or each.state in ("running", "paused")) and (not names or each.name in names)
        ]


class FakeExec(Noted, of="execs"):
    def __init__(self, engine: FakeEngine, identifier: str, owner: str, spec: ExecSpec) -> None:
        self._engine, self.notes = engine, engine.notes
        self.id, self.owner, self.spec = identifier, owner, spec
        self.size: tuple[int, int] | None = None
        self.started = False

    async def start(self) -> FakeAttachment | None:
        if self.started and not self._engine.makes_all:
            raise Conflict(f"exec {self.id} was started before")
        self.started = True
        return None if self.spec.detach else FakeAttachment()

    async def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)

    async def inspect(self) -> a.ExecState:
        return a.ExecState(
            id=self.id,
            container=self.owner,
            running=self.started,
            exit_status=None,
            pid=2,
            command=self.spec.command,
        )


class FakeExecs:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._known: dict[str, FakeExec] = {}

    def make(self, owner: str, spec: ExecSpec) -> FakeExec:
        identifier = f"e{len(self._known) + 1}"
        made = self._known[identifier] = FakeExec(self._engine, identifier, owner, spec)
        return made

    async def held(self, exec_id: str) -> FakeExec:
        if exec_id not in self._known:
            if not self._engine.makes_all:
                raise NotFound(f"no such exec: {exec_id}")
            self._known[exec_id] = FakeExec(self._engine, exec_id, "c1", ExecSpec(command=("sh",)))
        return self._known[exec_id]


class FakePod(_Living, Noted, of="pods"):
    def __init__(self, engine: FakeEngine, identifier: str, spec: PodSpec, state: str) -> None:
        super().__init__(engine, state)
        self.id, self.name, self.spec = identifier, spec.name or identifier, spec
        self.published: list[a.Port] = []

    async def start(self) -> None:
        self._become("running")

    async def stop(self, *, timeout_s: int | None = None) -> None:
        self._become("failed", exit_status=143)

    async def restart(self, *, timeout_s: int | None = None) -> None:
        self._become("running")

    async def kill(self, signal: str = "KILL") -> None:
        self._must("running", "paused")
        self._become("failed", exit_status=137)

    async def pause(self) -> None:
        self._must("running")
        self._become("paused")

    async def unpause(self) -> None:
        self._must("paused")
        self._become("running")

    async def remove(self, *, force: bool = False) -> None:
        if not force:
            self._must("created", "failed")
        self._engine.pods.known.remove(self)

    async def inspect(self) -> a.PodInspect:
        return a.PodInspect(
            **_pod_facts(self), spec=self.spec, reason="", vm=a.Machine(), network=a.NetworkState()
        )

    async def wait(self) -> a.Exit:
        return await self._until_ended()

    async def top(self) -> list[PodProcess]:
        self._must("running", "paused")
        return [PodProcess("web", PROCESS)]

    async def stats(self) -> list[a.Sample]:
        self._must("running", "paused")
        return [sample("c1", "web")]

    async def ports(self) -> list[a.Port]:
        return self.published

    async def add_ports(self, ports: Sequence[PortMapping]) -> list[a.Port]:
        added = [published(port) for port in ports]
        if taken := [port for port in added if port in self.published]:
            raise Conflict(f"{taken[0]} is published already")
        self.published += added
        return added

    async def remove_ports(self, ports: Sequence[PortMapping]) -> None:
        gone = [published(port) for port in ports]
        if missing := [port for port in gone if port not in self.published and not self._engine.makes_all]:
            raise NotFound(f"{missing[0]} is not published")
        self.published = [port for port in self.published if port not in gone]

    async def exec_create(self, spec: ExecSpec) -> str:
        return self._engine.execs.make(self.id, spec).id

    def logs(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[a.PodLogLine]:
        return _each([a.PodLogLine("web", 1, b"out\n"), a.PodLogLine("db", 2, b"\xff")])


class FakePods(Noted, of="pods"):
    def __init__(self, engine: FakeEngine) -> None:
        self.notes = engine.notes
        self.known: list[FakePod] = []
        self._engine = engine

    async def held(self, ref: str, *, also_of_one: bool = False) -> FakePod:
        for each in self.known:
            if ref in (each.id, each.name):
                return each
        if self._engine.makes_all:
            return self._engine.make_pod(PodSpec(name=ref), "running")
        if also_of_one and ref in [each.id for each in self._engine.containers.known]:
            return FakePod(self._engine, ref, PodSpec(name=ref), "running")
        raise NotFound(f"no pod {ref}")

    async def create(
        self,
        spec: PodSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> a.PodCreated:
        made = self._engine.make_pod(spec, "created")
        members = tuple(self._engine.make_container(each) for each in spec.containers)
        return a.PodCreated(
            made.id, made.name, tuple(a.Created(each.id, each.name) for each in members), ("slow",)
        )

    async def find(self, *, filters: Filters | None = None) -> list[a.PodSummary]:
        names = (filters or {}).get("name")
        return [a.PodSummary(**_pod_facts(each)) for each in self.known if not names or each.name in names]


async def _each(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def _facts(container: FakeContainer) -> dict[str, Any]:
    return {
        "id": container.id,
        "name": container.name,
        "image": container.spec.image,
        "image_id": "sha256:1",
        "command": "sh",
        "created": NOW,
        "started": "",
        "finished": "",
        "state": container.state,
        "status": "Up",
        "exit_status": container.exit_status,
    }


def _pod_facts(pod: FakePod) -> dict[str, Any]:
    return {
        "id": pod.id,
        "name": pod.name,
        "created": NOW,
        "state": pod.state,
        "status": "Up",
        "ready": True,
        "ports": tuple(pod.published),
    }
