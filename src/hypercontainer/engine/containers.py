"""``engine.interface.Containers``: names, creation, and who is asked for what."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path

from hypercontainer.engine import (
    addresses,
    defaults,
    execs,
    files,
    names,
    observe,
    plan,
    times,
    views,
    vm_plan,
)
from hypercontainer.engine.container import Container
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod import Pod
from hypercontainer.engine.process import ProcessAttachment
from hypercontainer.engine.state import ContainerRecord, PodRecord
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.image.model import Image
from hypercontainer.rootfs import create_writable_disk
from hypercontainer.types.answers import Created, ExecState, Exit, Inspect, Process, Sample, Summary
from hypercontainer.types.spec import ContainerSpec, ExecSpec
from hypercontainer.types.states import ALIVE

MIB = 1024 * 1024
LEAST_MEMORY_MIB = 28
DISK_BYTES = 10 * 1024 * MIB
RECOVERY_PATIENCE_S = 3.0

log = logging.getLogger(__name__)


class ContainerService:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: dict[str, Container] = {}
        parts.factory.new_uid = self._new_uid
        self._reserved: set[str] = set()  # names of containers that are being created
        self.images = ImageService(parts.images, parts.layers, parts.events, self.users_of)

    # ------------------------------------------------------------------------------------- the set of containers

    async def open(self) -> None:
        """Takes every container back, as it is now.

        A guest that does not answer holds up nobody but those who ask for its container.
        """
        pods = {record.id: record for record in self._parts.state.pods()}
        held = [VMRecord.from_json(pod.vm).run_dir for pod in pods.values() if pod.vm is not None]
        await self._end_strays(set(held))
        for record in self._parts.state.containers():
            container = Container(record, Pod(pods[record.pod], self._parts), self._parts, self._removed)
            self._known[record.id] = container
        await asyncio.to_thread(self._sweep)
        recoveries = [container.begin_recovery() for container in self._known.values()]
        if recoveries:
            await asyncio.wait(recoveries, timeout=RECOVERY_PATIENCE_S)

    async def close(self, *, stop: bool) -> None:
        if stop:
            await asyncio.gather(*(c.stop() for c in self._known.values()), return_exceptions=True)
        for container in self._known.values():
            await container.close()
            await container.pod.close()

    def all(self) -> list[Container]:
        return list(self._known.values())

    def get(self, ref: str) -> Container:
        by_name = {container.record.name: identifier for identifier, container in self._known.items()}
        return self._known[names.resolve(ref, by_name, self._known)]

    async def held(self, ref: str) -> Container:
        """The container, once it has been taken back from an earlier hyperd."""
        container = self.get(ref)
        await container.recovered.wait()
        return container

    def users_of(self, image_id: str) -> list[str]:
        """Names of the containers made from an image."""
        return [c.record.name for c in self._known.values() if c.record.image_id == image_id]

    def chains(self) -> set[tuple[str, ...]]:
        return {container.record.diff_ids for container in self._known.values()}

    def _removed(self, container: Container) -> None:
        self._known.pop(container.record.id, None)

    async def _end_strays(self, expected: Collection[Path]) -> None:
        """VMs that were started, but not written down, when an earlier hyperd was killed."""
        folder = self._parts.config.run / "pods"
        for path in folder.iterdir():
            if path in expected:
                continue
            record = read_record(path)
            if record is not None:
                log.warning("VM %s is nobody's; it is ended", record.name)
                await self._parts.driver.destroy(record)
            await asyncio.to_thread(files.remove_tree, path)

    def _sweep(self) -> None:
        """Directories that no record names are left of a creation that was cut short."""
        folder = self._parts.config.root / "containers"
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in self._known:
                files.remove_tree(path)

    # ------------------------------------------------------------------------------------- creation

    async def create(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
    ) -> Created:
        name = self._reserve(spec.name)
        try:
            image = await self._image(spec, credentials, progress)
            container, warnings = await self._create(spec, name, image)
        finally:
            self._reserved.discard(name)
        container.tell("create")
        return Created(container.record.id, name, warnings)

    def _reserve(self, wanted: str | None) -> str:
        taken = {container.record.name: identifier for identifier, container in self._known.items()}
        name = names.check_name(wanted) if wanted else names.new_name({*taken, *self._reserved})
        if name in taken or name in self._reserved:
            by = f" by container {taken[name][:12]}" if name in taken else ""
            raise Conflict(
                f"the name {name} is already in use{by}", hint="remove or rename that one, or choose another"
            )
        self._reserved.add(name)
        return name

    async def _image(
        self, spec: ContainerSpec, credentials: Credentials | None, progress: ProgressSink | None
    ) -> Image:
        if spec.pull != "always":
            try:
                return await self.images.get(spec.image)
            except NotFound:
                if spec.pull == "never":
                    raise
        return await self.images.fetch(
            spec.image, platform=spec.platform, credentials=credentials, progress=progress
        )

    async def _create(
        self, spec: ContainerSpec, name: str, image: Image
    ) -> tuple[Container, tuple[str, ...]]:
        parts, identifier = self._parts, names.new_id()
        spec = defaults.applied(spec, parts.config)
        effective, warnings = plan.effective(spec, image.config, identifier)
        pod = self._pod_record(spec, identifier, image)
        record = ContainerRecord(
            id=identifier,
            name=name,
            pod=identifier,
            spec=spec,
            image=spec.image,
            image_id=image.id,
            diff_ids=tuple(layer.diff_id for layer in image.layers),
            effective=effective,
            created=times.now(),
            labels={**image.config.labels, **spec.labels},
        )
        directory = parts.container_dir(identifier)
        try:
            await asyncio.to_thread(self._make_directory, directory, spec)
            parts.state.add(pod, record)
            container = Container(record, Pod(pod, parts), parts, self._removed)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(files.remove_tree, directory))
            raise
        self._known[identifier] = container
        return container, warnings

    def _pod_record(self, spec: ContainerSpec, identifier: str, image: Image) -> PodRecord:
        usual, machine = self._parts.config.defaults, self._parts.config.machine
        memory_mib = -(-(spec.memory_bytes or usual.memory_bytes) // MIB)
        if memory_mib < LEAST_MEMORY_MIB:
            raise InvalidArgument(
                f"memory of {memory_mib} MiB is too little for a VM", hint=f"at least {LEAST_MEMORY_MIB}m"
            )
        ports = spec.ports
        if spec.publish_all:
            ports += plan.exposed_mappings(spec, image.config)
        return PodRecord(
            id=identifier,
            memory_mib=memory_mib,
            cpus=spec.cpus or usual.cpus,
            mac=spec.mac_address or addresses.new_mac(),
            network=spec.network,
            ports=ports,
            kernel=spec.kernel,
            initrd=spec.initrd or (str(machine.initrd) if machine.initrd else None),
            kernel_args=(*machine.kernel_args, *spec.kernel_args),
            accelerator=spec.accelerator,
            uid=self._new_uid(),
        )

    def _new_uid(self) -> int | None:
        if not vm_plan.runs_as_root():
            return None
        machine = self._parts.config.machine
        taken = {c.pod.record.uid for c in self._known.values() if c.pod.record.uid is not None}
        return addresses.free_uid(
            machine.uid_base, machine.uid_count, taken | self._parts.factory.ready_uids()
        )

    def _make_directory(self, directory: Path, spec: ContainerSpec) -> None:
        files.make_private(directory)
        if not spec.read_only:
            size_bytes = spec.disk_size_bytes or DISK_BYTES
            create_writable_disk(directory / "disk.img", size_bytes, self._parts.config.root / "cache")

    # ------------------------------------------------------------------------------------- life

    async def run(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        created: Callable[[Created], None],
        progress: ProgressSink | None = None,
    ) -> ProcessAttachment:
        made = await self.create(spec, credentials=credentials, progress=progress)
        created(made)
        return await self.get(made.id).start_attached()

    async def start(self, ref: str) -> None:
        await (await self.held(ref)).start()

    async def stop(self, ref: str, *, timeout_s: int | None = None, signal: str | None = None) -> None:
        await (await self.held(ref)).stop(timeout_s=timeout_s, signal=signal)

    async def restart(self, ref: str, *, timeout_s: int | None = None) -> None:
        await (await self.held(ref)).restart(timeout_s=timeout_s)

    async def kill(self, ref: str, signal: str = "KILL") -> None:
        await (await self.held(ref)).kill(signal)

    async def pause(self, ref: str) -> None:
        await (await self.held(ref)).pause()

    async def unpause(self, ref: str) -> None:
        await (await self.held(ref)).unpause()

    async def rename(self, ref: str, name: str) -> None:
        container = await self.held(ref)
        old = container.record.name
        self._reserve(name)
        try:
            container.change(name=name)
        finally:
            self._reserved.discard(name)
        container.tell("rename", old_name=old)

    async def remove(self, ref: str, *, force: bool = False) -> None:
        await (await self.held(ref)).remove(force=force)

    async def wait(self, ref: str, condition: str = "not-running") -> Exit:
        return await (await self.held(ref)).wait(condition)

    async def attach(self, ref: str, *, stdin: bool = True, logs: bool = False) -> ProcessAttachment:
        return (await self.held(ref)).attach(stdin=stdin)

    async def resize(self, ref: str, rows: int, columns: int) -> None:
        container = await self.held(ref)
        await container.pod.agent.resize(container.running_init().number, rows, columns)

    async def exec_create(self, ref: str, spec: ExecSpec) -> str:
        return (await self.held(ref)).execs.create(spec).id

    async def exec_start(self, exec_id: str) -> ProcessAttachment | None:
        return await self._exec(exec_id).start()

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        entry = self._exec(exec_id)
        if entry.process is None or not entry.running:
            raise Conflict(f"exec {exec_id[:12]} is not running")
        await entry.container.pod.agent.resize(entry.process.number, rows, columns)

    async def exec_inspect(self, exec_id: str) -> ExecState:
        return self._exec(exec_id).state()

    def _exec(self, exec_id: str) -> execs.Exec:
        for container in self._known.values():
            entry = container.execs.find(exec_id)
            if entry is not None:
                return entry
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
            for container in self._known.values()
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
        return {
            c.record.id: files.used_bytes(vm_plan.disk_path(self._parts, c.record.id)) for c in containers
        }

    async def inspect(self, ref: str) -> Inspect:
        container = await self.held(ref)
        return views.inspect(
            container.record,
            container.pod.record,
            log_path=str(self._parts.container_dir(container.record.id) / "log"),
            execs=container.execs.running(),
        )

    async def top(self, ref: str) -> list[Process]:
        return await observe.top(await self.held(ref))

    async def stats(self, ref: str) -> Sample:
        return await observe.stats(await self.held(ref))

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
        container = self.get(ref)
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
