"""What the engine is put together from; made once (``engine/__init__.py``), handed to whoever needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.config import Config
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.state import StateStore
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.image.store import ImageStore
from hypercontainer.kernel import KernelStore
from hypercontainer.rootfs import LayerStore
from hypercontainer.volume.store import VolumeStore


@dataclass(frozen=True)
class Parts:
    """``hyperstart`` finds the guest's init; a function, since it may be missing and is needed late."""

    config: Config
    state: StateStore
    events: EventBus
    driver: Driver
    images: ImageStore
    layers: LayerStore
    kernels: KernelStore
    hyperstart: Callable[[], Path]
    factory: Factory
    volumes: VolumeStore

    def container_dir(self, identifier: str) -> Path:
        return self.config.root / "containers" / identifier

    def pod_dir(self, identifier: str) -> Path:
        return self.config.root / "pods" / identifier

    def run_dir(self, pod: str) -> Path:
        return self.config.run / "pods" / pod[:12]
