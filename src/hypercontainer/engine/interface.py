"""The seam between the engine and its surfaces: what an API may ask of it.

Containers and images are named as users name them; the engine resolves the names.  Every method raises from
the tree in ``errors.py`` and nothing else; all are safe to cancel.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

from hypercontainer.contract.answers import (
    Check,
    Created,
    Event,
    ExecState,
    Exit,
    FileFacts,
    HistoryLine,
    ImageInspect,
    ImageSummary,
    Inspect,
    KernelLine,
    LayerProgress,
    Played,
    PodCreated,
    PodInspect,
    PodLogLine,
    PodSummary,
    Port,
    Process,
    Pruned,
    Removed,
    Sample,
    Summary,
    VolumeInfo,
)
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, PodSpec, PortMapping

Filters = Mapping[str, Sequence[str]]
ProgressSink = Callable[[LayerProgress], None]  # called on the event loop's thread


class Attachment(Protocol):
    """A client's hold on a process's standard streams; leaving it leaves the process alone.

    ``read`` gives the next bytes of channel 1 or 2 in order, b"" at the end and for ever after; a channel
    that is not read stops the process's writes to that channel only.
    """

    @property
    def tty(self) -> bool: ...
    async def read(self, channel: int) -> bytes: ...
    async def write(self, data: bytes) -> None:
        """Returns when the guest has room for more; raises Conflict once the process takes no more."""

    async def end_input(self) -> None: ...
    async def resize(self, rows: int, columns: int) -> None: ...
    async def signal(self, name: str) -> None: ...
    async def exit(self) -> Exit:
        """Waits for the process's end."""

    async def close(self) -> None: ...


class LogLine(Protocol):
    @property
    def channel(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class Credentials(Protocol):
    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def identity_token(self) -> str: ...
    @property
    def registry_token(self) -> str: ...


class Containers(Protocol):
    async def create(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> Created:
        """``asked_by``: the user on whose behalf it is, who may share only such files of the host as are that
        user's to read (or write); None: nobody knows, and none may be shared."""

    async def start(self, ref: str) -> None: ...
    async def stop(self, ref: str, *, timeout_s: int | None = None, signal: str | None = None) -> None: ...
    async def restart(self, ref: str, *, timeout_s: int | None = None) -> None: ...
    async def kill(self, ref: str, signal: str = "KILL") -> None: ...
    async def pause(self, ref: str) -> None: ...
    async def unpause(self, ref: str) -> None: ...
    async def rename(self, ref: str, name: str) -> None: ...
    async def remove(self, ref: str, *, force: bool = False) -> None: ...
    async def resize(self, ref: str, rows: int, columns: int) -> None: ...
    async def wait(self, ref: str, condition: str = "not-running") -> Exit: ...
    async def find(
        self, *, include_stopped: bool = False, filters: Filters = ..., size: bool = False
    ) -> list[Summary]: ...
    async def inspect(self, ref: str) -> Inspect: ...
    async def top(self, ref: str) -> list[Process]: ...
    async def stats(self, ref: str) -> Sample: ...
    async def attach(self, ref: str, *, stdin: bool = True, logs: bool = False) -> Attachment: ...
    def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[tuple[int, bytes]]:
        """(channel, bytes) in the order of writing."""

    async def run(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        created: Callable[[Created], None],
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> Attachment:
        """Creates, attaches, starts.  With ``auto_remove`` the attachment's ``exit`` returns
        after the removal."""

    async def read_file(self, ref: str, path: str) -> tuple[FileFacts, AsyncGenerator[bytes, None]]:
        """Of a container that runs; its image needs no program for it.  The iterator is read to its end, or closed."""

    async def write_file(
        self, ref: str, path: str, content: BinaryIO, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Whole or not at all, where there is a file too; the directory has to be there."""

    async def exec_create(self, ref: str, spec: ExecSpec) -> str: ...
    async def exec_start(self, exec_id: str) -> Attachment | None:
        """None for a detached one.  A program that cannot be executed raises GuestError with its errno."""

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None: ...
    async def exec_inspect(self, exec_id: str) -> ExecState: ...


class Pods(Protocol):
    """Pods with a name.  A container that was created alone has a pod too, which is not shown here."""

    async def create(
        self,
        spec: PodSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> PodCreated:
        """The pod and all its containers, or nothing.  ``asked_by`` as in ``Containers.create``."""

    async def start(self, ref: str) -> None:
        """Returns when every container runs that shall: init containers have ended, sidecars have started."""

    async def stop(self, ref: str, *, timeout_s: int | None = None) -> None: ...
    async def restart(self, ref: str, *, timeout_s: int | None = None) -> None: ...
    async def kill(self, ref: str, signal: str = "KILL") -> None: ...
    async def pause(self, ref: str) -> None:
        """The whole VM stands still."""

    async def unpause(self, ref: str) -> None: ...
    async def remove(self, ref: str, *, force: bool = False) -> None: ...
    async def find(self, *, filters: Filters = ...) -> list[PodSummary]:
        """Filters: id, name, label, status, ctr-names, ctr-ids."""

    async def inspect(self, ref: str) -> PodInspect: ...
    async def wait(self, ref: str) -> Exit:
        """When all its containers have ended for good: the status of the first that failed, or 0."""

    async def top(self, ref: str) -> list[tuple[str, Process]]:
        """(container's name, process)."""

    async def stats(self, ref: str) -> list[Sample]:
        """One for each running container."""

    def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[PodLogLine]:
        """Of all containers; of each in the order of writing.  ``follow`` ends with the pod's run."""

    async def ports(self, ref: str) -> list[Port]:
        """As they are while the VM runs, else as asked."""

    async def add_ports(self, ref: str, ports: Sequence[PortMapping]) -> list[Port]:
        """All or none; in force at once where the VM runs, and kept.  The new ones, with their host ports."""

    async def remove_ports(self, ref: str, ports: Sequence[PortMapping]) -> None:
        """NotFound, which names the port, where one is not published; then none is removed."""

    async def exec_create(self, ref: str, spec: ExecSpec) -> str:
        """In the VM, outside of any container.  Started as any other (``Containers.exec_start``)."""


class Volumes(Protocol):
    async def create(
        self, name: str, *, size_bytes: int | None = None, labels: Mapping[str, str] | None = None
    ) -> VolumeInfo: ...
    async def find(self, filters: Filters = ...) -> list[VolumeInfo]: ...
    async def inspect(self, name: str) -> VolumeInfo: ...
    async def remove(self, name: str, *, force: bool = False) -> None:
        """Conflict, which names the pods, where one uses it."""

    async def prune(self) -> tuple[list[str], int]:
        """Names of those removed that no pod uses, and the bytes that came free."""


class Manifests(Protocol):
    """Kubernetes' objects, as text: YAML or JSON, several documents in one."""

    async def play(
        self,
        text: str,
        *,
        replace: bool = False,
        start: bool = True,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> list[Played]: ...
    async def down(self, text: str, *, volumes: bool = False) -> list[Played]:
        """What ``play`` made of the same text; claims' volumes only where it is said."""

    async def generate(self, refs: Sequence[str]) -> str:
        """YAML of pods, containers or volumes that ``play`` takes."""


class Images(Protocol):
    async def find(self, filters: Filters = ...) -> list[ImageSummary]: ...
    async def inspect(self, ref: str) -> ImageInspect: ...
    async def history(self, ref: str) -> list[HistoryLine]: ...
    async def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
    ) -> ImageSummary: ...
    async def push(
        self, reference: str, *, credentials: Credentials | None = None, progress: ProgressSink | None = None
    ) -> str: ...
    async def load(self, stream: BinaryIO, *, progress: ProgressSink | None = None) -> list[ImageSummary]:
        """``stream`` is read in a worker thread, to its end or to the first error."""

    async def save(self, references: Sequence[str], out: BinaryIO, *, format: str = "docker") -> None: ...  # noqa: A002
    async def import_(
        self,
        stream: BinaryIO,
        *,
        reference: str | None = None,
        changes: Sequence[str] = (),
        message: str = "",
    ) -> ImageSummary: ...
    async def tag(self, source: str, target: str) -> None: ...
    async def remove(self, ref: str, *, force: bool = False) -> list[Removed]: ...
    async def check_credentials(self, registry: str, credentials: Credentials) -> tuple[str, str]:
        """(what to tell the user, identity token or "")."""


class System(Protocol):
    async def version(self) -> dict[str, str]: ...
    async def info(self) -> dict[str, Any]: ...
    async def doctor(self) -> list[Check]: ...
    def events(self, *, since: str = "", until: str = "", filters: Filters = ...) -> AsyncIterator[Event]: ...
    async def disk_usage(self) -> dict[str, Any]: ...
    async def prune(
        self, *, containers: bool = True, images: bool = True, all_images: bool = False
    ) -> Pruned: ...
    async def kernels(self) -> list[KernelLine]: ...


class Engine(Protocol):
    @property
    def containers(self) -> Containers: ...
    @property
    def pods(self) -> Pods: ...
    @property
    def volumes(self) -> Volumes: ...
    @property
    def manifests(self) -> Manifests: ...
    @property
    def images(self) -> Images: ...
    @property
    def system(self) -> System: ...
    async def start(self) -> None:
        """Opens the state and takes every living pod back; returns when containers can be asked for."""

    async def close(self, *, stop_containers: bool = False) -> None:
        """Lets go of everything; pods live on unless told otherwise."""
