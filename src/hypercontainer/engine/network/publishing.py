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
from hypercontainer.network.parts import Published

Held = dict[PortMapping, socket.socket]


class Publishing:
    """Owner of the sockets that keep ports.  ``attached``: where a pod is that runs, () of one that does not."""

    def __init__(self, worker: Worker, attached: Callable[[str], tuple[Attachment, ...]]) -> None:
        self._worker, self._attached = worker, attached
        self._led: dict[str, tuple[Published, ...]] = {}
        self._held: dict[str, Held] = {}

    def __iter__(self) -> Iterator[Published]:
        return (port for those in self._led.values() for port in those)

    def found(self, pod: str, attachments: Sequence[Attachment], ports: Sequence[PortMapping]) -> None:
        """One that runs since an earlier hyperd."""
        self._led[pod] = own_ports.led(attachments, ports)

    def take_back(self, pod: str, ports: Iterable[PortMapping], take: Callable[[str], int | None]) -> None:
        """What was kept for it meanwhile."""
        self._held[pod] = own_ports.kept_again(ports, take)

    def pop(self, pod: str) -> tuple[Sequence[Published], Mapping[PortMapping, socket.socket]]:
        """What a pod leaves that is gone, to be given up by who is told."""
        return self._led.pop(pod, ()), self._held.pop(pod, {})

    async def publish(self, pod: str, ports: Sequence[PortMapping]) -> None:
        """All or none.  Unavailable where its VM has ended meanwhile."""
        led = own_ports.led(self._attached(pod), ports)
        kept: Held = {}
        with contextlib.ExitStack() as undo:
            for port in ports:
                kept[port] = undo.enter_context(own_ports.kept(port))
            if led:
                fabric = await self._worker.ready()
                await self._worker.do(partial(fabric.publish, led))
                if not self._attached(pod):
                    await self._worker.do(partial(fabric.withdraw, led))
                    raise Unavailable("the VM has ended")
            undo.pop_all()
        self._led[pod] = (*self._led.get(pod, ()), *led)
        self._held.setdefault(pod, {}).update(kept)
        if led:
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
        former, led = self._led.get(pod, ()), own_ports.led(self._attached(pod), ports)
        if former != led:
            fabric = await self._worker.ready()
            await self._worker.do(partial(fabric.withdraw, former))
            await self._worker.do(partial(fabric.publish, led))
            self._led[pod] = led
