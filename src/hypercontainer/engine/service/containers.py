"""``engine.interface.Containers``: names, creation, and who is asked for what."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from hypercontainer.contract.answers import (
    Created,
    ExecState,
    Exit,
    FileFacts,
    Inspect,
    Process,
    Sample,
    Summary,
)
from hypercontainer.contract.spec import ContainerSpec, ExecSpec
from hypercontainer.contract.states import ALIVE
from hypercontainer.engine import files, times, views
from hypercontainer.engine.container import execs, observe
from hypercontainer.engine.container import files as container_files
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.container.process import ProcessAttachment
from hypercontainer.engine.creation import Creation
from hypercontainer.engine.directory import Registry
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.sandbox import machine as vm_plan
from hypercontainer.errors import Conflict, HyperError, NotFound

log = logging.getLogger(__name__)


class ContainerService:
    def __init__(self, registry: Registry, creation: Creation) -> None:
        self._registry = registry
        self._parts = registry.parts
        self._creation = creation

    def all(self) -> list[Container]:
        return list(self._registry.containers.values())

    async def create(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> Created:
        return await self._creation.container(spec, credentials, progress, asked_by)

    # ------------------------------------------------------------------------------------- life

    async def run(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        created: Callable[[Created], None],
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> ProcessAttachment:
        made = await self.create(spec, credentials=credentials, progress=progress, asked_by=asked_by)
        created(made)
        return await self._registry.get(made.id).start_attached()

    async def start(self, ref: str) -> None:
        await (await self._registry.held(ref)).start()

    async def stop(self, ref: str, *, timeout_s: int | None = None, signal: str | None = None) -> None:
        await (await self._registry.held(ref)).stop(timeout_s=timeout_s, signal=signal)

    async def restart(self, ref: str, *, timeout_s: int | None = None) -> None:
        await (await self._registry.held(ref)).restart(timeout_s=timeout_s)

    async def kill(self, ref: str, signal: str = "KILL") -> None:
        await (await self._registry.held(ref)).kill(signal)

    async def pause(self, ref: str) -> None:
        await (await self._registry.held(ref)).pause()

    async def unpause(self, ref: str) -> None:
        await (await self._registry.held(ref)).unpause()

    async def rename(self, ref: str, name: str) -> None:
        container = await self._registry.held(ref)
        old = container.record.name
        with self._registry.reserved(name):
            container.change(name=name)
        container.tell("rename", old_name=old)

    async def remove(self, ref: str, *, force: bool = False) -> None:
        await (await self._registry.held(ref)).remove(force=force)

    async def wait(self, ref: str, condition: str = "not-running") -> Exit:
        return await (await self._registry.held(ref)).wait(condition)

    async def attach(self, ref: str, *, stdin: bool = True, logs: bool = False) -> ProcessAttachment:
        return (await self._registry.held(ref)).attach(stdin=stdin)

    async def resize(self, ref: str, rows: int, columns: int) -> None:
        container = await self._registry.held(ref)
        init = container.running_init()
        if not init.tty:
            raise Conflict(f"{container.what} has no terminal", hint="give it one with -t")
        await container.pod.agent.resize(init.number, rows, columns)

    async def read_file(self, ref: str, path: str) -> tuple[FileFacts, AsyncGenerator[bytes, None]]:
        return await container_files.read(await self._registry.held(ref), path)

    async def write_file(
        self, ref: str, path: str, content: BinaryIO, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        container = await self._registry.held(ref)
        await container_files.write(container, path, content, mode=mode, uid=uid, gid=gid)

    async def exec_create(self, ref: str, spec: ExecSpec) -> str:
        return (await self._registry.held(ref)).execs.create(spec).id

    async def exec_start(self, exec_id: str) -> ProcessAttachment | None:
        group, entry = self._exec(exec_id)
        return await group.start(entry)

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        _, entry = self._exec(exec_id)
        if entry.process is None or not entry.running:
            raise Conflict(f"exec {exec_id[:12]} is not running")
        if not entry.spec.tty:
            raise Conflict(f"exec {exec_id[:12]} has no terminal")
        await entry.owner.pod.agent.resize(entry.process.number, rows, columns)

    async def exec_inspect(self, exec_id: str) -> ExecState:
        return self._exec(exec_id)[1].state()

    def _exec(self, exec_id: str) -> tuple[execs.Execs, execs.Exec]:
        groups = [container.execs for container in self._registry.containers.values()]
        for group in (*groups, *(pod.execs for pod in self._registry.pods.values())):
            if (entry := group.find(exec_id)) is not None:
                return group, entry
        raise NotFound(f"no such exec: {exec_id[:12]}")

    # ------------------------------------------------------------------------------------- questions

    async def find(
        self,
        *,
        include_stopped: bool = False,
        filters: Mapping[str, Sequence[str]] | None = None,
        size: bool = False,
    ) -> list[Summary]:
        filters = filters or {}
        chosen = [
            container
            for container in self._registry.containers.values()
            if (
                include_stopped
                or "status" in filters
                or "exited" in filters
                or container.record.state in ALIVE
            )
            and views.matches(container.record, filters)
        ]
        chosen.sort(key=lambda container: container.record.created, reverse=True)
        sizes = await asyncio.to_thread(self._sizes, chosen) if size else {}
        return [views.summary(c.record, c.pod.record, sizes.get(c.record.id)) for c in chosen]

    def _sizes(self, containers: Sequence[Container]) -> dict[str, int]:
        return {c.record.id: files.used_bytes(self._disk(c)) for c in containers}

    def _disk(self, container: Container) -> Path:
        return vm_plan.disk_path(self._parts, container.pod.record, container.record.id)

    async def inspect(self, ref: str) -> Inspect:
        container = await self._registry.held(ref)
        return views.inspect(
            container.record,
            container.pod.record,
            log_path=str(self._parts.container_dir(container.record.id) / "log"),
            execs=container.execs.running(),
        )

    async def top(self, ref: str) -> list[Process]:
        return await observe.top(await self._registry.held(ref))

    async def stats(self, ref: str) -> Sample:
        return await observe.stats(await self._registry.held(ref))

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
        container = self._registry.get(ref)
        since_ns, until_ns = times.moment_ns(since, what="since"), times.moment_ns(until, what="until")
        return observe.read_log(
            container, follow=follow, since_ns=since_ns, until_ns=until_ns, tail=tail, timestamps=timestamps
        )

    async def prune(self) -> tuple[list[str], int]:
        """Removes every container that does not run: their IDs, and the bytes that came free."""
        removed: list[str] = []
        freed = 0
        for container in self.all():
            if container.alive or container.restarting:
                continue
            size = await asyncio.to_thread(files.used_bytes, self._parts.container_dir(container.record.id))
            try:
                await container.remove(force=False)
            except HyperError as error:
                log.warning("prune: %s", error)
                continue
            removed.append(container.record.id)
            freed += size
        return removed, freed
