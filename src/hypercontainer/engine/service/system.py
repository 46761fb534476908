"""What hyperd is, what it has, what happened, what can go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from hypercontainer import __version__
from hypercontainer.config import Config
from hypercontainer.contract.answers import Check, Event, Info, KernelLine
from hypercontainer.contract.calls import API_VERSION, SystemPruned
from hypercontainer.contract.images import ImagesPruned
from hypercontainer.contract.states import State
from hypercontainer.engine import files, identity, times
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.filters import question
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.sandbox.choice import QEMU, UML, Chosen, Wish, native_verdict
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.sandbox.machine import Supplies
from hypercontainer.engine.sandbox.uids import runs_as_root
from hypercontainer.engine.service import drivers, event_filters
from hypercontainer.engine.service.containers import ContainerService
from hypercontainer.engine.service.volumes import VolumeService
from hypercontainer.errors import HyperError
from hypercontainer.hypervisor.driver import Capabilities, Driver
from hypercontainer.hypervisor.kinds import DRIVER
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.image.store import ImageStore
from hypercontainer.linux.architectures import AMD64

_MEANINGS = {
    Accelerator.KVM: "in hardware",
    Accelerator.NATIVE: "the guest's kernel as a process, at the processor's own speed",
    Accelerator.HVF: "in hardware",
    Accelerator.OWN: "as the hypervisor does it",
    Accelerator.TCG: "in software, several times slower than this machine",
}


class SystemService:
    def __init__(
        self,
        config: Config,
        supplies: Supplies,
        factory: Factory,
        events: EventBus,
        store: ImageStore,
        directory: Directory,
        containers: ContainerService,
        images: ImageService,
        volumes: VolumeService,
    ) -> None:
        self._config = config
        self._supplies = supplies
        self._factory = factory
        self._events = events
        self._store = store
        self._directory = directory
        self._containers = containers
        self._images = images
        self._volumes = volumes

    async def version(self) -> dict[str, str]:
        return {
            "version": __version__,
            "api_version": API_VERSION,
            "python": platform.python_version(),
            "qemu": await self._hypervisor_version(self._supplies.drivers.default),
            "kernel": chosen.kernel.name if (chosen := await self._chosen()) else "none",
            "agent": __version__,
            "os": "linux",
            "arch": platform.machine(),
        }

    async def info(self) -> Info:
        states = [container.record.state for container in self._directory.containers.values()]
        config = self._config
        chosen = await self._chosen()
        driver = chosen.driver if chosen else self._supplies.drivers.default
        capabilities = await self._capabilities(driver)
        factory = await asyncio.to_thread(self._factory.counts)
        return Info(
            daemon_pid=os.getpid(),
            version=__version__,
            containers=len(states),
            running=states.count(State.RUNNING),
            paused=states.count(State.PAUSED),
            images=len(await asyncio.to_thread(self._store.list)),
            hypervisor=await self._hypervisor_version(driver),
            accelerator=chosen.accelerator.value if chosen else "",
            accelerator_reason=chosen.reason if chosen else "",
            sandbox=capabilities.sandbox if capabilities else False,
            confinement=capabilities.confinement if capabilities else (),
            not_limited=tuple(capabilities.not_limited) if capabilities else (),
            kernel=f"{chosen.kernel.version} ({chosen.kernel.source})" if chosen else "none",
            drivers=await drivers.told(self._supplies.drivers.usual()),
            architectures=(self._usual, *[each for each in self._foreign if await self._runs(each)]),
            verity=config.images.verity,
            templates=factory["templates"],
            ready_clones=factory["ready"],
            memory_bytes=config.defaults.memory_bytes,
            cpus=config.defaults.cpus,
            root=str(config.root),
            run=str(config.run),
            host=config.host,
            config_file=str(config.file) if config.file else "",
            rootless=not runs_as_root(),
            set_aside=tuple(await asyncio.to_thread(self._set_aside)),
            time=times.now(),
            docker_host=f"unix://{config.docker_socket}" if config.docker_socket else "",
            id=await asyncio.to_thread(identity.of, config.root),
        )

    async def doctor(self) -> list[Check]:
        checks = [await self._check_choice()]
        wanted = {QEMU, UML, self._config.machine.hypervisor, *self._config.hypervisors}
        tables = self._config.hypervisors
        found = (
            drivers.checks(each, wanted=each.name in wanted, one_of_many=DRIVER in tables.get(each.name, {}))
            for each in self._supplies.drivers.usual()
        )
        for line in await asyncio.gather(*found):
            checks += line
        checks.append(native := await self._check_native())
        checks.append(await asyncio.to_thread(self._check_kernel, needed=native.ok is not True))
        checks.append(await asyncio.to_thread(self._check_init))
        checks += [await self._check_foreign(each) for each in self._foreign]
        checks.append(self._check_networks())
        checks += await self._check_cni()
        checks.append(await asyncio.to_thread(self._check_space))
        checks += await asyncio.to_thread(self._check_records)
        return checks

    def events(
        self, *, since: str = "", until: str = "", filters: Mapping[str, Sequence[str]] | None = None
    ) -> AsyncIterator[Event]:
        return self._events.follow(
            since_ns=times.moment_ns(since, field="since"),
            until_ns=times.moment_ns(until, field="until"),
            wanted=question("events", event_filters.READERS, filters),
        )

    async def disk_usage(self) -> dict[str, Any]:
        containers = await self._containers.find(all=True, size=True)
        images = await self._images.find()
        volumes = await self._volumes.find()
        layers_bytes = await asyncio.to_thread(files.used_bytes, self._config.root / "layers")
        usage = await asyncio.to_thread(self._store.disk_usage)
        users = self._directory.used_images()
        used = [image for image in await asyncio.to_thread(self._store.list) if image.id in users]
        needed = {layer.digest: layer.size_bytes for image in used for layer in image.layers}
        return {
            "images": images,
            "containers": containers,
            "volumes": volumes,
            "layers": {"size_bytes": layers_bytes},
            "totals": {
                "images_bytes": usage.size_bytes,
                # Layers are shared, so that what images free together is not the sum of their sizes.
                "images_reclaimable_bytes": max(0, usage.size_bytes - sum(needed.values())),
                "layers_bytes": layers_bytes,
                "layers_reclaimable_bytes": await asyncio.to_thread(
                    self._supplies.layers.needless_bytes, self._directory.chains()
                ),
                "containers_bytes": sum(c.size_bytes or 0 for c in containers),
                "containers_reclaimable_bytes": sum(
                    c.size_bytes or 0 for c in containers if c.state in ("created", "exited")
                ),
                "volumes_bytes": sum(volume.used_bytes + volume.snapshots_bytes for volume in volumes),
                "volumes_reclaimable_bytes": sum(
                    volume.used_bytes + volume.snapshots_bytes for volume in volumes if not volume.pods
                ),
            },
        }

    async def prune(
        self,
        *,
        all: bool = False,  # noqa: A002 - the contract's word
        images: bool = True,
        containers: bool = True,
        volumes: bool = False,
    ) -> SystemPruned:
        """Removes what is not used; ``all``: images that have a name, too.  Conflict for anything but containers while
        something is set aside."""
        if images or volumes:
            self._directory.aside.check_clear()
        gone_containers, reclaimed = await self._containers.prune() if containers else ([], 0)
        gone_images: list[str] = []
        if images:
            report = await self._images.prune(all=all)
            gone_images = [line.deleted or line.untagged for line in report.removed]
            reclaimed += report.space_reclaimed_bytes
        if not self._directory.aside.found():
            reclaimed += await asyncio.to_thread(self._prune_layers)
        gone_volumes: tuple[str, ...] = ()
        if volumes:  # after the containers: what they used may be free by now
            pruned = await self._volumes.prune()
            gone_volumes, reclaimed = pruned.removed, reclaimed + pruned.space_reclaimed_bytes
        return SystemPruned(
            containers_deleted=tuple(gone_containers),
            images_deleted=tuple(gone_images),
            volumes_deleted=gone_volumes,
            space_reclaimed_bytes=reclaimed,
        )

    async def prune_images(
        self,
        *,
        all: bool = False,  # noqa: A002 - the contract's word
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> ImagesPruned:
        """Only images, and what their layers were made into; see `ImageService.prune`."""
        self._directory.aside.check_clear()
        report = await self._images.prune(all=all, filters=filters)
        freed = await asyncio.to_thread(self._prune_layers)
        return structs.replace(report, space_reclaimed_bytes=report.space_reclaimed_bytes + freed)

    def _prune_layers(self) -> int:
        """Nothing while an image comes: its layers are there before anybody knows what they are for."""
        with self._store.settled() as settled:
            if not settled:
                return 0
            stored = {tuple(layer.diff_id for layer in image.layers) for image in self._store.list()}
            return self._supplies.layers.prune(stored | self._directory.chains())

    async def kernels(self) -> list[KernelLine]:
        found = await asyncio.to_thread(self._supplies.kernels.list)
        kinds = [(kernel.program, kernel.architecture) for kernel in found]
        return [
            KernelLine(
                name=kernel.name,
                version=kernel.version,
                source=kernel.source,
                path=str(kernel.path),
                default=kinds.index(kind) == place,
                hypervisor=UML if kernel.program else QEMU,
                architecture=kernel.architecture,
            )
            for place, (kernel, kind) in enumerate(zip(found, kinds, strict=True))
        ]

    # ------------------------------------------------------------------------------------- facts

    async def _capabilities(self, driver: Driver) -> Capabilities | None:
        try:
            return await driver.capabilities()
        except HyperError:
            return None

    async def _hypervisor_version(self, driver: Driver) -> str:
        capabilities = await self._capabilities(driver)
        return f"{capabilities.name} {capabilities.version}".strip() if capabilities else "not found"

    async def _chosen(self) -> Chosen | None:
        """What a VM gets for which nobody says anything; None where there is nothing."""
        with contextlib.suppress(HyperError):
            return await self._supplies.choose(Wish(), {})
        return None

    async def _check_choice(self) -> Check:
        """Which hypervisor runs containers here, why, and what that means."""
        try:
            chosen = await self._supplies.choose(Wish(), {})
        except HyperError as error:
            return Check("hypervisor", False, error.message, error.hint or "")
        meaning = _MEANINGS[chosen.accelerator]
        return Check("hypervisor", True, f"{chosen.driver.name}, {meaning}: {chosen.reason}")

    async def _check_native(self) -> Check:
        found = await native_verdict(self._supplies.drivers, self._supplies.kernels)
        if isinstance(found, Chosen):
            return Check(
                "User Mode Linux", True, f"{found.kernel.name} at {found.kernel.path}: {found.reason}"
            )
        remedy = "`make kernel FLAVOUR=um` builds it; it comes with Hyper's wheel"
        return Check("User Mode Linux", None, found.reason, remedy)

    @property
    def _usual(self) -> str:
        return self._supplies.drivers.default.architecture

    @property
    def _foreign(self) -> list[str]:
        """The other architectures of which there may be VMs."""
        return [each for each in self._supplies.drivers.architectures if each != self._usual]

    async def _runs(self, architecture: str) -> bool:
        """Asked often, so nothing is started to find out."""
        try:
            await self._supplies.of(architecture)
        except HyperError:
            return False
        return True

    async def _check_foreign(self, architecture: str) -> Check:
        """Nothing is wrong where there are none."""
        title = f"VMs for {architecture}"
        try:
            chosen = await self._supplies.of(architecture)
            version = await self._hypervisor_version(chosen.driver)
        except HyperError as error:
            return Check(title, None, error.message, error.hint or "")
        return Check(title, True, f"emulated by {version}, with {chosen.kernel.name}")

    def _check_kernel(self, *, needed: bool) -> Check:
        """``needed``: there is no other that guests run by."""
        try:
            kernel = self._supplies.kernels.default()
        except HyperError as error:
            detail = error.message if needed else f"{error.message}: none for QEMU"
            return Check("guest kernel", False if needed else None, detail, error.hint or "")
        slower = kernel.source == "debian"
        return Check(
            "guest kernel",
            None if slower else True,
            f"{kernel.name} at {kernel.path}",
            "`make kernel` builds the project's own, which boots in less time" if slower else "",
        )

    def _check_init(self) -> Check:
        try:
            return Check("guest init", True, str(self._supplies.hyperstart(AMD64)))
        except HyperError as error:
            return Check("guest init", False, error.message, error.hint or "`make guest` builds it")

    def _set_aside(self) -> list[str]:
        """In words."""
        blobs = self._store.aside
        return self._directory.aside.found() + ([f"layers of images in {blobs}"] if blobs else [])

    def _check_networks(self) -> Check:
        problem = self._supplies.networks.problem
        said = (
            f"a pod has one of its own; of others, {problem}" if problem else "bridges, with names and rules"
        )
        return Check("networks", None if problem else True, said)

    async def _check_cni(self) -> list[Check]:
        """Nothing is said where there are none."""
        found = await self._supplies.networks.cni.diagnose()
        return [Check(name, not problem, problem or detail) for name, detail, problem in found]

    def _check_records(self) -> list[Check]:
        """Nothing is said where all is well."""
        damaged = [f"the record of volume {name} is damaged" for name in self._supplies.volumes.damaged()]
        damaged += [f"the record of image {image} is damaged" for image in self._store.damaged()]
        found = self._set_aside()
        checks = [
            Check("set aside", False, each, "docs/recovery.md says how to bring it back") for each in found
        ]
        return checks + [Check("records", False, each, "remove it, and make it again") for each in damaged]

    def _check_space(self) -> Check:
        room = os.statvfs(self._config.root)
        free_mib = room.f_bavail * room.f_frsize // (1024 * 1024)
        enough = free_mib >= 1024
        remedy = "" if enough else "remove images and containers that are not used"
        return Check("disk space", enough or None, f"{free_mib} MiB free at {self._config.root}", remedy)
