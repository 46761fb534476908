"""The engine, put together from the configuration; the one place that knows every part's constructor."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from hypercontainer.config import Config, ImageRule
from hypercontainer.contract.answers import Denial
from hypercontainer.engine.aside import Aside
from hypercontainer.engine.build.builds import BuildService
from hypercontainer.engine.coming import Coming
from hypercontainer.engine.creation import Creation
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.network import makers
from hypercontainer.engine.network.audit import Audit
from hypercontainer.engine.network.cni_pods import CniPods
from hypercontainer.engine.network.networks import Networks
from hypercontainer.engine.network.services import Endpoint
from hypercontainer.engine.network.worker import Maker
from hypercontainer.engine.places import Places
from hypercontainer.engine.provisions import Provisions
from hypercontainer.engine.sandbox.boot_files import BootFiles
from hypercontainer.engine.sandbox.choice import AUTO
from hypercontainer.engine.sandbox.claims import Claims
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.sandbox.machine import Supplies
from hypercontainer.engine.sandbox.rehearsal import Stage
from hypercontainer.engine.sandbox.templates import Templates
from hypercontainer.engine.sandbox.uids import runs_as_root
from hypercontainer.engine.service.containers import ContainerService, ExecService
from hypercontainer.engine.service.networks import NetworkService
from hypercontainer.engine.service.pods import PodService
from hypercontainer.engine.service.policies import PolicyService
from hypercontainer.engine.service.system import SystemService
from hypercontainer.engine.service.volumes import VolumeService
from hypercontainer.engine.state import StateStore
from hypercontainer.engine.verifying import Verifying
from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor import kinds
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.uml.argv import Mode
from hypercontainer.hypervisor.uml.driver import UmlDriver
from hypercontainer.image.model import RegistriesConfig
from hypercontainer.image.signature.policy import Policy
from hypercontainer.image.store import ImageStore
from hypercontainer.kernel import KernelStore, hyperstart_path
from hypercontainer.linux import architectures
from hypercontainer.linux.architectures import AMD64
from hypercontainer.rootfs import LayerLimits, LayerStore, create_writable_disk
from hypercontainer.volume.store import VolumeStore


class Engine:
    """What surfaces ask, by kind.  ``services`` and ``state``'s objects are for what makes several of them at once.

    ``start`` it first.
    """

    def __init__(self, config: Config, *, driver: Driver | None = None, maker: Maker | None = None) -> None:
        """``driver`` is QEMU's, and there is User Mode Linux besides, unless a test brings its own, and a ``maker`` of
        networks, or none."""
        self.config = config
        places = Places(config.root, config.run)
        places.make()
        events = EventBus()
        aside = Aside(places)
        self.state = StateStore(config.root / "state.db", begin=aside.check_begin)
        self._store = _images(config)
        networks = self._networks = _networks(self, places, events, maker, tested=driver is not None)
        drivers = Drivers(driver) if driver else _drivers(config)
        supplies = _supplies(config, places, networks, drivers, self._store, events)
        self._factory = _factory(config, supplies, events)
        self.directory = directory = Directory(self.state, aside, supplies, self._factory, events)
        coming = self._coming = supplies.coming
        self.images = ImageService(self._store, supplies.layers, coming, events, directory.users_of)
        provisions = Provisions(supplies.volumes, coming, events)
        self.creation = Creation(directory, self.images, supplies, provisions, config)
        self.containers = ContainerService(directory, self.creation, places, self.images, networks)
        self.execs = ExecService(directory)
        self.builds = BuildService(directory, self.creation, self.images, config)
        self.pods = PodService(directory, self.creation)
        self.volumes = VolumeService(directory, supplies.volumes, events, supplies, self._factory)
        self.networks = NetworkService(directory, networks, events)
        self.policies = PolicyService(directory, networks.policing, events)
        networks.known = directory.known
        self.services = networks.services
        self.services.endpoints = self._endpoints
        self.services.owned = lambda: any(pod.record.spec.services for pod in directory.named_pods())
        self.state.changed, events.heard = self.services.look, self._heard
        build_types()
        self.system = SystemService(
            config,
            supplies,
            self._factory,
            events,
            self._store,
            directory,
            self.containers,
            self.images,
            self.volumes,
        )

    def _heard(self) -> None:
        self.services.look()
        self._networks.names.changed()

    def _endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                pod.record.name,
                pod.record.spec.labels,
                pod.ready() or pod.resuming,
                self._networks.attached(pod.id),
                pod.record.spec.services,
            )
            for pod in self.directory.named_pods()
        ]

    async def start(self) -> None:
        """Opens the state and takes every living pod back; returns when containers can be asked for."""
        self._coming.start()
        await self.directory.open()
        self.services.look()
        self.builds.open()

    def open_api(self, connect: Callable[[int], Awaitable[socket.socket]]) -> None:
        """Docker's API, for containers that were given it: ``connect`` gives the near end of a new connection, with the
        rights of the user of this number."""
        self.directory.api.open(connect)

    async def close(self, *, stop_containers: bool = False) -> None:
        """Lets go of everything; pods live on unless told otherwise."""
        await self.builds.close()
        await self.directory.close(stop=stop_containers)
        await self._factory.close()
        await self._networks.close()
        await self._coming.close()
        await asyncio.to_thread(self._store.close)
        self.state.close()


def build_types() -> None:
    """Of all structures that there are by now, so that no two threads do it at once at their first use, which would
    bring the process down (msgspec 0.22)."""
    waiting = [msgspec.Struct]
    while waiting:
        found = waiting.pop().__subclasses__()
        waiting += found
        for kind in found:
            msgspec.json.Decoder(kind)


def _drivers(config: Config) -> Drivers:
    """QEMU's, User Mode Linux's, QEMU's for other architectures, and those that have kinds."""
    places, machine = Places(config.root, config.run), config.machine
    uids = range(machine.uid_base, machine.uid_base + machine.uid_count)
    usual = QemuDriver(places.facts, binary=machine.qemu, uids=uids)
    others: list[Driver] = [UmlDriver(places.facts, mode=Mode(config.uml.mode))]
    others += [QemuDriver(places.facts, architecture=each) for each in architectures.ALL if each != AMD64]
    taken = frozenset(driver.name for driver in (usual, *others))
    host = kinds.Host(places.facts, places.hypervisors, uids if runs_as_root() else range(0))
    drivers = Drivers(usual, *others, *kinds.make_all(config.hypervisors, host, taken))
    if machine.hypervisor not in (AUTO, *drivers.names):
        raise InvalidArgument(
            f"{config.file}: [machine]: hypervisor = {machine.hypervisor!r}", hint=" or ".join(drivers.names)
        )
    return drivers


def _denied(events: EventBus, line: Denial) -> None:
    facts = {
        "address": line.address,
        "port": str(line.port or ""),
        "protocol": line.protocol,
        "host": line.name,
    }
    said = {name: value for name, value in facts.items() if value}
    events.publish(
        "policy", "deny", line.pod, pod=line.pod_name, reason=line.reason, count=str(line.count), **said
    )


def _networks(
    engine: Engine, places: Places, events: EventBus, maker: Maker | None, *, tested: bool
) -> Networks:
    """``tested``: none are made but by ``maker``, whatever this machine can."""
    config, state = engine.config, engine.state
    audit = Audit(config.root, lambda pod: engine.directory.called(pod), functools.partial(_denied, events))
    found, why = (maker, "this hyperd was told to make none") if tested else makers.found(places)
    cni = CniPods(state, places.run / "cni", config.network)
    why, secrets = "" if found else why, places.root / "secrets"
    return Networks(state, cni, found, config.network.default, state.pods, why, audit, secrets)


def _supplies(
    config: Config, places: Places, networks: Networks, drivers: Drivers, store: ImageStore, events: EventBus
) -> Supplies:
    limits = LayerLimits(
        max_bytes=config.layers.max_bytes,
        max_entries=config.layers.max_entries,
        max_image_bytes=config.layers.max_image_bytes,
    )
    volumes = VolumeStore(
        places.volumes,
        lambda path, size_bytes: create_writable_disk(path, size_bytes, places.cache),
        config.volumes.kind,
    )
    layers = LayerStore(config.root / "layers", limits, verity=config.images.verity != "off")
    coming = Coming(config, places, store, layers, limits, events)
    return Supplies(
        machine=config.machine,
        verity=config.images.verity,
        verifying=Verifying(store, layers, coming, events),
        cache=config.cache,
        places=places,
        drivers=drivers,
        kernels=KernelStore(config.cache),
        layers=layers,
        coming=coming,
        claims=Claims(volumes),
        volumes=volumes,
        networks=networks,
        clusters=config.rbd,
        boot_files=BootFiles(places.cache / "boot"),
        hyperstart=hyperstart_path,
    )


def _images(config: Config) -> ImageStore:
    registries = config.registries
    return ImageStore(
        config.root / "images",
        RegistriesConfig(
            mirrors=registries.mirrors,
            insecure=frozenset(registries.insecure),
            ca=registries.ca,
            parallel_downloads=registries.parallel_downloads,
        ),
        _policy(config.images.policy),
    )


def _policy(rules: Sequence[ImageRule]) -> Policy:
    if not rules:
        return Policy()
    from hypercontainer.image.signature.loading import load  # cryptography, which nobody else here needs

    return load(rules)


def _factory(config: Config, supplies: Supplies, events: EventBus) -> Factory:
    templates = Templates(config.cache / "templates")

    @functools.cache
    def stage(architecture: str) -> Stage:
        return Stage.build(
            supplies.hyperstart(architecture), supplies.places.cache / "rehearsal", architecture
        )

    return Factory(templates, config.factory, events, stage)
