"""The seam between the engine and its surfaces: what an API may ask of it.

Containers and images are named as users name them; the engine resolves the names.  Every method raises from
the tree in ``errors.py`` and nothing else; all are safe to cancel.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

from hypercontainer.types.answers import (
    Check,
    Created,
    Event,
    ExecState,
    Exit,
    HistoryLine,
    ImageInspect,
    ImageSummary,
    Inspect,
    KernelLine,
    LayerProgress,
    Process,
    Pruned,
    Removed,
    Sample,
    Summary,
)
from hypercontainer.types.spec import ContainerSpec, ExecSpec

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
    ) -> Created: ...
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
    ) -> Attachment:
        """Creates, attaches, starts.  With ``auto_remove`` the attachment's ``exit`` returns
        after the removal."""

    async def exec_create(self, ref: str, spec: ExecSpec) -> str: ...
    async def exec_start(self, exec_id: str) -> Attachment | None:
        """None for a detached one.  A program that cannot be executed raises GuestError with its errno."""

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None: ...
    async def exec_inspect(self, exec_id: str) -> ExecState: ...


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
    def images(self) -> Images: ...
    @property
    def system(self) -> System: ...
    async def start(self) -> None:
        """Opens the state and takes every living pod back; returns when containers can be asked for."""

    async def close(self, *, stop_containers: bool = False) -> None:
        """Lets go of everything; pods live on unless told otherwise."""
