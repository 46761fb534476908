"""Pods in networks of CNI: the one owner of their namespaces, and of what plugins have made for them.

What is to be taken back (DEL) is written down before it is made (ADD), and forgotten when it has been taken back:
whoever dies meanwhile, the next hyperd finds it.  A pod's namespace is kept by a program of its own and outlives
hyperd, as the pod does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hypercontainer.agent.operations import Interface
from hypercontainer.config import Networks as Settings
from hypercontainer.contract.networks import CNI, Join
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import cni, wishes
from hypercontainer.engine.network.cni import Member
from hypercontainer.engine.network.keeping import Kept
from hypercontainer.engine.network.network import check_mac, next_place
from hypercontainer.engine.state import Attachment, PodRecord, StateStore
from hypercontainer.errors import HyperError, InvalidArgument, Unavailable
from hypercontainer.hypervisor.spec import Tap
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.waiting import whole
from hypercontainer.network.cni import config as configurations
from hypercontainer.network.cni.chain import Chain
from hypercontainer.network.cni.config import Found, NetworkConfig
from hypercontainer.network.cni.device import Device
from hypercontainer.network.cni.requests import Attached
from hypercontainer.network.cni.results import PluginError

KIND = "cni"  # of what is kept in the state

log = logging.getLogger(__name__)


class _Metadata(Struct, frozen=True):
    name: str


class Written(Struct, frozen=True, kw_only=True):
    """A pod's places, as they are written down, in the form that all objects of the state have: ``metadata`` has the
    pod's ID."""

    kind: str = KIND
    metadata: _Metadata
    members: tuple[Member, ...]


@dataclass
class _Held:
    """``namespace`` None: it is gone, or was never there.  ``problem``: why the last attempt to give it up failed."""

    namespace: Namespace | None
    members: tuple[Member, ...] = ()
    problem: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class CniPods:
    """``folder`` holds the namespaces' keepers, ``settings`` say where configurations and plugins are."""

    def __init__(self, state: StateStore, folder: Path, settings: Settings) -> None:
        self._state, self._folder, self._settings = state, folder, settings
        self._held: dict[str, _Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------- its life

    async def open(self, running: Collection[str]) -> None:
        """Takes back what an earlier hyperd has left: the places of pods that are ``running`` as they are; all others
        are given up, in the background."""
        for body in self._state.objects(KIND):
            try:
                written = msgspec.json.decode(body, type=Written)
            except msgspec.DecodeError as error:
                log.error("what was written down of a pod's networks of CNI cannot be read: %s", error)
                continue
            pod = written.metadata.name
            namespace = await asyncio.to_thread(Namespace.find, self._keeper(pod))
            held = self._held[pod] = _Held(namespace, written.members)
            if pod not in running:
                self.release(pod)
            elif namespace is None:
                log.error(
                    "the network namespace of %s is gone: it reaches nobody until it is restarted",
                    pod[:12],
                )
            else:
                self._do(self._check(held, pod))
        await asyncio.to_thread(self._sweep)
        if self._settings.cni_gc:
            self._do(self._collect())

    def _sweep(self) -> None:
        known = {self._keeper(pod) for pod in self._held}
        for folder in self._folder.iterdir() if self._folder.exists() else ():
            if folder not in known:
                self._end_stray(folder)

    async def settled(self) -> None:
        """What is given up by now is given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _check(self, held: _Held, pod: str) -> None:
        """CHECK of what was taken back: it is told what is amiss, and nothing is changed."""
        for member in held.members:
            try:
                if member.result is not None:
                    await self._chain(member.config).check(self._attached(pod, held, member), member.result)
            except HyperError as error:
                log.warning("pod %s: %s", pod[:12], error)

    async def _collect(self) -> None:
        """GC of all networks that can."""
        found = await asyncio.to_thread(self.find)
        for network in found.configs:
            valid = [
                (pod, member.interface)
                for pod, held in self._held.items()
                for member in held.members
                if member.join.name == CNI + network.name
            ]
            try:
                await self._chain(network).collect(valid)
            except HyperError as error:
                log.warning("%s", error)

    # ------------------------------------------------------------------------------------- networks

    @property
    def directory(self) -> Path:
        return self._settings.cni_conf_dir

    def find(self) -> Found:
        """All configurations.  Blocks."""
        return configurations.find(self.directory)

    def get(self, name: str) -> NetworkConfig:
        """NotFound.  ``name`` as pods say it.  Blocks."""
        return self.find().get(name.removeprefix(CNI), self.directory)

    async def diagnose(self) -> list[tuple[str, str, str]]:
        """(of what, what it is, why it cannot be used) of all configurations."""
        found = await asyncio.to_thread(self.find)
        told = [("networks of CNI", "", problem) for problem in found.problems]
        for network in found.configs:
            problem, chain = "", self._chain(network)
            try:
                await chain.validate()
                await chain.status()
            except HyperError as error:
                problem = error.message
            plugins = ", ".join(str(plugin["type"]) for plugin in network.plugins)
            told.append((network.what, f"{plugins}, by CNI {network.version}", problem))
        return told

    async def checked(self, joins: Sequence[Join]) -> tuple[Join, ...]:
        """A new pod's, all of them of CNI."""
        for join in joins:
            if not cni.is_cni([join]):
                raise InvalidArgument(cni.MIXED, field="networks")
        return tuple([await self.checked_join(join) for join in joins])

    async def checked_join(self, join: Join) -> Join:
        if os.geteuid() != 0:
            raise Unavailable("networks of CNI want root", hint="the network 'user' is there")
        check_mac(join.mac_address or None)
        wishes.check_aliases(join.aliases)
        network = await asyncio.to_thread(self.get, join.name)
        await self._chain(network).validate()
        if join.aliases and "aliases" not in network.capabilities:
            raise InvalidArgument(
                f"{network.what} has no plugin with the capability 'aliases'", field="networks"
            )
        return join

    # ------------------------------------------------------------------------------------- a pod's places

    def members(self, pod: str) -> tuple[Member, ...]:
        """Those that are made, in the order of its interfaces."""
        held = self._held[pod].members if pod in self._held else ()
        return tuple(each for each in held if each.device is not None)

    def attached(self, pod: str) -> tuple[Attachment, ...]:
        """See ``Places``, as of ``tap``, ``told``, ``connect``, ``plug_in`` and ``disconnect``."""
        return tuple(each.attachment for each in self.members(pod))

    def tap(self, pod: str, attachment: Attachment) -> Tap:
        return Tap(self.control(pod), attachment.tap)

    def told(self, pod: str, new: str) -> tuple[Interface, ...]:
        members = self.members(pod)
        told = cni.interfaces(members)
        return tuple(
            each for each, member in zip(told, members, strict=True) if each.gateways or member.tap == new
        )

    def control(self, pod: str) -> Path:
        return self._keeper(pod) / "control.sock"

    def _keeper(self, pod: str) -> Path:
        return self._folder / pod[:12]

    async def allot(self, pod: PodRecord, published: Sequence[PortMapping]) -> None:
        """ADD to each of its networks.  What fails is given up by ``release``.  Unavailable, InvalidArgument."""
        await self._given_up(pod.id)
        joins = sorted(pod.networks, key=cni.rank)
        networks = [await asyncio.to_thread(self.get, join.name) for join in joins]
        publishing = self._publishing(networks, published)
        for network in networks:
            await self._chain(network).status()
        held = self._held[pod.id] = _Held(await asyncio.to_thread(self._start, pod.id))
        for place, (join, network) in enumerate(zip(joins, networks, strict=True)):
            ports = published if place == publishing else ()
            await self._add(held, cni.planned(pod, join, network, place, ports), pod.id)
        await asyncio.to_thread(_keep_ports, pod.id, held.namespace, published)

    def _publishing(self, networks: Sequence[NetworkConfig], published: Sequence[PortMapping]) -> int:
        """By which of them ports are published."""
        able = [place for place, each in enumerate(networks) if "portMappings" in each.capabilities]
        if published and not able:
            raise InvalidArgument(
                f"{networks[0].what} publishes no ports: none of its plugins has the capability 'portMappings'",
                field="ports",
                hint="add the plugin 'portmap' to its configuration",
            )
        return able[0] if able else -1

    def _start(self, pod: str) -> Namespace:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        try:
            self._end_stray(self._keeper(pod))
            return Namespace.start(self._keeper(pod), user=False)
        except OSError as error:
            raise Unavailable(f"a network namespace for the pod: {error.strerror or error}") from error

    def _end_stray(self, folder: Path) -> None:
        """A namespace that was made and not written down."""
        if (found := Namespace.find(folder)) is not None:
            found.end()

    async def connect(self, pod: PodRecord, join: Join, place: int) -> Attachment:
        network = await asyncio.to_thread(self.get, join.name)
        await self._chain(network).status()
        if (held := self._held.get(pod.id)) is None:
            held = self._held[pod.id] = _Held(await asyncio.to_thread(self._start, pod.id))
        place = next_place([each.interface for each in held.members], place)
        member = cni.planned(pod, join, network, place, ())
        try:
            await self._add(held, member, pod.id)
        except BaseException:
            await whole(self._take_back(pod.id, held, member.interface))
            raise
        held.members = tuple(sorted(held.members, key=lambda each: cni.rank(each.join)))
        return next(each for each in self.attached(pod.id) if each.tap == member.tap)

    async def plug_in(self, pod: str, attachment: Attachment, ports: Sequence[PortMapping]) -> None:
        held = self._held[pod]
        (member,) = (each for each in held.members if each.tap == attachment.tap)
        await asyncio.to_thread(_joined, held.namespace, member, self.tap(pod, attachment), self.control(pod))

    async def disconnect(self, pod: str, attachment: Attachment, ports: Sequence[PortMapping]) -> None:
        if (held := self._held.get(pod)) is not None:
            await self._take_back(pod, held, attachment.interface)
            if held.problem:
                log.warning("pod %s: it is told again when its VM has ended: %s", pod[:12], held.problem)

    async def _add(self, held: _Held, member: Member, pod: str) -> None:
        held.members = (*held.members, member)
        self._write(pod, held)
        added = await self._chain(member.config).add(self._attached(pod, held, member))
        member = self._replaced(pod, held, replace(member, result=added))
        device = await asyncio.to_thread(_seen, held.namespace, member)
        _check_wishes(member.join, device.mac, device.addresses)
        self._replaced(pod, held, replace(member, device=device))

    def _replaced(self, pod: str, held: _Held, member: Member) -> Member:
        held.members = tuple(member if one.interface == member.interface else one for one in held.members)
        self._write(pod, held)
        return member

    def _write(self, pod: str, held: _Held) -> None:
        written = Written(metadata=_Metadata(pod), members=held.members)
        self._state.put_object(KIND, pod, msgspec.json.encode(written))

    async def join(self, pod: str, taps: Sequence[Tap]) -> None:
        """A VM of the pod is there, with these devices, in the order of its interfaces."""
        held = self._held[pod]
        for member, tap in zip(held.members, taps, strict=False):
            await asyncio.to_thread(_joined, held.namespace, member, tap, self.control(pod))
            self._replaced(pod, held, replace(member, tap=tap.name))

    def release(self, pod: str) -> None:
        """Its VM is gone: it is given up, in the background.  Nothing happens where it has no such places."""
        if pod in self._held:
            self._do(self._give_up(pod, self._held[pod]))

    async def _given_up(self, pod: str) -> None:
        """What an earlier VM had.  Unavailable where a plugin does not let go of it."""
        if (held := self._held.get(pod)) is not None:
            await self._give_up(pod, held)
            if held.problem:
                raise Unavailable(
                    f"the pod's last place in its networks is not given up: {held.problem}",
                    hint="mend what is wrong there, and start it again",
                )

    async def _give_up(self, pod: str, held: _Held) -> None:
        async with held.lock:
            if self._held.get(pod) is not held:
                return
            held.problem = ""
            for member in reversed(held.members):
                await self._delete(pod, held, member)
            if held.namespace is not None:
                await asyncio.to_thread(held.namespace.end)
                held.namespace = None
            if not held.members:
                self._state.remove_object(KIND, pod)
                del self._held[pod]

    async def _take_back(self, pod: str, held: _Held, interface: str) -> None:
        async with held.lock:
            held.problem = ""
            for member in held.members:
                if member.interface == interface:
                    await self._delete(pod, held, member)

    async def _delete(self, pod: str, held: _Held, member: Member) -> None:
        """DEL.  A member that a plugin does not let go of stays, without a device: it is asked again later."""
        left: list[Member] = []
        try:
            await self._chain(member.config).delete(self._attached(pod, held, member), member.result)
        except HyperError as error:
            log.warning("pod %s: %s", pod[:12], error)
            held.problem, left = str(error), [replace(member, device=None)]
        held.members = (*(each for each in held.members if each.interface != member.interface), *left)
        self._write(pod, held)

    def _chain(self, network: NetworkConfig) -> Chain:
        return Chain(network, self._settings.cni_plugin_dirs)

    def _attached(self, pod: str, held: _Held, member: Member) -> Attached:
        there = held.namespace is not None and held.namespace.alive()
        path = f"/proc/{held.namespace.pid}/ns/net" if held.namespace is not None and there else ""
        return Attached(pod, member.interface, path, member.capabilities, member.arguments)


def _keep_ports(pod: str, namespace: Namespace | None, published: Sequence[PortMapping]) -> None:
    """Ports that plugins lead to the pod are nobody else's for as long as its namespace is there.  Blocks."""
    assert namespace is not None
    kept = Kept(pod)
    with contextlib.ExitStack() as here:
        here.callback(kept.bind(published))
        kept.left()(namespace)


def _seen(namespace: Namespace | None, member: Member) -> Device:
    from hypercontainer.network.cni import wiring

    assert namespace is not None
    what = member.config.what
    found = wiring.seen(namespace, member.interface, what)
    if found is None:
        raise PluginError(
            what, f"its plugins have made no interface {member.interface} in the pod's namespace"
        )
    return found


def _joined(namespace: Namespace | None, member: Member, tap: Tap, control: Path) -> None:
    """The device is in the pod's namespace, and joined.  Blocks."""
    from hypercontainer.network.cni import wiring

    what = member.config.what
    if namespace is None:
        raise Unavailable(f"{what}: the pod's namespace is gone")
    try:
        if tap.control != control:
            wiring.move(tap.control, tap.name, namespace, what)
        wiring.join(namespace, member.interface, tap.name, member.made.mtu, what)
    except OSError as error:
        raise Unavailable(f"{what}: {error.strerror or error}") from error


def _check_wishes(join: Join, mac: str, addresses: Sequence[str]) -> None:
    """That plugins did what was asked of them, which they may leave out."""
    held = {text.partition("/")[0] for text in addresses}
    for text in (join.ip, join.ip6):
        if text and text not in held:
            raise InvalidArgument(
                f"the plugins of {join.name} gave other addresses: {', '.join(sorted(held)) or 'none'}",
                field="networks",
                hint="not all take an address that is asked for",
            )
    if join.mac_address and join.mac_address.lower() != mac.lower():
        raise InvalidArgument(
            f"the plugins of {join.name} gave another MAC address: {mac}",
            field="networks",
            hint="the plugin 'tuning' with the capability 'mac' takes one",
        )
