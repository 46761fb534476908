"""Ports of the host that lead to pods, or to services: which are held, and where each leads."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import ports as own_ports
from hypercontainer.engine.network.worker import Worker
from hypercontainer.engine.state import Attachment
from hypercontainer.errors import Unavailable
from hypercontainer.network.parts import Fabric, Led, Opening

Held = dict[PortMapping, socket.socket]


class Publishing:
    """Owner of the sockets that keep ports.  ``attached``: where a pod is that runs, () of one that does not."""

    def __init__(self, worker: Worker, attached: Callable[[str], tuple[Attachment, ...]]) -> None:
        self._worker, self._attached = worker, attached
        self._led: dict[str, tuple[Led, ...]] = {}
        self._held: dict[str, Held] = {}
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
            self._held[pod] = own_ports.kept_again(ports, fabric.namespace.take)

    def pop(self, pod: str) -> tuple[Sequence[Led], Mapping[PortMapping, socket.socket]]:
        """What a pod leaves that is gone, to be given up by who is told."""
        return self._led.pop(pod, ()), self._held.pop(pod, {})

    async def publish(self, pod: str, ports: Sequence[PortMapping]) -> None:
        """All or none.  Unavailable where its VM has ended meanwhile."""
        led = tuple(
            each for each in self._all(pod, self._attached(pod), ports) if each not in self._led.get(pod, ())
        )
        kept: Held = {}
        fabric = await self._worker.ready() if led or ports else None
        binds = fabric is not None and fabric.binds
        for port in ports if binds else ():
            if ":" in port.host_ip:
                raise own_ports.not_of_ipv6(port, "ports of an ordinary user are published")
        with contextlib.ExitStack() as undo:
            for port in () if binds else ports:
                kept[port] = undo.enter_context(own_ports.kept(port))
            if fabric and led:
                await self._worker.do(partial(fabric.publish, led))
                if not self._attached(pod):
                    await self._worker.do(partial(fabric.withdraw, led))
                    raise Unavailable("the VM has ended")
            undo.pop_all()
        self._led[pod] = (*self._led.get(pod, ()), *led)
        self._held.setdefault(pod, {}).update(kept)
        if fabric:
            self._worker.release(partial(own_ports.keep, fabric, dict(kept)))  # nobody waits for that

    async def withdraw(self, pod: str, ports: Sequence[PortMapping]) -> None:
        led = own_ports.led(self._attached(pod), ports)
        self._led[pod] = tuple(each for each in self._led.get(pod, ()) if each not in led)
        if led:
            fabric = await self._worker.ready()
            await self._worker.do(partial(fabric.withdraw, led))
            held = self._held.get(pod, {})
            gone = {port: held.pop(port) for port in ports if port in held}
            await self._worker.do(partial(own_ports.free, fabric, gone))

    async def lead_anew(self, pod: str, ports: Sequence[PortMapping]) -> None:
        """To where the pod has its way out by now."""
        former, led = self._led.get(pod, ()), self._all(pod, self._attached(pod), ports)
        if former != led:
            fabric = await self._worker.ready()
            await self._worker.do(partial(fabric.withdraw, former))
            await self._worker.do(partial(fabric.publish, led))
            self._led[pod] = led
