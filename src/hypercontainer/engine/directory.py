"""All pods and containers there are: taken back from an earlier hyperd, found by name, added, let go of.

The one owner of their objects.  Names of containers are unique, and so are names of pods.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hypercontainer.contract.volumes import NamedVolume, Volume
from hypercontainer.engine import files, names
from hypercontainer.engine.aside import Aside
from hypercontainer.engine.container.api_socket import Door
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.container.ties import Ties
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.network.names import Known
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.provisions import named_volumes
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox.claims import Holder
from hypercontainer.engine.sandbox.execs import Exec
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.sandbox.machine import Supplies
from hypercontainer.engine.sandbox.uids import free_uid, runs_as_root
from hypercontainer.engine.state import ContainerRecord, MountedImage, PodRecord, StateStore
from hypercontainer.errors import Conflict, HyperError, NameTaken, NotFound
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.linux.process import runs
from hypercontainer.semantics.links import links

RECOVERY_PATIENCE_S = 3.0

log = logging.getLogger(__name__)


class Directory:
    def __init__(
        self, state: StateStore, aside: Aside, supplies: Supplies, factory: Factory, events: EventBus
    ) -> None:
        self.containers: dict[str, Container] = {}
        self.pods: dict[str, Pod] = {}
        self.api = Door()
        self._state = state
        self._supplies = supplies
        self._places = supplies.places
        self._factory = factory
        self._events = events
        self.aside = aside
        self._reserved: set[str] = set()  # names of containers that are being created
        self._reserved_pods: set[str] = set()
        self._reserved_volumes: Counter[str] = Counter()  # of what is being created
        self._recoveries: list[asyncio.Task[None]] = []
        self._visits: dict[str, tuple[Kept[PodRecord], Holder]] = {}  # VMs that are brought up for no pod
        factory.new_uid = self.new_uid
        supplies.claims.others = self._claimed_by_others

    # ------------------------------------------------------------------------------------- taken back, let go of

    async def open(self) -> None:
        """Takes every pod back, as it is now.

        A guest that does not answer holds up nobody but those who ask for its containers.
        """
        self.aside.records(self._state)
        records, containers = self._state.pods(), self._state.containers()
        known = {"containers": [each.id for each in containers], "pods": [each.id for each in records]}
        await asyncio.to_thread(self.aside.folders, known)
        vms = [VMRecord.from_json(pod.vm) for pod in records if pod.vm is not None]
        await self._end_strays({vm.run_dir: vm for vm in vms})
        for record in records:
            self._hold_pod(record)
        for container in sorted(containers, key=lambda each: (each.created, each.place)):
            self._hold(container)
        await self._supplies.networks.open()  # who asks for a name by now is told
        self._recoveries = [asyncio.create_task(pod.recover()) for pod in self.pods.values()]
        if self._recoveries:
            await asyncio.wait(self._recoveries, timeout=RECOVERY_PATIENCE_S)
        for pod in self.named_pods():
            pod.resume()

    async def _end_strays(self, expected: Mapping[Path, VMRecord]) -> None:
        """VMs that were started, but not written down, when an earlier hyperd was killed.  One whose files were set
        aside is left alone: with its records it is taken back."""
        for path in self._places.sockets.iterdir():
            record = read_record(path)
            if path in expected and (record is None or record.is_same(expected[path])):
                continue
            if record is not None:
                if self.aside.has_part_of(path.name) and _may_run(record):
                    log.error("VM %s runs, %s, and no record knows it", record.name, record.where)
                    self.aside.vms.append(record)
                    continue
                log.warning("VM %s is nobody's; it is ended", record.name)
                try:
                    await self._supplies.drivers.of(record).destroy(record)
                except HyperError as error:  # where its driver is not there, it is not known to be gone
                    log.error("VM %s cannot be ended: %s", record.name, error)
                    continue
            await asyncio.to_thread(files.remove_tree, path)

    async def close(self, *, stop: bool) -> None:
        for pod in tuple(self.pods.values()):
            await pod.let_go()
        if stop:
            stops = (container.stop() for container in self.containers.values())
            await asyncio.gather(*stops, return_exceptions=True)
        for recovery in self._recoveries:
            recovery.cancel()
        for pod in tuple(self.pods.values()):
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

    async def pod_of(self, ref: str) -> Pod:
        """The pod of a container, or the one of this name."""
        try:
            container = await self.held(ref)
            return self.pods[container.record.pod]
        except NotFound:
            try:
                return await self.held_pod(ref)
            except NotFound:
                pass
            raise

    def called(self, pod: str) -> str:
        """What people call it; "" of one that is gone."""
        return self.pods[pod].called if pod in self.pods else ""

    def get_pod(self, ref: str, *, also_of_one: bool = False) -> Pod:
        """One with a name of its own; ``also_of_one``: or that of a container that is alone, by its whole ID."""
        if also_of_one and ref in self.pods:
            return self.pods[ref]
        named = {pod.id: pod for pod in self.named_pods()}
        by_name = {pod.record.name: identifier for identifier, pod in named.items()}
        return named[names.resolve(ref, by_name, named, kind="pod")]

    async def held_pod(self, ref: str, *, also_of_one: bool = False) -> Pod:
        """The pod, once it has been taken back from an earlier hyperd."""
        pod = self.get_pod(ref, also_of_one=also_of_one)
        await pod.recovered.wait()
        return pod

    def named_pods(self) -> list[Pod]:
        return [pod for pod in self.pods.values() if not pod.record.alone]

    def exec(self, identifier: str) -> Exec:
        """In whichever container or VM."""
        groups = [container.execs for container in self.containers.values()]
        for group in (*groups, *(pod.execs for pod in self.pods.values())):
            if (found := group.find(identifier)) is not None:
                return found
        raise NotFound(f"no such exec: {identifier[:12]}")

    def users_of(self, image_id: str) -> list[str]:
        """Names of the containers that an image is needed for, their own or a volume's; of pods without any, theirs.
        From any thread."""
        users = (
            name for name, images in self._image_users() if image_id in {each.image_id for each in images}
        )
        return [*dict.fromkeys(users)]

    def used_images(self) -> set[str]:
        """IDs."""
        return {image.image_id for _, images in self._image_users() for image in images}

    def _image_users(self) -> Iterator[tuple[str, list[MountedImage]]]:
        for pod in tuple(self.pods.values()):
            shared, records = list(pod.record.volume_images.values()), pod.records()
            for record in records:
                own = MountedImage(record.image_id, record.diff_ids)
                yield record.name, [own, *record.volume_images.values(), *shared]
            if not records:
                yield pod.record.name, shared

    def volume_users(self) -> dict[str, tuple[str, ...]]:
        """Names of pods, and of containers that are alone, by the volume of hyperd's that they use."""
        users: dict[str, tuple[str, ...]] = {}
        for pod in self.pods.values():
            records = pod.records()
            name = pod.record.name or (records[0].name if records else "")
            for volume in named_volumes(pod.record.spec, records):
                users[volume] = (*users.get(volume, ()), name)
        for volume in self._reserved_volumes:
            users[volume] = (*users.get(volume, ()), "one that is being created")
        return users

    def known(self, pod: str) -> Known:
        """What its networks' name servers are to know of a pod."""
        if (found := self.pods.get(pod)) is None:
            return Known()
        records = found.records()
        named = [name for each in records for name in (each.name, *each.aliases)]
        named += [found.record.name, found.record.hostname]
        servers = found.record.spec.dns or next((each.spec.dns for each in records if each.spec.dns), ())
        linked = [*(each.spec.links for each in records), *(join.links for join in found.record.networks)]
        own = links(link for each in linked for link in each)
        return Known(tuple(dict.fromkeys(name for name in named if name)), servers, own)

    def chains(self) -> set[tuple[str, ...]]:
        """Of the layers of all images that are used.  From any thread."""
        return {image.diff_ids for _, images in self._image_users() for image in images}

    # ------------------------------------------------------------------------------------- added and removed

    @contextmanager
    def reserved(self, wanted: str | None) -> Iterator[str]:
        """The name for a container that is about to be made; a new one where none is ``wanted``."""
        taken = {container.record.name: identifier for identifier, container in self.containers.items()}
        name = names.check_name(wanted) if wanted else names.new_name({*taken, *self._reserved})
        if name in taken or name in self._reserved:
            by = f" by container {taken[name][:12]}" if name in taken else ""
            raise NameTaken(
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

    @contextmanager
    def reserved_volumes(self, wanted: Iterable[Volume]) -> Iterator[None]:
        """Nobody removes these while what uses them is made."""
        names = Counter(one.source.name for one in wanted if isinstance(one.source, NamedVolume))
        self._reserved_volumes += names
        try:
            yield
        finally:
            self._reserved_volumes -= names

    def add(self, pod: PodRecord | None, containers: Sequence[ContainerRecord]) -> list[Container]:
        """Writes them down and makes their objects; ``pod`` None: they are for one that is there."""
        self._state.add(pod, containers)
        if pod is not None:
            self._hold_pod(pod).recovered.set()
        return [self._hold(record) for record in containers]

    def _hold_pod(self, record: PodRecord) -> Pod:
        kept = Kept(record, self._state.put_pod)
        pod = Pod(kept, self._supplies, self._factory, self._events, self._pod_removed)
        self.pods[record.id] = pod
        return pod

    def _hold(self, record: ContainerRecord) -> Container:
        pod = self.pods[record.pod]
        ties = Ties(
            sandbox=pod.sandbox,
            places=self._places,
            events=self._events,
            contents=pod.contents,
            news=pod.runs.poke,
            reserved=self.reserved,
            removed=self._removed,
            drop_volumes=self._drop_volumes,
            api=self.api.connect,
            left=pod.left,
        )
        container = Container(Kept(record, self._state.put_container), ties)
        self.containers[record.id] = pod.members[record.id] = container
        return container

    def _removed(self, record: ContainerRecord) -> None:
        pod = self.pods[record.pod]
        last = pod.record.alone and len(pod.members) == 1  # others may have come into it
        self._state.remove(record, with_pod=last)
        if last:
            self._supplies.networks.egress.secrets.drop(pod.id)
        self.containers.pop(record.id, None)
        pod.members.pop(record.id, None)
        if last:
            self.pods.pop(pod.id, None)

    async def _drop_volumes(self, record: ContainerRecord) -> None:
        """Those that came with a container that is gone, that nobody has named and nobody else uses."""
        used = self.volume_users()
        for source in (volume.source for volume in record.spec.volumes):
            if isinstance(source, NamedVolume) and source.anonymous and source.name not in used:
                try:
                    await asyncio.to_thread(self._supplies.volumes.remove, source.name)
                except NotFound:
                    continue
                except HyperError as error:  # the container is gone, and this can be pruned
                    log.error("volume %s: %s", source.name, error)
                    continue
                self._events.publish("volume", "destroy", source.name, driver="local")

    def _pod_removed(self, record: PodRecord) -> None:
        self._state.remove_pod(record)
        self._supplies.networks.egress.secrets.drop(record.id)
        self.pods.pop(record.id, None)

    def _claimed_by_others(self, pod: str) -> Iterator[tuple[Mapping[str, bool], Callable[[str], Holder]]]:
        for other in self.pods.values():
            if other.id != pod and other.record.claimed:
                yield other.record.claimed, other.holder

        for identifier, (visit, holder) in self._visits.items():
            if identifier != pod and visit.value.claimed:
                yield visit.value.claimed, lambda _disk, holder=holder: holder  # type: ignore[misc]

    @contextmanager
    def visit(self, record: Kept[PodRecord], what: str) -> Iterator[None]:
        """While there may be a VM that is no pod's, and ends with this hyperd: what it has claimed, and its user."""
        self._visits[record.value.id] = record, Holder("", (), what)
        try:
            yield
        finally:
            del self._visits[record.value.id]

    def new_uid(self) -> int | None:
        """For a VM's process; None where it is hyperd's own."""
        if not runs_as_root():
            return None
        machine = self._supplies.machine
        records = [pod.record for pod in self.pods.values()]
        records += [visit.value for visit, _ in self._visits.values()]
        taken = {record.uid for record in records if record.uid is not None}
        return free_uid(
            machine.uid_base, machine.uid_count, taken | self._factory.ready_uids() | self.aside.uids()
        )


def _may_run(vm: VMRecord) -> bool:
    """Of one that is no process of this machine's it is not known."""
    return vm.identity is None or runs(vm.identity)
