"""Ports of the host that lead to pods, or to services: which are held, and where each leads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import ports as own_ports
from hypercontainer.engine.network.keeping import Kept
from hypercontainer.engine.network.worker import Worker
from hypercontainer.engine.state import Attachment
from hypercontainer.errors import Unavailable
from hypercontainer.network.parts import Fabric, Led, Opening


class Publishing:
    """Owner of the sockets that keep ports.  ``attached``: where a pod is that runs, () of one that does not."""

    def __init__(self, worker: Worker, attached: Callable[[str], tuple[Attachment, ...]]) -> None:
        self._worker, self._attached = worker, attached
        self._led: dict[str, tuple[Led, ...]] = {}
        self._kept: dict[str, Kept] = {}
        self._open: dict[str, tuple[int, ...]] = {}  # what of the host's loopback address is open to it

    def __iter__(self) -> Iterator[Led]:
        return (port for those in self._led.values() for port in those)

    def found(self, pod: str, attachments: Sequence[Attachment], ports: Sequence[PortMapping]) -> None:
        """One that runs since an earlier hyperd."""
        self._led[pod] = self._all(pod, attachments, ports)

    def opens(self, pod: str, ports: tuple[int, ...]) -> None:
        """These of the host's loopback address; until ``forget``."""
        self._open[pod] = ports

    def forget(self, pod: str) -> None:
        self._open.pop(pod, None)

    def _all(self, pod: str, places: Sequence[Attachment], ports: Sequence[PortMapping]) -> tuple[Led, ...]:
        """With what is open to it."""
        own = places[0].host4 if places else ""
        opened = [Opening(own, port) for port in self._open.get(pod, ()) if own]
        return (*own_ports.led(places, ports), *opened)

    def take_back(self, pod: str, ports: Iterable[PortMapping], fabric: Fabric) -> None:
        """What was kept for it meanwhile."""
        if not fabric.binds:
            self._kept[pod] = Kept(pod)
            self._kept[pod].take_back(ports, fabric.namespace)

    def pop(self, pod: str) -> tuple[Sequence[Led], Kept]:
        """What a pod leaves that is gone, to be given up by who is told."""
        return self._led.pop(pod, ()), self._kept.pop(pod, Kept(pod))

    async def publish(self, pod: str, ports: Sequence[PortMapping]) -> None:
        """All or none.  Unavailable where its VM has ended meanwhile."""
        led = tuple(
            each for each in self._all(pod, self._attached(pod), ports) if each not in self._led.get(pod, ())
        )
        fabric = await self._worker.ready() if led or ports else None
        if fabric is None:
            return
        for port in ports if fabric.binds else ():
            if ":" in port.host_ip:
                raise own_ports.not_of_ipv6(port, "ports of an ordinary user are published")
        kept = self._kept.setdefault(pod, Kept(pod))
        with contextlib.ExitStack() as undo:
            if not fabric.binds:
                undo.callback(kept.bind(ports))
            if led:
                await self._worker.do(partial(fabric.publish, led))
            if led and not self._attached(pod):
                await self._worker.do(partial(fabric.withdraw, led))
                raise Unavailable("the VM has ended")
            undo.pop_all()
        self._led[pod] = (*self._led.get(pod, ()), *led)
        if kept:
            self._worker.release(partial(kept.left(), fabric.namespace))  # nobody waits for that

    async def withdraw(self, pod: str, ports: Sequence[PortMapping]) -> None:
        led = own_ports.led(self._attached(pod), ports)
        self._led[pod] = tuple(each for each in self._led.get(pod, ()) if each not in led)
        if led:
            fabric = await self._worker.ready()
            await self._worker.do(partial(fabric.withdraw, led))
            free = self._kept.get(pod, Kept(pod)).without(ports)
            await self._worker.do(partial(free, fabric.namespace))

    async def lead_anew(self, pod: str, ports: Sequence[PortMapping]) -> None:
        """To where the pod has its way out by now."""
        former, led = self._led.get(pod, ()), self._all(pod, self._attached(pod), ports)
        if former != led:
            fabric = await self._worker.ready()
            await self._worker.do(partial(fabric.withdraw, former))
            await self._worker.do(partial(fabric.publish, led))
            self._led[pod] = led
