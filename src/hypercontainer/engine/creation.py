"""From what a user asks for to records: images are fetched, everything is checked, disks are made.

A container, or a pod with all its containers, is created whole or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from hypercontainer.contract.answers import Created, PodCreated
from hypercontainer.contract.limits import CONTAINERS_MAX
from hypercontainer.contract.spec import ContainerSpec, PodSpec, PortMapping
from hypercontainer.contract.volumes import NamedVolume, Volume
from hypercontainer.engine import files, names, times
from hypercontainer.engine.directory import Registry
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.network import user as addresses
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox import storage
from hypercontainer.engine.service.images import ImageService
from hypercontainer.engine.state import ContainerRecord, PodRecord
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.image.model import Image
from hypercontainer.rootfs import create_writable_disk
from hypercontainer.semantics import defaults
from hypercontainer.semantics import docker as plan
from hypercontainer.semantics import mounts as plan_mounts

MIB = 1024 * 1024
LEAST_MEMORY_MIB = 28
DISK_BYTES = 10 * 1024 * MIB
# What the guest's kernel, its init and the containers' page cache have beside what the containers may use.
POD_OVERHEAD_BYTES = 48 * MIB
# What a pod has once, for all its containers: said of one of them it would be dropped in silence.
POD_WIDE = {
    "hostname": "--hostname",
    "domainname": "--domainname",
    "ports": "--publish",
    "publish_all": "--publish-all",
    "dns": "--dns",
    "dns_search": "--dns-search",
    "dns_options": "--dns-option",
    "extra_hosts": "--add-host",
    "mac_address": "--mac-address",
    "disk_size_bytes": "--disk-size",
    "kernel": "--kernel",
    "initrd": "--initrd",
    "kernel_args": "--kernel-arg",
    "accelerator": "--accelerator",
}
_PLAIN = ContainerSpec(image="")


class Creation:
    def __init__(self, registry: Registry, images: ImageService) -> None:
        self._registry = registry
        self._parts: Parts = registry.parts
        self._images = images

    # ------------------------------------------------------------------------------------- one container

    async def container(
        self,
        spec: ContainerSpec,
        credentials: Credentials | None,
        progress: ProgressSink | None,
        asked_by: int | None,
    ) -> Created:
        pod = self._registry.get_pod(spec.pod) if spec.pod is not None else None
        with self._registry.reserved(spec.name) as name:
            image = await self._image(spec, credentials, progress)
            if pod is not None:
                return await self._member(pod, spec, name, image, asked_by)
            identifier = names.new_id()
            record, warnings = self._record(spec, name, identifier, identifier, image, asked_by)
            storage.check({v.name: v for v in spec.volumes}, [record], f"container {name}")
            await asyncio.to_thread(storage.check_host, spec.volumes, self._parts, asked_by)
            wish = self._pod_of_one(record.spec, identifier, image)
            directory = self._parts.container_dir(identifier)
            async with _made(directory, lambda: self._make_directory(directory, record.spec)):
                (container,) = self._registry.add(wish, [record])
        container.tell("create")
        return Created(identifier, name, warnings)

    async def _member(
        self, pod: Pod, spec: ContainerSpec, name: str, image: Image, asked_by: int | None
    ) -> Created:
        """One more in a pod that is there."""
        await pod.recovered.wait()
        shared = pod.record.spec
        assert shared is not None
        if len(pod.members) >= CONTAINERS_MAX:
            raise InvalidArgument(f"pod {pod.record.name} has {CONTAINERS_MAX} containers, and no more fit")
        identifier = names.new_id()
        merged = in_pod(spec, shared, pod.record.name)
        record, warnings = self._record(merged, name, identifier, pod.record.id, image, asked_by)
        for volume in spec.volumes:
            if pod.volumes.get(volume.name, volume) != volume:
                raise InvalidArgument(
                    f"pod {pod.record.name} has another volume {volume.name}",
                    hint="give this one another name",
                )
        volumes = pod.volumes | {volume.name: volume for volume in spec.volumes}
        storage.check(volumes, [record], f"container {name}")
        await asyncio.to_thread(storage.check_host, spec.volumes, self._parts, asked_by)
        directory = self._parts.container_dir(identifier)
        async with _made(directory, lambda: files.make_private(directory)):
            (container,) = self._registry.add(None, [record])
        container.tell("create")
        return Created(identifier, name, warnings)

    # ------------------------------------------------------------------------------------- a pod

    async def pod(
        self,
        spec: PodSpec,
        credentials: Credentials | None,
        progress: ProgressSink | None,
        asked_by: int | None,
    ) -> PodCreated:
        if len(spec.containers) > CONTAINERS_MAX:
            raise InvalidArgument(f"{len(spec.containers)} containers: a pod has {CONTAINERS_MAX} at most")
        addresses.check(spec.ports, spec.mac_address)
        plan_mounts.memory_volume(spec.shm_size_bytes, in_pod=True)
        async with contextlib.AsyncExitStack() as stack:
            name = stack.enter_context(self._registry.reserved_pod(spec.name))
            identifier, created = names.new_id(), []
            for place, member in enumerate(spec.containers):
                own = stack.enter_context(self._registry.reserved(member.name))
                merged = in_pod(member, spec, name)
                image = await self._image(merged, credentials, progress)
                record, warnings = self._record(merged, own, names.new_id(), identifier, image, asked_by)
                created.append((msgspec.structs.replace(record, place=place), warnings))
            records = [record for record, _ in created]
            volumes = self._volumes(spec, records, name)
            await asyncio.to_thread(storage.check_host, volumes, self._parts, asked_by)
            wish = self._pod_record(spec, identifier, name, asked_by)
            folders = [self._parts.container_dir(record.id) for record in records]
            for folder in folders:
                await stack.enter_async_context(_made(folder, partial(files.make_private, folder)))
            place_of_disk = self._parts.pod_dir(identifier)
            await stack.enter_async_context(
                _made(place_of_disk, partial(self._make_pod_directory, place_of_disk, spec))
            )
            containers = self._registry.add(wish, records)
        for container in containers:
            container.tell("create")
        self._parts.events.publish("pod", "create", identifier, name=name, **spec.labels)
        made = tuple(Created(record.id, record.name, warnings) for record, warnings in created)
        return PodCreated(identifier, name, made)

    def _volumes(self, spec: PodSpec, records: Sequence[ContainerRecord], name: str) -> list[Volume]:
        """All of them, checked."""
        volumes = [*spec.volumes, *(volume for record in records for volume in record.spec.volumes)]
        known: dict[str, Volume] = {}
        for volume in volumes:
            if known.setdefault(volume.name, volume) != volume:
                raise InvalidArgument(
                    f"pod {name} has two volumes called {volume.name}", hint="rename one of them"
                )
        storage.check(known, records, f"pod {name}")
        return list(known.values())

    def _pod_record(self, spec: PodSpec, identifier: str, name: str, asked_by: int | None) -> PodRecord:
        usual = self._parts.config.defaults
        members = sum(member.memory_bytes or 0 for member in spec.containers)
        room = max(usual.memory_bytes, members + POD_OVERHEAD_BYTES if members else 0)
        cpus = spec.cpus or max([usual.cpus, *(member.cpus or 0 for member in spec.containers)])
        record = self._vm(
            spec, identifier, memory_bytes=spec.memory_bytes or room, cpus=cpus, ports=spec.ports
        )
        return msgspec.structs.replace(record, name=name, spec=spec, created=times.now(), asked_by=asked_by)

    def _vm(
        self,
        spec: ContainerSpec | PodSpec,
        identifier: str,
        *,
        memory_bytes: int,
        cpus: float,
        ports: tuple[PortMapping, ...],
    ) -> PodRecord:
        """The record of a pod, as far as it is one of a VM."""
        machine = self._parts.config.machine
        return PodRecord(
            id=identifier,
            memory_mib=memory_mib(memory_bytes),
            cpus=cpus,
            mac=spec.mac_address or addresses.new_mac(),
            network=spec.network,
            ports=ports,
            kernel=spec.kernel,
            initrd=spec.initrd or (str(machine.initrd) if machine.initrd else None),
            kernel_args=(*machine.kernel_args, *spec.kernel_args),
            accelerator=spec.accelerator,
            uid=self._registry.new_uid(),
        )

    def _make_pod_directory(self, directory: Path, spec: PodSpec) -> None:
        files.make_private(directory.parent)
        files.make_private(directory)
        self._make_disk(directory, spec.disk_size_bytes)

    # ------------------------------------------------------------------------------------- parts of both

    async def fetch(
        self, spec: ContainerSpec, credentials: Credentials | None, progress: ProgressSink | None
    ) -> None:
        """Has the image of one that is to be created later."""
        await self._image(spec, credentials, progress)

    async def _image(
        self, spec: ContainerSpec, credentials: Credentials | None, progress: ProgressSink | None
    ) -> Image:
        if spec.pull != "always":
            try:
                return await self._images.get(spec.image)
            except NotFound:
                if spec.pull == "never":
                    raise
        return await self._images.fetch(
            spec.image, platform=spec.platform, credentials=credentials, progress=progress
        )

    def _record(
        self,
        spec: ContainerSpec,
        name: str,
        identifier: str,
        pod: str,
        image: Image,
        asked_by: int | None,
    ) -> tuple[ContainerRecord, tuple[str, ...]]:
        spec = defaults.applied(spec, self._parts.config)
        addresses.check(spec.ports, spec.mac_address)
        effective, warnings = plan.effective(spec, image.config, identifier)
        record = ContainerRecord(
            id=identifier,
            name=name,
            pod=pod,
            spec=spec,
            image=spec.image,
            image_id=image.id,
            diff_ids=tuple(layer.diff_id for layer in image.layers),
            effective=effective,
            created=times.now(),
            asked_by=asked_by,
            labels={**image.config.labels, **spec.labels},
        )
        return record, warnings

    def _pod_of_one(self, spec: ContainerSpec, identifier: str, image: Image) -> PodRecord:
        usual = self._parts.config.defaults
        ports = spec.ports
        if spec.publish_all:
            ports += plan.exposed_mappings(spec, image.config)
        memory_bytes, cpus = spec.memory_bytes or usual.memory_bytes, spec.cpus or usual.cpus
        return self._vm(spec, identifier, memory_bytes=memory_bytes, cpus=cpus, ports=ports)

    def _make_directory(self, directory: Path, spec: ContainerSpec) -> None:
        files.make_private(directory)
        if not spec.read_only or storage.needs_disk({volume.name: volume for volume in spec.volumes}):
            self._make_disk(directory, spec.disk_size_bytes)

    def _make_disk(self, directory: Path, size_bytes: int | None) -> None:
        create_writable_disk(
            directory / "disk.img", size_bytes or DISK_BYTES, self._parts.config.root / "cache"
        )


@contextlib.asynccontextmanager
async def _made(directory: Path, make: Callable[[], None]) -> AsyncIterator[None]:
    """A directory that is there afterwards, unless something fails."""
    try:
        await asyncio.to_thread(make)
        yield
    except BaseException:
        await asyncio.shield(asyncio.to_thread(files.remove_tree, directory))
        raise


def memory_mib(wish_bytes: int) -> int:
    whole = -(-wish_bytes // MIB)
    if whole < LEAST_MEMORY_MIB:
        raise InvalidArgument(
            f"memory of {whole} MiB is too little for a VM", hint=f"at least {LEAST_MEMORY_MIB}m"
        )
    return whole


def in_pod(spec: ContainerSpec, pod: PodSpec, name: str) -> ContainerSpec:
    """A member's specification with what its pod decides.  Raises InvalidArgument where it says that itself."""
    for field, flag in POD_WIDE.items():
        if getattr(spec, field) != getattr(_PLAIN, field):
            raise InvalidArgument(
                f"{flag} of a container in pod {name}: the pod decides it, for all of its containers",
                hint=f"give it to the pod: hyper pod create {flag} ...",
            )
    group = () if pod.fs_group is None else (str(pod.fs_group),)
    return msgspec.structs.replace(
        spec,
        hostname=pod.hostname or name[:63],
        domainname=pod.domainname,
        network=pod.network,
        dns=pod.dns,
        dns_search=pod.dns_search,
        dns_options=pod.dns_options,
        extra_hosts=pod.extra_hosts,
        pid_mode="pod" if pod.share_pids else spec.pid_mode,
        groups=(*spec.groups, *group),
        sysctls={**pod.sysctls, **spec.sysctls},
        pod=name,
    )


def named_volumes(spec: PodSpec | None, records: Sequence[ContainerRecord]) -> set[str]:
    """Names of hyperd's volumes that a pod uses."""
    own = spec.volumes if spec is not None else ()
    brought = (volume for record in records for volume in record.spec.volumes)
    return {v.source.name for v in (*own, *brought) if isinstance(v.source, NamedVolume)}
