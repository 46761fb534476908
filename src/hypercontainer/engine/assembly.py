"""Puts the engine's parts together from the configuration; the one place that knows every part's constructor."""

from __future__ import annotations

import functools

import msgspec

from hypercontainer.config import Config
from hypercontainer.engine import files
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.sandbox.rehearsal import Stage
from hypercontainer.engine.sandbox.templates import Templates
from hypercontainer.engine.state import StateStore
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.image.model import RegistriesConfig
from hypercontainer.image.store import ImageStore
from hypercontainer.kernel import KernelStore, hyperstart_path
from hypercontainer.rootfs import LayerLimits, LayerStore, create_writable_disk
from hypercontainer.volume.store import VolumeStore


def build_types() -> None:
    """Of all structures that there are by now, so that no two threads do it at once at their first use, which would
    bring the process down (msgspec 0.22)."""
    waiting = [msgspec.Struct]
    while waiting:
        found = waiting.pop().__subclasses__()
        waiting += found
        for kind in found:
            msgspec.json.Decoder(kind)


def assemble(config: Config, driver: Driver | None) -> Parts:
    for folder in ("containers", "pods", "images", "layers", "cache"):
        files.make_private(config.root / folder)
    files.make_private(config.run / "pods")
    registries, machine = config.registries, config.machine
    driver = driver or QemuDriver(
        config.root / "cache" / "hypervisor.json",
        binary=machine.qemu,
        uids=range(machine.uid_base, machine.uid_base + machine.uid_count),
    )
    events = EventBus()
    return Parts(
        config=config,
        state=StateStore(config.root / "state.db"),
        events=events,
        driver=driver,
        factory=_factory(config, driver, events),
        images=ImageStore(
            config.root / "images",
            RegistriesConfig(
                mirrors=registries.mirrors,
                insecure=frozenset(registries.insecure),
                ca=registries.ca,
                parallel_downloads=registries.parallel_downloads,
            ),
        ),
        layers=LayerStore(
            config.root / "layers",
            LayerLimits(
                max_bytes=config.layers.max_bytes,
                max_entries=config.layers.max_entries,
                max_image_bytes=config.layers.max_image_bytes,
            ),
        ),
        volumes=VolumeStore(
            config.root / "volumes",
            lambda path, size_bytes: create_writable_disk(path, size_bytes, config.root / "cache"),
        ),
        kernels=KernelStore(config.cache),
        hyperstart=hyperstart_path,
    )


def _factory(config: Config, driver: Driver, events: EventBus) -> Factory:
    templates = Templates(config.cache / "templates", driver)
    stage = functools.cache(lambda: Stage.build(hyperstart_path(), config.root / "cache" / "rehearsal"))
    return Factory(driver, templates, config.factory, events, stage)
