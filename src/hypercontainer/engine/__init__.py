"""The engine: the only place with policy.  ``create_engine`` puts it together; ``interface.py`` is its seam."""

from __future__ import annotations

import asyncio

from hypercontainer.config import Config
from hypercontainer.engine import interface
from hypercontainer.hypervisor.driver import Driver


def create_engine(config: Config, *, driver: Driver | None = None) -> interface.Engine:
    """The engine for ``config``; ``driver`` is QEMU's unless a test brings its own.  ``start`` it next."""
    return _Engine(config, driver)


class _Engine:
    def __init__(self, config: Config, driver: Driver | None) -> None:
        # Late, so that a daemon that only prints its version does not pay for all of it.
        from hypercontainer.engine.assembly import assemble
        from hypercontainer.engine.containers import ContainerService
        from hypercontainer.engine.system import SystemService

        self._parts = assemble(config, driver)
        self._containers = ContainerService(self._parts)
        self._system = SystemService(self._parts, self._containers)

    @property
    def containers(self) -> interface.Containers:
        return self._containers

    @property
    def images(self) -> interface.Images:
        return self._containers.images

    @property
    def system(self) -> interface.System:
        return self._system

    async def start(self) -> None:
        await self._containers.open()

    async def close(self, *, stop_containers: bool = False) -> None:
        await self._containers.close(stop=stop_containers)
        await self._parts.factory.close()
        await asyncio.to_thread(self._parts.images.close)
        self._parts.state.close()
