"""Containers that are put into one pod by its name alone: the first makes it, the others widen it, and it goes with the
last.

What each says of networks and ports is the pod's then, and its aliases are names of the pod's; what a pod decides once
(its kernel, say) the others may say again, and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from weakref import WeakValueDictionary

from msgspec.structs import replace

from hypercontainer.contract.answers import Created
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import POD_WIDE, ContainerSpec, PodSpec
from hypercontainer.engine.creation import Asker, Creation
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.network.networks import Networks
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox import connecting
from hypercontainer.engine.strangers import check_company
from hypercontainer.errors import Conflict, HyperError, InvalidArgument
from hypercontainer.linux.waiting import whole

_PLAIN = ContainerSpec(image="")
_WIDENED = ("networks", "ports", "mac_address")
_MACHINE = ("memory_bytes", "cpus")


class Coupling:
    def __init__(self, directory: Directory, creation: Creation, networks: Networks) -> None:
        self._directory = directory
        self._creation = creation
        self._networks = networks
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(self, pod: PodSpec, spec: ContainerSpec, asker: Asker) -> Created:
        """In the pod called ``pod.name``; ``pod`` says of its VM what ``spec``, whose memory and processors are its own
        there, does not."""
        if spec.publish_all:
            raise InvalidArgument(
                f"pod {pod.name}: its ports are published one by one", field="publish_all", takes="ports"
            )
        turn = self._turns.setdefault(pod.name or "", asyncio.Lock())
        async with turn:
            held = self._found(pod.name)
            new = held is None
            if held is None:
                held = await self._made(pod, spec, asker)
            try:
                if not new:
                    await self._widen(held, pod, spec, asker)
                member = replace(spec, pod=held.id, **{name: getattr(_PLAIN, name) for name in POD_WIDE})
                aliases = tuple(dict.fromkeys(name for join in spec.networks for name in join.aliases))
                return await self._creation.container(member, asker, aliases=aliases)
            except BaseException:
                if new:
                    with contextlib.suppress(HyperError):
                        await whole(held.remove(force=True))
                raise

    def _found(self, name: str | None) -> Pod | None:
        return next((pod for pod in self._directory.named_pods() if pod.record.name == name), None)

    async def _made(self, pod: PodSpec, spec: ContainerSpec, asker: Asker) -> Pod:
        said = {name: getattr(spec, name) for name in POD_WIDE if name in PodSpec.__struct_fields__}
        said |= {"networks": tuple(map(_nameless, spec.networks)), "shm_size_bytes": spec.shm_size_bytes}
        made = await self._creation.pod(replace(pod, **said), asker, coupled=True)
        return self._directory.pods[made.id]

    async def _widen(self, held: Pod, pod: PodSpec, spec: ContainerSpec, asker: Asker) -> None:
        await held.recovered.wait()
        check_company(held, spec, asker.uid)
        own = held.record.spec
        for name in POD_WIDE:
            if name not in _WIDENED:
                _check_same(held, name, getattr(spec, name), getattr(_PLAIN, name), getattr(own, name, None))
        for name in _MACHINE:
            _check_same(held, name, getattr(pod, name), None, getattr(own, name))
        for join in spec.networks:
            await self._join(held, join, asker)
        if ports := tuple(port for port in spec.ports if port not in held.record.ports):
            await held.add_ports(ports)

    async def _join(self, held: Pod, join: Join, asker: Asker) -> None:
        wish = await self._networks.checked_join(_nameless(join), later=asker.networks_later)
        there = next((each for each in held.record.networks if each.name == wish.name), None)
        if there is None:
            await connecting.connect(held.sandbox, self._networks, wish, held.what)
        elif wish not in (there, Join(wish.name)):
            raise Conflict(f"{held.what} has another place in network {wish.name}")


def _nameless(join: Join) -> Join:
    """Its aliases are the container's."""
    return replace(join, aliases=())


def _check_same(held: Pod, name: str, said: Any, plain: Any, own: Any) -> None:
    if said not in (plain, own):
        raise Conflict(f"{held.what}: {name} is as its first container has it, and cannot be {said!r}"[:300])
