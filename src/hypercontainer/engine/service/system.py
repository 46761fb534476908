"""``engine.interface.System``: what hyperd is, what it has, what happened, what can go."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from hypercontainer import __version__
from hypercontainer.contract.answers import Check, Event, KernelLine, Pruned
from hypercontainer.contract.states import State
from hypercontainer.engine import files, times, views
from hypercontainer.engine.directory import Registry
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.sandbox import machine as vm_plan
from hypercontainer.engine.service.containers import ContainerService
from hypercontainer.engine.service.images import ImageService
from hypercontainer.engine.service.volumes import VolumeService
from hypercontainer.errors import HyperError, InvalidArgument
from hypercontainer.hypervisor.driver import Accelerator, Verdict, choose_accelerator

API_VERSION = "1"
_EVENT_FILTERS = ("type", "event", "container", "image", "label")


class SystemService:
    def __init__(
        self,
        parts: Parts,
        containers: ContainerService,
        images: ImageService,
        registry: Registry,
        volumes: VolumeService,
    ) -> None:
        self._parts = parts
        self._containers = containers
        self._images = images
        self._registry = registry
        self._volumes = volumes

    async def version(self) -> dict[str, str]:
        return {
            "version": __version__,
            "api_version": API_VERSION,
            "python": platform.python_version(),
            "qemu": await self._hypervisor_version(),
            "kernel": await asyncio.to_thread(self._kernel_version),
            "agent": __version__,
            "os": "linux",
            "arch": platform.machine(),
        }

    async def info(self) -> dict[str, Any]:
        """Docker's keys where Docker has the fact."""
        states = [container.record.state for container in self._containers.all()]
        config = self._parts.config
        verdict = await self._verdict()
        capabilities = await self._capabilities()
        factory = await asyncio.to_thread(self._parts.factory.counts)
        return {
            "DaemonPid": os.getpid(),
            "ServerVersion": __version__,
            "Containers": len(states),
            "ContainersRunning": states.count(State.RUNNING),
            "ContainersPaused": states.count(State.PAUSED),
            "ContainersStopped": len(states) - states.count(State.RUNNING) - states.count(State.PAUSED),
            "Images": len(await asyncio.to_thread(self._parts.images.list)),
            "Hypervisor": await self._hypervisor_version(),
            "Accelerator": verdict.accelerator.value if verdict else "",
            "AcceleratorReason": verdict.reason if verdict else "",
            "Sandbox": capabilities.sandbox if capabilities else False,
            "NotLimited": list(capabilities.not_limited) if capabilities else [],
            "Kernel": await asyncio.to_thread(self._kernel_version),
            "Templates": factory["templates"],
            "ReadyClones": factory["ready"],
            "DefaultMemory": config.defaults.memory_bytes,
            "DefaultCpus": config.defaults.cpus,
            "Root": str(config.root),
            "Run": str(config.run),
            "Host": config.host,
            "ConfigFile": str(config.file) if config.file else "",
            "Rootless": not vm_plan.runs_as_root(),
            "OperatingSystem": _os_name(),
            "KernelVersion": platform.release(),
            "Architecture": platform.machine(),
            "NCPU": os.cpu_count() or 1,
            "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "SystemTime": times.now(),
        }

    async def doctor(self) -> list[Check]:
        checks = [
            Check(check.name, check.ok, check.detail, check.remedy)
            for check in await self._parts.driver.diagnose()
        ]
        checks.append(await asyncio.to_thread(self._check_kernel))
        checks.append(await asyncio.to_thread(self._check_init))
        checks.append(await asyncio.to_thread(self._check_space))
        return checks

    def events(
        self, *, since: str = "", until: str = "", filters: Mapping[str, Sequence[str]] | None = None
    ) -> AsyncIterator[Event]:
        wanted = dict(filters or {})
        for key in wanted:
            if key not in _EVENT_FILTERS:
                raise InvalidArgument(f"unknown filter {key!r}", hint=f"one of {', '.join(_EVENT_FILTERS)}")
        return self._parts.events.follow(
            since_ns=times.moment_ns(since, what="since"),
            until_ns=times.moment_ns(until, what="until"),
            wanted=lambda event: _event_matches(event, wanted),
        )

    async def disk_usage(self) -> dict[str, Any]:
        containers = await self._containers.find(include_stopped=True, size=True)
        images = await self._images.find()
        layers_path = self._parts.config.root / "layers"
        layers_bytes = await asyncio.to_thread(files.used_bytes, layers_path)
        usage = await asyncio.to_thread(self._parts.images.disk_usage)
        used = {image.id: image.containers for image in images}
        return {
            "images": images,
            "containers": containers,
            "layers": {"size_bytes": layers_bytes},
            "totals": {
                "images_bytes": usage.size_bytes,
                "images_reclaimable_bytes": usage.reclaimable_bytes
                + sum(image.size_bytes for image in images if not used[image.id]),
                "layers_bytes": layers_bytes,
                "containers_bytes": sum(c.size_bytes or 0 for c in containers),
                "containers_reclaimable_bytes": sum(
                    c.size_bytes or 0 for c in containers if c.state in ("created", "exited")
                ),
            },
        }

    async def prune(
        self, *, containers: bool = True, images: bool = True, all_images: bool = False
    ) -> Pruned:
        removed: list[str] = []
        reclaimed = 0
        gone: list[str] = []
        if containers:
            removed, reclaimed = await self._containers.prune()
        if images:
            in_use = {container.record.image_id for container in self._containers.all()}
            report = await asyncio.to_thread(self._parts.images.prune, all_unused=all_images, in_use=in_use)
            gone = [line.deleted or line.untagged for line in report.removed]
            reclaimed += report.reclaimed_bytes
        keep = self._registry.chains()
        keep |= {
            tuple(layer.diff_id for layer in image.layers)
            for image in await asyncio.to_thread(self._parts.images.list)
        }
        reclaimed += await asyncio.to_thread(self._parts.layers.prune, keep)
        return Pruned(
            containers_deleted=tuple(removed), images_deleted=tuple(gone), space_reclaimed_bytes=reclaimed
        )

    async def kernels(self) -> list[KernelLine]:
        found = await asyncio.to_thread(self._parts.kernels.list)
        return [
            KernelLine(
                name=vm_plan.kernel_name(kernel),
                version=kernel.version,
                source=kernel.source,
                path=str(kernel.path),
                default=number == 0,
            )
            for number, kernel in enumerate(found)
        ]

    # ------------------------------------------------------------------------------------- facts

    async def _capabilities(self) -> Any:
        try:
            return await self._parts.driver.capabilities()
        except HyperError:
            return None

    async def _hypervisor_version(self) -> str:
        capabilities = await self._capabilities()
        return f"{capabilities.name} {capabilities.version}" if capabilities else "not found"

    async def _verdict(self) -> Verdict | None:
        asked = self._parts.config.machine.accelerator
        try:
            kernel = (await asyncio.to_thread(vm_plan.find_kernel, self._parts, None)).path
            return await choose_accelerator(
                self._parts.driver, None if asked == "auto" else Accelerator(asked), kernel
            )
        except HyperError:
            return None

    def _kernel_version(self) -> str:
        try:
            kernel = vm_plan.find_kernel(self._parts, None)
        except HyperError:
            return "none"
        return f"{kernel.version} ({kernel.source})"

    def _check_kernel(self) -> Check:
        try:
            kernel = vm_plan.find_kernel(self._parts, None)
        except HyperError as error:
            return Check("guest kernel", False, error.message, error.hint or "")
        slower = kernel.source == "debian"
        return Check(
            "guest kernel",
            None if slower else True,
            f"{vm_plan.kernel_name(kernel)} at {kernel.path}",
            "`make kernel` builds the project's own, which boots in less time" if slower else "",
        )

    def _check_init(self) -> Check:
        try:
            return Check("guest init", True, str(self._parts.hyperstart()))
        except HyperError as error:
            return Check("guest init", False, error.message, error.hint or "`make guest` builds it")

    def _check_space(self) -> Check:
        room = os.statvfs(self._parts.config.root)
        free_mib = room.f_bavail * room.f_frsize // (1024 * 1024)
        enough = free_mib >= 1024
        remedy = "" if enough else "`hyper system prune` frees what is unused"
        return Check(
            "disk space", enough or None, f"{free_mib} MiB free at {self._parts.config.root}", remedy
        )


def _event_matches(event: Event, filters: Mapping[str, Sequence[str]]) -> bool:
    return all(any(_event_is(event, key, value) for value in values) for key, values in filters.items())


def _event_is(event: Event, key: str, value: str) -> bool:
    if key == "type":
        return event.type == value
    if key == "event":
        return event.action == value
    if key == "container":
        named = event.id.startswith(value) or event.attributes.get("name") == value
        return event.type == "container" and named
    if key == "image":
        return value in (event.id, event.attributes.get("name"), event.attributes.get("image"))
    return views.label_matches(event.attributes, value)


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
