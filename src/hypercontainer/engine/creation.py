"""From what a user asks for to records: images are fetched, everything is checked, disks are made.

A pod is created with all its containers, whole or not at all; a container that is alone is the only one of its pod.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from hypercontainer.config import Config
from hypercontainer.contract.answers import Created, PodCreated
from hypercontainer.contract.limits import CONTAINERS_MAX
from hypercontainer.contract.networks import Join
from hypercontainer.contract.probes import Healthcheck
from hypercontainer.contract.spec import POD_WIDE, ContainerSpec, PodSpec, alone
from hypercontainer.contract.volumes import ImageVolume, Volume
from hypercontainer.engine import aside, files, names, provisions, strangers, times
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.image_volumes import check_paths
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.network import ports
from hypercontainer.engine.network.network import check_mac, new_mac
from hypercontainer.engine.network.policies import check_joins
from hypercontainer.engine.network.secrets import apart, check_secrets
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox import choice, layout, nfs, storage
from hypercontainer.engine.sandbox.machine import Supplies, check_boot_files
from hypercontainer.engine.state import ContainerRecord, MountedImage, PodRecord
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.hypervisor.resources import memory_mib
from hypercontainer.image import platforms
from hypercontainer.image.model import Image
from hypercontainer.image.reference import parse
from hypercontainer.linux.memory import total_bytes
from hypercontainer.linux.waiting import ended, whole
from hypercontainer.rootfs import create_writable_disk
from hypercontainer.semantics import api_socket, defaults, docker, mounts

MIB = 1024 * 1024
DISK_BYTES = 10 * 1024 * MIB
# What the guest's kernel, its init and the containers' page cache have beside what the containers may use.
POD_OVERHEAD_BYTES = 48 * MIB

EMULATED = (
    "image {} is for {}: it runs in a VM for {}, which is emulated and several times slower than this machine"
)

_PLAIN = ContainerSpec(image="")


@dataclass(frozen=True)
class Asker:
    """On whose behalf something is made: ``uid`` None is nobody known; ``credentials`` are for the registry.  ``said``:
    what is kept with a container in the words of who asks.  ``networks_later``: they need not be there yet."""

    uid: int | None = None
    credentials: Credentials | None = None
    progress: ProgressSink | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    networks_later: bool = False


@dataclass(frozen=True)
class _Draft:
    """A container that is about to be, in a VM of architecture ``machine``."""

    record: ContainerRecord
    image: Image
    machine: str
    warnings: tuple[str, ...]

    @property
    def created(self) -> Created:
        return Created(self.record.id, self.record.name, self.warnings)


class Creation:
    def __init__(
        self,
        directory: Directory,
        images: ImageService,
        supplies: Supplies,
        volumes: provisions.Provisions,
        config: Config,
    ) -> None:
        self._directory = directory
        self._images = images
        self._supplies = supplies
        self._volumes = volumes
        self._places = supplies.places
        self._config = config

    async def container(self, spec: ContainerSpec, asker: Asker, *, aliases: tuple[str, ...] = ()) -> Created:
        """One, in the pod that it names, of which ``aliases`` are more names then, or in one of its own."""
        spec = api_socket.asked_for(spec, self._config.docker_socket, asker.uid)
        if spec.pod is not None:
            pod = self._directory.get_pod(spec.pod, also_of_one=True)
            return await self._member(pod, spec, asker, aliases)
        (created,) = (await self._pod(alone(spec), "", [spec], asker)).containers
        return created

    async def pod(self, spec: PodSpec, asker: Asker, *, coupled: bool = False) -> PodCreated:
        """``coupled``: it goes with its last container."""
        own = self._config.docker_socket
        members = tuple(api_socket.asked_for(member, own, asker.uid) for member in spec.containers)
        spec = msgspec.structs.replace(spec, containers=members)
        with self._directory.reserved_pod(spec.name) as name:
            return await self._pod(spec, name, members, asker, coupled=coupled)

    async def fetch(self, spec: ContainerSpec, asker: Asker) -> Image:
        """The image of one that is to be created, pulled where that is wanted.  NotSupported, before anything is
        fetched, for a platform that does not run here, and Unavailable where what its VMs need is not installed."""
        if spec.platform:
            await self._machine(platforms.parse(spec.platform), spec.image)
        return await self._fetched(spec.image, spec.pull, asker, platform=spec.platform, artifacts=False)

    async def fetch_volume(self, source: ImageVolume, asker: Asker) -> Image:
        """What a volume is to be; ``asker.credentials`` are for its registry."""
        return await self._fetched(source.reference, source.pull, asker, platform=None, artifacts=True)

    async def _fetched(
        self, reference: str, pull: str, asker: Asker, *, platform: str | None, artifacts: bool
    ) -> Image:
        """``artifacts``: what is no image is taken too."""
        if pull != "always":
            try:
                return await self._images.to_use(reference, platform=platform, artifacts=artifacts)
            except NotFound:
                if pull == "never":
                    raise
        return await self._images.fetch(
            reference,
            platform=platform,
            credentials=asker.credentials,
            progress=asker.progress,
            artifacts=artifacts,
            whole=False,
        )

    async def _volume_images(
        self, volumes: Iterable[Volume], known: Iterable[str], asker: Asker, held: ExitStack
    ) -> dict[str, MountedImage]:
        """What those lead to that are images, by their names.  The asker's credentials are for the registries of the
        images that are ``known``, and go to no other."""
        registries = {parse(reference).registry for reference in known}
        found = {}
        for volume in volumes:
            if isinstance(volume.source, ImageVolume):
                trusted = parse(volume.source.reference).registry in registries
                image = await self.fetch_volume(
                    volume.source, asker if trusted else replace(asker, credentials=None)
                )
                held.enter_context(self._images.held(image))
                found[volume.name] = MountedImage(image.id, tuple(layer.diff_id for layer in image.layers))
        return found

    # ------------------------------------------------------------------------------------- a pod

    async def _pod(
        self,
        spec: PodSpec,
        name: str,
        members: Sequence[ContainerSpec],
        asker: Asker,
        *,
        coupled: bool = False,
    ) -> PodCreated:
        """``name`` "": it is of the one container, and goes with it."""
        check_count(name, len(members))
        choice.check(spec.hypervisor, spec.accelerator, self._supplies.drivers)
        joins = await self._joins(spec, later=asker.networks_later)
        spec, members, secrets = apart(spec, members)
        await storage.HOST_PATHS.run(partial(check_boot_files, spec, self._supplies.boot_files, asker.uid))
        mounts.memory_volume(spec.shm_size_bytes, in_pod=bool(name))
        async with contextlib.AsyncExitStack() as stack:
            held = stack.enter_context(ExitStack())
            identifier = names.new_id()
            drafts = await self._drafts(spec, name, identifier, members, asker, held)
            known = [member.image for member in members]
            images = await self._volume_images(spec.volumes, known, asker, held)
            what = f"pod {name}" if name else f"container {drafts[0].record.name}"
            brought = [volume for draft in drafts for volume in draft.record.spec.volumes]
            volumes = _known({}, [*spec.volumes, *brought], what)
            records = [draft.record for draft in drafts]
            await self._check_storage(volumes, volumes.values(), records, images, what, asker)
            nfs.check(volumes.values(), self._supplies.volumes, joins, what)
            stack.enter_context(self._directory.reserved_volumes(volumes.values()))
            new = await stack.enter_async_context(self._volumes.made(volumes.values()))
            written_down = [await self._volumes.filling(draft.record, new) for draft in drafts]
            record = self._pod_record(spec, identifier, name, drafts, joins, asker)
            record = msgspec.structs.replace(record, volume_images=images, coupled=coupled)
            for draft in drafts:
                await stack.enter_async_context(_made(self._places.container(draft.record.id)))
            write = bool(name) or not records[0].spec.read_only
            make = partial(self._make_disks, record, volumes.values(), write=write)
            await stack.enter_async_context(_made(layout.disk_folder(self._places, record), make))
            stack.enter_context(self._supplies.networks.egress.secrets.made(identifier, secrets))
            containers = self._directory.add(record, written_down)
        for container in containers:
            container.tell("create")
        if name:
            self._directory.pods[identifier].tell("create", **spec.labels)
        return PodCreated(identifier, name, tuple(draft.created for draft in drafts))

    async def _drafts(
        self,
        spec: PodSpec,
        name: str,
        identifier: str,
        members: Sequence[ContainerSpec],
        asker: Asker,
        held: ExitStack,
    ) -> list[_Draft]:
        """Their names and images are theirs until ``held`` ends."""
        drafts = []
        for place, member in enumerate(members):
            own = held.enter_context(self._directory.reserved(member.name))
            if name:
                member_id, wish = names.new_id(), in_pod(member, spec, name, identifier)
            else:
                member_id, wish = identifier, member
            draft = await self._draft(wish, own, member_id, identifier, asker, held, place if name else None)
            drafts.append(draft)
        return drafts

    async def _joins(self, spec: PodSpec, *, later: bool = False) -> tuple[Join, ...]:
        ports.check(spec.ports)
        check_mac(spec.mac_address)
        networks = self._supplies.networks
        networks.policing.policies.check(spec.network_policy)
        nics = await self._supplies.nics(spec.hypervisor)
        joins = await networks.checked(spec.networks, nics, later=later)
        ports.check_reach(spec.ports, joins)
        networks.check_services(spec.services, joins)
        ports.check_open(spec.host_loopback, joins)
        check_secrets(spec.secret_headers, joins)
        check_joins(spec.network_policy, joins, networks.problem)
        return joins

    def _pod_record(
        self,
        spec: PodSpec,
        identifier: str,
        name: str,
        drafts: Sequence[_Draft],
        networks: tuple[Join, ...],
        asker: Asker,
    ) -> PodRecord:
        usual, machine = self._config.defaults, self._config.machine
        members = [draft.record.spec for draft in drafts]
        limits = sum(member.memory_bytes or 0 for member in members)
        room = max(usual.memory_bytes, limits + POD_OVERHEAD_BYTES if limits else 0)
        room = min(room, total_bytes())  # all limits together may be more than there is
        every_port = not name and members[0].publish_all
        exposed = docker.exposed_mappings(members[0], drafts[0].image.config) if every_port else ()
        return PodRecord(
            id=identifier,
            spec=spec,
            name=name,
            created=times.now(),
            memory_mib=memory_mib(spec.memory_bytes or room),
            cpus=spec.cpus or max([usual.cpus, *(member.cpus or 0 for member in members)]),
            mac=spec.mac_address or new_mac(),
            networks=networks,
            ports=(*spec.ports, *exposed),
            kernel=spec.kernel,
            initrd=spec.initrd or (str(machine.initrd) if machine.initrd else None),
            kernel_args=(*machine.kernel_args, *spec.kernel_args),
            hypervisor=spec.hypervisor,
            accelerator=spec.accelerator,
            architecture=_of_one_architecture(name, drafts, self._usual),
            uid=self._directory.new_uid(),
            asked_by=asker.uid,
        )

    def _make_disks(self, record: PodRecord, volumes: Collection[Volume], *, write: bool) -> None:
        """``write``: containers may write to their roots."""
        disk = layout.disk_path(self._places, record)
        if write or storage.needs_disk(volumes):
            create_writable_disk(disk, record.spec.disk_size_bytes or DISK_BYTES, self._places.cache)
        storage.make_limited(volumes, disk.parent, self._places.cache)

    @contextlib.asynccontextmanager
    async def _limited(self, pod: PodRecord, volumes: Iterable[Volume]) -> AsyncIterator[None]:
        """The disks that these have for themselves are there afterwards, unless something fails."""
        folder = layout.disk_folder(self._places, pod)
        making = asyncio.ensure_future(
            asyncio.to_thread(storage.make_limited, volumes, folder, self._places.cache)
        )
        try:
            await asyncio.shield(making)
            yield
        except BaseException:
            await ended(making)
            if not making.exception():
                storage.remove_limited(making.result())
            raise

    # ------------------------------------------------------------------------------------- its containers

    async def _member(self, pod: Pod, spec: ContainerSpec, asker: Asker, aliases: tuple[str, ...]) -> Created:
        """One more in a pod that is there."""
        with self._directory.reserved(spec.name) as name, ExitStack() as held:
            await pod.recovered.wait()
            check_count(pod.record.name, len(pod.members) + 1)
            wish = in_pod(spec, pod.record.spec, pod.record.name, pod.id)
            strangers.check_company(pod, spec, asker.uid)
            draft = await self._draft(wish, name, names.new_id(), pod.id, asker, held)
            there = {name: brought.volume for name, brought in pod.contents().volumes.items()}
            brought = draft.record.spec.volumes
            volumes = _known(there, brought, pod.what)
            shared = pod.record.volume_images
            await self._check_storage(volumes, brought, [draft.record], shared, f"container {name}", asker)
            nfs.check(brought, self._supplies.volumes, pod.record.networks, pod.what)
            kept, made = (
                self._directory.reserved_volumes(brought),
                _made(self._places.container(draft.record.id)),
            )
            limited = self._limited(pod.record, brought)
            with kept, held:
                async with self._volumes.made(brought) as new, made, limited:
                    record = await self._volumes.filling(draft.record, new)
                    record = msgspec.structs.replace(record, aliases=aliases)
                    check_count(pod.record.name, len(pod.members) + 1)  # others may have come meanwhile
                    if not pod.takes(draft.machine):
                        raise _of_another_architecture(pod.record.name, draft, pod.record.architecture)
                    (container,) = self._directory.add(None, [record])
        container.tell("create")
        return draft.created

    async def _draft(
        self,
        spec: ContainerSpec,
        name: str,
        identifier: str,
        pod: str,
        asker: Asker,
        held: ExitStack,
        place: int | None = None,
    ) -> _Draft:
        """``place``: among those that are created with their pod; None: it is created for itself.  Until ``held`` ends,
        nobody removes its images."""
        image = await self.fetch(spec, asker)
        machine = await self._machine(image.platform, spec.image)
        held.enter_context(self._images.held(image))
        spec = defaults.applied(spec, self._config)
        spec, wanted = provisions.provided(spec, image.config.volumes, for_pod=place is not None)
        ports.check(spec.ports)
        check_mac(spec.mac_address)
        effective, warnings = docker.effective(spec, image.config, identifier)
        strangers.check_log(spec, asker.uid)
        if machine != self._usual and not spec.platform:
            warnings = (*warnings, EMULATED.format(spec.image, image.platform, machine))
        record = ContainerRecord(
            id=identifier,
            name=name,
            pod=pod,
            spec=spec,
            image=spec.image,
            image_id=image.id,
            diff_ids=tuple(layer.diff_id for layer in image.layers),
            effective=msgspec.structs.replace(effective, volumes=wanted),
            created=times.now(),
            asked_by=asker.uid,
            place=place or 0,
            labels={**image.config.labels, **spec.labels},
            volume_images=await self._volume_images(spec.volumes, [spec.image], asker, held),
            asked=dict(asker.said),
        )
        return _Draft(record, image, machine, warnings)

    @property
    def _usual(self) -> str:
        return self._supplies.drivers.default.architecture

    async def _machine(self, platform: platforms.Platform, image: str) -> str:
        """The architecture of the VM that images for it run in, which can be had."""
        drivers = self._supplies.drivers
        machine = platforms.machine_for(platform, drivers.architectures, f"image {image}")
        if machine != self._usual:
            await self._supplies.of(machine)
        return machine

    async def _check_storage(
        self,
        volumes: Mapping[str, Volume],
        brought: Iterable[Volume],
        records: Sequence[ContainerRecord],
        shared: Mapping[str, MountedImage],
        what: str,
        asker: Asker,
    ) -> None:
        """``brought`` by those who ask, with their rights; ``shared``: images that are volumes of the pod."""
        containers = [record.spec for record in records]
        storage.check(volumes, containers, what)
        images = {name: image for record in records for name, image in record.volume_images.items()}
        if images := {**shared, **images}:
            await asyncio.to_thread(check_paths, containers, volumes, images, self._supplies.layers)
        if theirs := tuple(brought):
            await storage.HOST_PATHS.run(partial(storage.check_host, theirs, self._places, asker.uid))


def check_count(pod: str, count: int) -> None:
    """Before anything is made."""
    if count > CONTAINERS_MAX:
        raise InvalidArgument(f"pod {pod}: a pod has {CONTAINERS_MAX} containers at most")


def _of_one_architecture(pod: str, drafts: Sequence[_Draft], usual: str) -> str:
    """Of a pod's VM: its containers', which all have the same."""
    if not drafts:
        return usual
    for draft in drafts[1:]:
        if draft.machine != drafts[0].machine:
            raise _of_another_architecture(pod, draft, drafts[0].machine)
    return drafts[0].machine


def _of_another_architecture(pod: str, draft: _Draft, machine: str) -> InvalidArgument:
    return InvalidArgument(
        f"pod {pod} is one VM, for {machine}: image {draft.record.image} is for {draft.image.platform}",
        field="platform",
        takes=f"an image for linux/{machine}, or a pod of its own",
    )


def _known(there: Mapping[str, Volume], more: Iterable[Volume], what: str) -> dict[str, Volume]:
    """All of them, by name."""
    known = dict(there)
    for volume in more:
        if known.setdefault(volume.name, volume) != volume:
            raise InvalidArgument(f"{what} has two volumes called {volume.name}", hint="rename one of them")
    return known


@contextlib.asynccontextmanager
async def _made(directory: Path, fill: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """A directory that is there afterwards, unless something fails; it is marked until then."""

    def make() -> None:
        aside.begin(directory)
        fill()

    try:
        await asyncio.to_thread(make)
        yield
    except BaseException:
        await whole(asyncio.to_thread(files.remove_tree, directory))
        raise
    aside.finished(directory)


def in_pod(spec: ContainerSpec, pod: PodSpec, name: str, identifier: str) -> ContainerSpec:
    """A member's specification with what its pod decides.  Raises InvalidArgument where it says that itself."""
    for said in POD_WIDE:
        if getattr(spec, said) != getattr(_PLAIN, said):
            raise InvalidArgument(
                f"pod {name} decides it, for all of its containers",
                field=said,
                hint="say it where the pod is made",
            )
    group = () if pod.fs_group is None else (str(pod.fs_group),)
    return msgspec.structs.replace(
        spec,
        hostname=pod.hostname or names.host_name(name, identifier),
        domainname=pod.domainname,
        networks=pod.networks,
        dns=pod.dns,
        dns_search=pod.dns_search,
        dns_options=pod.dns_options,
        extra_hosts=pod.extra_hosts,
        pid_mode="pod" if pod.share_pids else spec.pid_mode,
        groups=(*spec.groups, *group),
        sysctls={**pod.sysctls, **spec.sysctls},
        # Kubernetes has probes, and does not ask as images want it.
        healthcheck=Healthcheck(("NONE",)) if pod.manifest else spec.healthcheck,
        pod=name or identifier,
    )
