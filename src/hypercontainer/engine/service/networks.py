"""Networks, and which pods are in them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from hypercontainer.contract.answers import Endpoint, NetworkInfo, NetworkMember
from hypercontainer.contract.calls import NetworksPruned
from hypercontainer.contract.networks import (
    CNI,
    CNI_DRIVER,
    DEFAULT,
    DRIVER,
    HYPERVISOR,
    NONE,
    USER,
    Join,
    NetworkSpec,
)
from hypercontainer.engine import filters, times
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.filters import question
from hypercontainer.engine.network.cni import identifier
from hypercontainer.engine.network.networks import Networks
from hypercontainer.engine.network.policies import check_joins
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox import connecting
from hypercontainer.engine.state import NetworkRecord
from hypercontainer.engine.views import network
from hypercontainer.errors import Conflict, HyperError, NameTaken, NotFound, Unavailable
from hypercontainer.network.cni.config import NetworkConfig

SHORT = 12  # characters of an ID, as people are shown it
_TYPES = ("builtin", "custom")
HOST = "host"
# By their drivers: networks that nobody makes, and that are none of hyperd's.  "host" is Docker's, and is here by its
# name alone; the default one is among them where hyperd can make none.
_GIVEN = {DEFAULT: DRIVER, HOST: HOST, NONE: "null", USER: USER, HYPERVISOR: HYPERVISOR}

_READERS: Mapping[str, filters.Reader[NetworkInfo]] = {
    "name": filters.expression(lambda info: (info.name,)),
    "id": filters.beginning(lambda info: (info.id,)),
    "driver": filters.among(lambda info: (info.driver,)),
    "scope": filters.among(lambda info: ("local",)),
    "type": filters.one_of(
        _TYPES, lambda info: (_TYPES[info.name not in _GIVEN and info.driver != CNI_DRIVER],)
    ),
    "label": filters.labels(lambda info: info.labels),
    "dangling": filters.truth(lambda info: info.name not in _GIVEN and not info.members),
}


def _given_id(name: str) -> str:
    """The same at all times."""
    return hashlib.sha256(f"hyper {name}".encode()).hexdigest()


def _given_by(ref: str) -> str | None:
    """The name of the one that ``ref`` is the name, the ID or the beginning of the ID of."""
    if ref in _GIVEN:
        return ref
    found = [name for name in _GIVEN if len(ref) >= SHORT and _given_id(name).startswith(ref)]
    return found[0] if found else None


_PRUNED: Mapping[str, filters.Reader[NetworkInfo]] = {
    "label": filters.labels(lambda info: info.labels),
    "label!": filters.without_labels(lambda info: info.labels),
    "until": filters.before(lambda info: info.created),
}


@dataclass(frozen=True)
class _Meant:
    """A network of hyperd's own, or of CNI."""

    id: str
    name: str
    driver: str

    @classmethod
    def of(cls, record: NetworkRecord) -> _Meant:
        return cls(record.id, record.name, DRIVER)


class NetworkService:
    def __init__(self, directory: Directory, networks: Networks, events: EventBus) -> None:
        self._directory = directory
        self._networks = networks
        self._events = events
        self._begun = times.now()

    async def create(self, spec: NetworkSpec) -> NetworkInfo:
        """NameTaken where there is one of its name, Conflict where its subnet is in use on this machine."""
        await self._check_own(spec.name, "put its configuration there")
        record = await self._networks.create(spec)
        self._tell("create", _Meant.of(record))
        return self._told(record)

    async def find(
        self, *, filters: Mapping[str, Sequence[str]] | None = None, given: bool = False
    ) -> list[NetworkInfo]:
        """``given``: also those that nobody makes, the default one, which is made where it can be, among them; "user"
        where somebody is in it."""
        wanted = question("networks", _READERS, filters)
        others = await self._given() if given else []
        found = [self._told(record) for record in self._networks.records()] + others
        of_others = await asyncio.to_thread(self._networks.cni.find)
        found += [self._told_of(config) for config in of_others.configs]
        return [info for info in found if wanted(info)]

    async def inspect(self, name: str) -> NetworkInfo:
        """By its name or ID, also one that nobody makes."""
        if (meant := await self._meant(name)) is not None:
            return self._told_of(await asyncio.to_thread(self._networks.cni.get, meant.name))
        try:
            return self._told(await self._networks.get_or_default(name))
        except (NotFound, Unavailable):
            if (given := _given_by(name)) is None:
                raise
            return self._told_given(given)

    async def remove(self, name: str, *, force: bool = False, under_stopped: bool = False) -> None:
        """Conflict, which names the pods, where one is in it.  ``under_stopped``: those that do not run are not asked,
        and cannot start before there is a network of its name again."""
        await self._check_own(name, "remove its configuration there")
        if (given := _given_by(name)) is not None:
            raise Conflict(f"{given} is a pre-defined network and cannot be removed")
        try:
            record = self._networks.get(name)
        except NotFound:
            if not force:
                raise
            return
        users = self._users(record.name, running=under_stopped)
        await self._networks.remove(record, [pod.called for pod in users])
        self._tell("destroy", _Meant.of(record))

    async def prune(
        self, *, filters: Mapping[str, Sequence[str]] | None = None, under_stopped: bool = False
    ) -> NetworksPruned:
        """Those that no pod is in, but for the default one.  ``under_stopped`` as of `remove`."""
        wanted = question("networks", _PRUNED, filters)
        removed = []
        for record in self._networks.records():
            info = self._told(record)
            used = self._users(record.name, running=under_stopped)
            if info.name == DEFAULT or used or not wanted(info):
                continue
            try:
                await self.remove(record.id, under_stopped=under_stopped)
            except HyperError:
                continue  # used since, or gone
            removed.append(record.name)
        return NetworksPruned(tuple(removed))

    async def connect(
        self, name: str, ref: str, *, join: Join | None = None, under_stopped: bool = False
    ) -> None:
        """The pod of a container, or the pod, whether it runs or not.  Conflict where it is there already; unless, with
        ``under_stopped``, it does not run: then nothing happens."""
        pod = await self._directory.pod_of(ref)
        if (given := _given_by(name)) not in (None, DEFAULT):
            raise Conflict(f"{self._what(pod)} cannot come into the network {given}, which is made with it")
        meant = await self._meant(name) or _Meant.of(await self._networks.get_or_default(name))
        wish = await self._networks.checked_join(replace(join or Join(""), name=meant.name))
        check_joins(pod.record.spec.network_policy, [wish])
        if under_stopped and pod.sandbox.live is None and pod in self._users(meant.name):
            return
        await connecting.connect(pod.sandbox, self._networks, wish, self._what(pod))
        self._tell("connect", meant, container=pod.id)

    async def disconnect(self, name: str, ref: str, *, force: bool = False) -> None:
        pod = await self._directory.pod_of(ref)
        meant = await self._meant(name) or _Meant.of(self._networks.get(name))
        await connecting.disconnect(pod.sandbox, self._networks, meant.name, self._what(pod))
        self._tell("disconnect", meant, container=pod.id)

    async def _meant(self, ref: str) -> _Meant | None:
        """The network of CNI with this name or ID; None where there is none."""
        if ref.startswith(CNI):
            return _Meant(identifier(ref), ref, CNI_DRIVER)
        found = await asyncio.to_thread(self._networks.cni.find)
        names = [CNI + config.name for config in found.configs]
        return next(
            (
                _Meant(identifier(name), name, CNI_DRIVER)
                for name in names
                if len(ref) >= SHORT and identifier(name).startswith(ref)
            ),
            None,
        )

    async def _check_own(self, name: str, hint: str) -> None:
        if await self._meant(name) is not None:
            where = self._networks.cni.directory
            raise NameTaken(f"{name} is a network of CNI, which is what a file in {where} says", hint=hint)

    def _users(self, name: str, *, running: bool = False) -> list[Pod]:
        """Who is in it, or just comes into it, or, unless ``running``, will be when it starts."""
        return [
            pod
            for pod in self._directory.pods.values()
            if any(each.network == name for each in self._networks.attached(pod.id))
            or (
                (pod.sandbox.live is not None or not running)
                and any(join.name == name for join in pod.record.networks)
            )
        ]

    def _what(self, pod: Pod) -> str:
        return f"{'container' if pod.record.alone else 'pod'} {pod.called}"

    def _told(self, record: NetworkRecord) -> NetworkInfo:
        spec = record.spec
        return NetworkInfo(
            id=record.id,
            name=record.name,
            driver=DRIVER,
            created=record.created,
            subnets=spec.subnets,
            ipv6=spec.ipv6,
            internal=spec.internal,
            mtu=spec.mtu or 0,
            labels=spec.labels,
            options=spec.options,
            attachable=spec.attachable,
            members=self._members(record.name),
            services=self._networks.services.told(record.name),
        )

    def _told_of(self, config: NetworkConfig) -> NetworkInfo:
        """Of one of CNI."""
        name = CNI + config.name
        return NetworkInfo(
            id=identifier(name),
            name=name,
            driver=CNI_DRIVER,
            created=times.from_ns(config.written_ns),
            members=self._members(name),
            configuration=config.tree,
        )

    async def _given(self) -> list[NetworkInfo]:
        """Those that are no records."""
        with contextlib.suppress(HyperError):  # where hyperd can make none
            await self._networks.get_or_default(DEFAULT)
        known = {record.name for record in self._networks.records()}
        told = [self._told_given(name) for name in _GIVEN if name not in known]
        return [info for info in told if info.name not in (USER, HYPERVISOR) or info.members]

    def _told_given(self, name: str) -> NetworkInfo:
        return NetworkInfo(
            id=_given_id(name),
            name=name,
            driver=_GIVEN[name],
            created=self._begun,
            members=self._members(name),
        )

    def _members(self, name: str) -> tuple[NetworkMember, ...]:
        return tuple(self._member(pod, name) for pod in self._users(name))

    def _member(self, pod: Pod, name: str) -> NetworkMember:
        endpoints = [each for each in network(pod.record).endpoints if each.network == name]
        return NetworkMember(
            pod=pod.id,
            name=pod.called,
            containers=tuple(each.name for each in pod.records()),
            endpoint=endpoints[0] if endpoints else Endpoint(network=name),
        )

    def _tell(self, action: str, network: _Meant, **more: str) -> None:
        self._events.publish("network", action, network.id, name=network.name, type=network.driver, **more)
