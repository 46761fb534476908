"""All pods and containers there are: taken back from an earlier hyperd, found by name, added, let go of.

The one owner of their objects.  Names of containers are unique, and so are names of pods.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hypercontainer.engine import files, names
from hypercontainer.engine.container import launch
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.network import user as addresses
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox import machine as vm_plan
from hypercontainer.engine.state import ContainerRecord, PodRecord
from hypercontainer.errors import Conflict
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.run_dir import read_record

RECOVERY_PATIENCE_S = 3.0

log = logging.getLogger(__name__)


class Registry:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.containers: dict[str, Container] = {}
        self.pods: dict[str, Pod] = {}
        self._reserved: set[str] = set()  # names of containers that are being created
        self._reserved_pods: set[str] = set()
        self._recoveries: list[asyncio.Task[None]] = []
        parts.factory.new_uid = self.new_uid

    # ------------------------------------------------------------------------------------- taken back, let go of

    async def open(self) -> None:
        """Takes every pod back, as it is now.

        A guest that does not answer holds up nobody but those who ask for its containers.
        """
        records = self.parts.state.pods()
        held = [VMRecord.from_json(pod.vm).run_dir for pod in records if pod.vm is not None]
        await self._end_strays(set(held))
        for record in records:
            self.pods[record.id] = Pod(record, self.parts)
        for container in sorted(self.parts.state.containers(), key=lambda each: (each.created, each.place)):
            self._adopt(container)
        await asyncio.to_thread(self._sweep)
        self._recoveries = [asyncio.create_task(self._recover(pod)) for pod in self.pods.values()]
        if self._recoveries:
            await asyncio.wait(self._recoveries, timeout=RECOVERY_PATIENCE_S)

    async def _recover(self, pod: Pod) -> None:
        members = [member.begin_recovery() for member in pod.members.values()]
        if members:
            await asyncio.wait(members)
        if (welcome := await pod.adopted()) is not None and pod.vm is not None:
            launch.end_vm_processes(pod, welcome)
        async with pod.machine:
            if not pod.in_use:
                await pod.end(orderly=True)
        if not pod.named and not pod.members:
            await self.forget_pod(pod)
        pod.recovered.set()

    async def _end_strays(self, expected: Collection[Path]) -> None:
        """VMs that were started, but not written down, when an earlier hyperd was killed."""
        for path in (self.parts.config.run / "pods").iterdir():
            if path in expected:
                continue
            record = read_record(path)
            if record is not None:
                log.warning("VM %s is nobody's; it is ended", record.name)
                await self.parts.driver.destroy(record)
            await asyncio.to_thread(files.remove_tree, path)

    def _sweep(self) -> None:
        """Directories that no record names are left of a creation that was cut short."""
        for folder, known in (("containers", set(self.containers)), ("pods", set(self.pods))):
            place = self.parts.config.root / folder
            for path in place.iterdir() if place.is_dir() else ():
                if path.name not in known:
                    files.remove_tree(path)

    async def close(self, *, stop: bool) -> None:
        if stop:
            await asyncio.gather(*(c.stop() for c in self.containers.values()), return_exceptions=True)
        for recovery in self._recoveries:
            recovery.cancel()
        for container in tuple(self.containers.values()):
            await container.close()
        for pod in self.pods.values():
            await pod.close()

    # ------------------------------------------------------------------------------------- found

    def get(self, ref: str) -> Container:
        by_name = {container.record.name: identifier for identifier, container in self.containers.items()}
        return self.containers[names.resolve(ref, by_name, self.containers)]

    async def held(self, ref: str) -> Container:
        """The container, once it has been taken back from an earlier hyperd."""
        container = self.get(ref)
        await container.recovered.wait()
        return container

    def get_pod(self, ref: str, *, also_of_one: bool = False) -> Pod:
        """One with a name of its own; ``also_of_one``: or that of a container that is alone, by its whole ID."""
        if also_of_one and ref in self.pods:
            return self.pods[ref]
        named = {identifier: pod for identifier, pod in self.pods.items() if pod.named}
        by_name = {pod.record.name: identifier for identifier, pod in named.items()}
        return named[names.resolve(ref, by_name, named, kind="pod", listed="hyper pod ls")]

    def named_pods(self) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.named]

    def users_of(self, image_id: str) -> list[str]:
        """Names of the containers made from an image."""
        return [c.record.name for c in self.containers.values() if c.record.image_id == image_id]

    def chains(self) -> set[tuple[str, ...]]:
        return {container.record.diff_ids for container in self.containers.values()}

    # ------------------------------------------------------------------------------------- added and removed

    @contextmanager
    def reserved(self, wanted: str | None) -> Iterator[str]:
        """The name for a container that is about to be made; a new one where none is ``wanted``."""
        taken = {container.record.name: identifier for identifier, container in self.containers.items()}
        name = names.check_name(wanted) if wanted else names.new_name({*taken, *self._reserved})
        if name in taken or name in self._reserved:
            by = f" by container {taken[name][:12]}" if name in taken else ""
            raise Conflict(
                f"the name {name} is already in use{by}", hint="remove or rename that one, or choose another"
            )
        self._reserved.add(name)
        try:
            yield name
        finally:
            self._reserved.discard(name)

    @contextmanager
    def reserved_pod(self, wanted: str | None) -> Iterator[str]:
        taken = {pod.record.name for pod in self.named_pods()} | self._reserved_pods
        name = names.check_name(wanted, kind="pod") if wanted else names.new_name(taken)
        if name in taken:
            raise Conflict(
                f"the name {name} is already in use by a pod", hint="remove that one, or choose another"
            )
        self._reserved_pods.add(name)
        try:
            yield name
        finally:
            self._reserved_pods.discard(name)

    def add(self, pod: PodRecord | None, containers: Sequence[ContainerRecord]) -> list[Container]:
        """Writes them down and makes their objects; ``pod`` None: they are for one that is there."""
        self.parts.state.add(pod, containers)
        if pod is not None:
            self.pods[pod.id] = made = Pod(pod, self.parts)
            made.recovered.set()
        return [self._adopt(record) for record in containers]

    def _adopt(self, record: ContainerRecord) -> Container:
        pod = self.pods[record.pod]
        container = Container(record, pod, self.parts, self._removed)
        self.containers[record.id] = pod.members[record.id] = container
        return container

    def _removed(self, container: Container) -> None:
        self.containers.pop(container.record.id, None)
        container.pod.members.pop(container.record.id, None)
        if not container.pod.named:
            self.pods.pop(container.pod.record.id, None)

    async def forget_pod(self, pod: Pod) -> None:
        """One whose containers are gone, with its disk."""
        await asyncio.to_thread(files.remove_tree, self.parts.pod_dir(pod.record.id))
        self.parts.state.remove_pod(pod.record)
        self.pods.pop(pod.record.id, None)

    def new_uid(self) -> int | None:
        if not vm_plan.runs_as_root():
            return None
        machine = self.parts.config.machine
        taken = {pod.record.uid for pod in self.pods.values() if pod.record.uid is not None}
        return addresses.free_uid(
            machine.uid_base, machine.uid_count, taken | self.parts.factory.ready_uids()
        )
