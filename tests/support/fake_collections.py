"""The fake engine's images, volumes, networks and system, and the manifests beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, BinaryIO

import msgspec
from msgspec.structs import replace

from hypercontainer.contract import answers as a
from hypercontainer.contract import images
from hypercontainer.contract.calls import AuthAnswer, NetworksPruned, SystemPruned
from hypercontainer.contract.networks import Join, NetworkSpec, Subnet
from hypercontainer.contract.volume_calls import VolumesPruned
from hypercontainer.contract.volumes import NfsShare, SnapshotInfo
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.pipes import Pieces, pieces_of
from hypercontainer.errors import Conflict, NotFound
from noted import Noted, Notes

Filters = Mapping[str, Sequence[str]]
FACTS: dict[str, Any] = {
    "repo_digests": (),
    "created": "",
    "size_bytes": 3,
    "architecture": "amd64",
    "os": "linux",
}

INFO = a.Info(
    daemon_pid=1,
    version="0",
    containers=1,
    running=1,
    paused=0,
    images=1,
    hypervisor="none",
    accelerator="",
    accelerator_reason="",
    sandbox=True,
    confinement=(),
    not_limited=(),
    kernel="6.1",
    templates=0,
    ready_clones=0,
    memory_bytes=1 << 27,
    cpus=1.0,
    root="/r",
    run="/u",
    host="unix:///s",
    config_file="",
    rootless=True,
    time="2026-01-01T00:00:00Z",
)


class FakeImages(Noted, of="images"):
    """``known``: reference -> ID."""

    def __init__(self, notes: Notes, *, makes_all: bool = False) -> None:
        self.notes = notes
        self._makes_all = makes_all
        self.known = {"busybox:latest": "sha256:1"}

    def _image(self, ref: str) -> str:
        for reference, identifier in self.known.items():
            if ref in (reference, reference.removesuffix(":latest"), identifier):
                return identifier
        if self._makes_all:
            return "sha256:1"
        raise NotFound(f"no image {ref}")

    def _summary(self, identifier: str) -> images.ImageSummary:
        references = tuple(name for name, found in self.known.items() if found == identifier)
        return images.ImageSummary(id=identifier, references=references, **FACTS)

    async def find(self, *, filters: Filters | None = None) -> list[images.ImageSummary]:
        wanted = (filters or {}).get("reference")
        return [
            self._summary(identifier)
            for name, identifier in self.known.items()
            if not wanted or name in wanted
        ]

    async def inspect(self, ref: str) -> images.ImageInspect:
        return images.ImageInspect(id=self._image(ref), references=(ref,), config={"Env": []}, **FACTS)

    async def history(self, ref: str) -> list[images.HistoryLine]:
        return [
            images.HistoryLine(id=self._image(ref), created="", created_by="sh", size_bytes=0, comment="")
        ]

    async def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        artifacts: bool = True,
        whole: bool = True,
        found: Callable[[images.PullTarget], None] | None = None,
    ) -> images.ImageSummary:
        self.known[reference] = "sha256:2"
        return self._summary("sha256:2")

    async def push(
        self, reference: str, *, credentials: Credentials | None = None, progress: ProgressSink | None = None
    ) -> str:
        self._image(reference)
        return "sha256:3"

    async def load(
        self, stream: BinaryIO, *, platform: str | None = None, progress: ProgressSink | None = None
    ) -> list[images.ImageSummary]:
        await asyncio.to_thread(stream.read)
        return [self._summary("sha256:1")]

    async def save(self, ref: Sequence[str], out: BinaryIO, *, format: str = "docker") -> None:
        for each in ref:
            self._image(each)
        await asyncio.to_thread(out.write, b"tar of " + ",".join(ref).encode())
        await asyncio.to_thread(out.flush)

    async def import_(
        self,
        stream: BinaryIO,
        *,
        reference: str | None = None,
        change: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
    ) -> images.ImageSummary:
        data = await asyncio.to_thread(stream.read)
        identifier = f"sha256:{data.hex()}"
        if reference is not None:
            self.known[reference] = identifier
        return self._summary(identifier)

    async def tag(self, source: str, target: str) -> None:
        self.known[target] = self._image(source)

    async def remove(self, ref: str, *, force: bool = False) -> list[images.Removed]:
        identifier = self._image(ref)
        names = [name for name in self.known if ref in (name, name.removesuffix(":latest"))]
        for name in names:
            del self.known[name]
        gone = [] if identifier in self.known.values() else [images.Removed(deleted=identifier)]
        return [*(images.Removed(untagged=name) for name in names), *gone]

    async def authenticate(self, registry: str, credentials: Credentials) -> AuthAnswer:
        return AuthAnswer(f"{credentials.username} is known at {registry}", "token")


class FakeVolumes(Noted, of="volumes"):
    def __init__(self, notes: Notes, *, makes_all: bool = False) -> None:
        self.notes = notes
        self._makes_all = makes_all
        self.known = {"data": _volume("data", 1 << 30, {})}
        self.used: set[str] = set()

    def _volume(self, name: str) -> a.VolumeInfo:
        if name not in self.known and self._makes_all:
            self.known[name] = _volume(name, 1 << 30, {})
        if name not in self.known:
            raise NotFound(f"no volume {name}")
        return self.known[name]

    async def create(
        self,
        name: str | None = None,
        *,
        size_bytes: int | None = None,
        labels: Mapping[str, str] | None = None,
        kind: str | None = None,
        nfs: NfsShare | None = None,
    ) -> a.VolumeInfo:
        name = name or "0" * 64
        if name in self.known and not self._makes_all:
            raise Conflict(f"there is a volume {name}")
        made = self.known[name] = _volume(name, size_bytes or 1 << 30, dict(labels or {}))
        return made

    async def find(self, *, filters: Filters | None = None) -> list[a.VolumeInfo]:
        names = (filters or {}).get("name")
        return [each for each in self.known.values() if not names or each.name in names]

    async def convert(self, name: str, *, kind: str, size_bytes: int | None = None) -> a.VolumeInfo:
        self.known[name] = msgspec.structs.replace(self._volume(name), kind=kind)
        return self.known[name]

    async def inspect(self, name: str) -> a.VolumeInfo:
        return self._volume(name)

    async def remove(self, name: str, *, force: bool = False) -> None:
        if name in self.used:
            raise Conflict(f"volume {name} is used")
        if name in self.known or not force:
            del self.known[self._volume(name).name]

    async def resize(self, name: str, *, size_bytes: int) -> a.VolumeInfo:
        made = self.known[name] = replace(self._volume(name), size_bytes=size_bytes)
        return made

    async def stat_path(self, name: str, *, path: str) -> a.PathFacts:
        self._volume(name)
        return a.PathFacts(path.rpartition("/")[2], 0o100644, 4, 0)

    async def pack(
        self, name: str, *, path: str, follow: bool = False
    ) -> tuple[a.PathFacts, AsyncGenerator[bytes, None]]:
        return await self.stat_path(name, path=path), pieces_of(b"tar of a volume")

    async def unpack(self, name: str, *, path: str, stream: Pieces, replace: bool = False) -> None:
        self._volume(name)
        async for _ in stream:
            pass

    async def snapshot(self, name: str, *, snapshot: str | None = None) -> SnapshotInfo:
        volume = self._volume(name)
        return SnapshotInfo(
            name=snapshot or "now",
            volume=name,
            created=volume.created,
            size_bytes=volume.size_bytes,
            used_bytes=7,
        )

    async def snapshots(self, name: str) -> list[SnapshotInfo]:
        return [await self.snapshot(name)]

    async def remove_snapshot(self, name: str, *, snapshot: str) -> None:
        self._volume(name)

    async def restore(self, name: str, *, snapshot: str) -> a.VolumeInfo:
        return self._volume(name)

    async def clone(
        self, name: str, *, target: str, snapshot: str | None = None, labels: Mapping[str, str] | None = None
    ) -> a.VolumeInfo:
        return await self.create(target, size_bytes=self._volume(name).size_bytes, labels=labels)

    async def prune(
        self,
        *,
        filters: Filters | None = None,
        all: bool = False,
    ) -> VolumesPruned:
        gone = tuple(name for name in self.known if all and name not in self.used)
        freed = sum(self.known.pop(name).used_bytes for name in gone)
        return VolumesPruned(gone, freed)


def _volume(name: str, size_bytes: int, labels: dict[str, str]) -> a.VolumeInfo:
    return a.VolumeInfo(
        name=name, created="2026-01-01T00:00:00Z", size_bytes=size_bytes, used_bytes=7, labels=labels
    )


class FakeNetworks(Noted, of="networks"):
    """Holds a network "back" (n1).  ``held``: names of pods, by the network's."""

    def __init__(self, notes: Notes, *, makes_all: bool = False) -> None:
        self.notes = notes
        self._makes_all = makes_all
        self.known = {"back": _network("n1", NetworkSpec("back"))}
        self.held: dict[str, dict[str, Join]] = {}

    def _network(self, name: str) -> a.NetworkInfo:
        for each in self.known.values():
            if name in (each.id, each.name):
                return each
        if self._makes_all:
            made = self.known[name] = _network(f"n{len(self.known) + 1}", NetworkSpec(name))
            return made
        raise NotFound(f"no network {name}")

    async def create(self, spec: NetworkSpec) -> a.NetworkInfo:
        if spec.name in self.known and not self._makes_all:
            raise Conflict(f"there is a network {spec.name}")
        made = self.known[spec.name] = _network(f"n{len(self.known) + 1}", spec)
        return made

    async def find(self, *, filters: Filters | None = None, given: bool = False) -> list[a.NetworkInfo]:
        names = (filters or {}).get("name")
        return [each for each in self.known.values() if not names or each.name in names]

    async def inspect(self, name: str) -> a.NetworkInfo:
        found = self._network(name)
        members = [
            a.NetworkMember(pod=ref, name=ref, endpoint=a.Endpoint(network=found.name, aliases=join.aliases))
            for ref, join in self.held.get(found.name, {}).items()
        ]
        return replace(found, members=tuple(members))

    async def remove(self, name: str, *, force: bool = False, under_stopped: bool = False) -> None:
        if force and name not in self.known and not self._makes_all:
            return
        found = self._network(name)
        if self.held.get(found.name):
            raise Conflict(f"pods are in network {found.name}")
        del self.known[found.name]

    async def prune(self, *, filters: Filters | None = None, under_stopped: bool = False) -> NetworksPruned:
        gone = tuple(name for name in self.known if not self.held.get(name))
        for name in gone:
            del self.known[name]
        return NetworksPruned(gone)

    async def connect(
        self, name: str, ref: str, *, join: Join | None = None, under_stopped: bool = False
    ) -> None:
        inside = self.held.setdefault(self._network(name).name, {})
        if ref in inside and not self._makes_all:
            raise Conflict(f"{ref} is in network {name}")
        inside[ref] = join or Join(name)

    async def disconnect(self, name: str, ref: str, *, force: bool = False) -> None:
        inside = self.held.get(self._network(name).name, {})
        if inside.pop(ref, None) is None and not (force or self._makes_all):
            raise NotFound(f"{ref} is not in network {name}")


def _network(identifier: str, spec: NetworkSpec) -> a.NetworkInfo:
    return a.NetworkInfo(
        id=identifier,
        name=spec.name,
        driver="bridge",
        created="2026-01-01T00:00:00Z",
        subnets=spec.subnets or (Subnet("10.89.0.0/24", "10.89.0.1"),),
        ipv6=spec.ipv6,
        internal=spec.internal,
        mtu=spec.mtu or 0,
        labels=spec.labels,
    )


class FakeSystem(Noted, of="system"):
    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    async def version(self) -> dict[str, str]:
        return {"qemu": "7.2"}

    async def info(self) -> a.Info:
        return INFO

    async def doctor(self) -> list[a.Check]:
        return [a.Check("kvm", None, "no kvm here")]

    def events(
        self, *, since: str = "", until: str = "", filters: Filters | None = None
    ) -> AsyncIterator[a.Event]:
        return _events()

    async def disk_usage(self) -> dict[str, Any]:
        return {"images": []}

    async def prune(
        self, *, all: bool = False, images: bool = True, containers: bool = True, volumes: bool = False
    ) -> SystemPruned:
        return SystemPruned(
            containers_deleted=("c1",) if containers else (),
            images_deleted=("sha256:1",) if images and all else (),
            volumes_deleted=("data",) if volumes else (),
            space_reclaimed_bytes=7,
        )

    async def kernels(self) -> list[a.KernelLine]:
        return [a.KernelLine(name="own", version="6.1", source="own", path="/k", default=True)]


async def _events() -> AsyncIterator[a.Event]:
    yield a.Event("t", "container", "start", "c1")


class FakeManifests(Noted, of="manifests"):
    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    async def play(
        self,
        text: str,
        *,
        replace: bool = False,
        start: bool = True,
        dry_run: bool = False,
        skip_unsupported: bool = False,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> list[a.Played]:
        return [a.Played(kind="Pod", name="shop", action="replaced" if replace else "created", pods=("p1",))]

    async def down(self, text: str, *, volumes: bool = False, dry_run: bool = False) -> list[a.Played]:
        kinds = ("Pod", "PersistentVolumeClaim") if volumes else ("Pod",)
        return [a.Played(kind=kind, name="shop", action="removed") for kind in kinds]

    async def cron_jobs(self) -> list[a.CronJob]:
        runs = (a.CronRun("nightly-1", "succeeded", ("nightly-1-0",)), a.CronRun("nightly-2", "active", ()))
        return [
            a.CronJob(
                name="nightly",
                schedule="@daily",
                time_zone="Europe/Paris",
                last="2026-11-27T23:00:00.000000000Z",
                next="2026-11-28T23:00:00.000000000Z",
                runs=runs,
            )
        ]

    async def run_cron_job(self, name: str) -> str:
        return f"{name}-manual-0a1b"

    async def generate(self, refs: Sequence[str]) -> str:
        return "---\n".join(f"kind: Pod # {ref}\n" for ref in refs)
