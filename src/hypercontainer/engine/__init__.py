"""The engine: the only place with policy.  ``create_engine`` puts it together; ``interface.py`` is its seam."""

from __future__ import annotations

import asyncio
import functools

from hypercontainer.config import Config
from hypercontainer.engine import interface
from hypercontainer.hypervisor.driver import Driver


def create_engine(config: Config, *, driver: Driver | None = None) -> interface.Engine:
    """The engine for ``config``; ``driver`` is QEMU's unless a test brings its own.  ``start`` it next."""
    return _Engine(config, driver)


class _Engine:
    def __init__(self, config: Config, driver: Driver | None) -> None:
        # Late, so that a daemon that only prints its version does not pay for all of it.
        from hypercontainer.engine.assembly import assemble, build_types
        from hypercontainer.engine.creation import Creation
        from hypercontainer.engine.directory import Registry
        from hypercontainer.engine.network.services import Services
        from hypercontainer.engine.service.containers import ContainerService
        from hypercontainer.engine.service.images import ImageService
        from hypercontainer.engine.service.pods import PodService
        from hypercontainer.engine.service.system import SystemService
        from hypercontainer.engine.service.volumes import VolumeService

        self._parts = parts = assemble(config, driver)
        self._registry = registry = Registry(parts)
        self._images = ImageService(parts.images, parts.layers, parts.events, registry.users_of)
        creation = Creation(registry, self._images)
        self._containers = ContainerService(registry, creation)
        self._pods = PodService(registry, creation)
        self._volumes = VolumeService(registry)
        self._services = Services(registry)
        build_types()
        self._system = SystemService(parts, self._containers, self._images, registry, self._volumes)

    @property
    def containers(self) -> interface.Containers:
        return self._containers

    @property
    def pods(self) -> interface.Pods:
        return self._pods

    @property
    def volumes(self) -> interface.Volumes:
        return self._volumes

    @functools.cached_property
    def manifests(self) -> interface.Manifests:
        # Kubernetes' types cost a tenth of a second, which nobody pays who plays no manifest.
        from hypercontainer.surfaces.kube.manifests import ManifestService

        return ManifestService(self._registry, self._pods, self._volumes, self._services)

    @property
    def images(self) -> interface.Images:
        return self._images

    @property
    def system(self) -> interface.System:
        return self._system

    async def start(self) -> None:
        await self._registry.open()
        await self._pods.open()
        await self._services.open()

    async def close(self, *, stop_containers: bool = False) -> None:
        await self._services.close()
        await self._pods.close()
        await self._registry.close(stop=stop_containers)
        await self._parts.factory.close()
        await asyncio.to_thread(self._parts.images.close)
        self._parts.state.close()
