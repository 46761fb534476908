"""A pod that is no VM: the test has the descriptor of its tap device, and says and hears its frames itself."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import frames_of_pods as f
from frames_of_pods import Heard
from hypercontainer.contract.networks import Subnet
from hypercontainer.linux import netns
from hypercontainer.network.fabric import NamespaceFabric as Fabric
from hypercontainer.network.parts import TAP, Bridge, Guard, Place, link_local
from hypercontainer.network.uplink import HostLink
from private_host import footprint

DEADLINE_S = 5.0
HEADER_BYTES = 10  # a virtio_net_hdr: of a frame that wants nothing it is zero
FRAME_BYTES = 1 << 17
RETRY_MS = 10
MARK_PORT = 40000
NO_GUARD = Guard()

A = Bridge("aa" * 32, (Subnet("10.1.0.0/24", "10.1.0.1"), Subnet("fd01::/64", "fd01::1")), 1500)
B = Bridge("bb" * 32, (Subnet("10.2.0.0/24", "10.2.0.1"), Subnet("fd02::/64", "fd02::1")), 1500)
INTERNAL = Bridge("cc" * 32, (Subnet("10.3.0.0/24", "10.3.0.1"), Subnet("fd03::/64", "fd03::1")), 1500, True)


@dataclass
class Pod:
    """Answers, when it listens, to who asks for its MAC address, as its kernel would."""

    fd: int
    control: Path
    place: Place
    mac: str
    ip: str
    ip6: str = ""

    @property
    def local(self) -> str:
        return link_local(self.mac)

    @property
    def gateway(self) -> str:
        return str(self.place.bridge.gateways[0].ip)

    @property
    def gateway6(self) -> str:
        return str(self.place.bridge.gateways[1].ip)

    @property
    def router(self) -> str:
        """The gateway's MAC address."""
        return self.place.bridge.mac

    # ------------------------------------------------------------------------------------- says

    def send(self, frame: bytes) -> None:
        os.write(self.fd, bytes(HEADER_BYTES) + frame)

    def say(self, target_mac: str, packet: bytes, *, source_mac: str = "") -> None:
        """A packet of IP."""
        kind = f.IP6 if packet[0] >> 4 == 6 else f.IP4
        self.send(f.ethernet(source_mac or self.mac, target_mac, kind, packet))

    def out(self, packet: bytes) -> None:
        """By the gateway."""
        self.say(self.router, packet)

    def ask(self, address: str) -> None:
        """Who has an address of IPv4."""
        question = f.arp(f.REQUEST, (self.mac, self.ip), (f.NOBODY, address))
        self.send(f.ethernet(self.mac, f.BROADCAST, f.ARP, question))

    def meet(self) -> None:
        """The gateway has answered it.  A bridge sends nothing until the kernel has taken notice, aside, of its first
        port: a pod asks again meanwhile, and so does this."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        limit = time.monotonic() + DEADLINE_S
        while not self._answered():
            assert time.monotonic() < limit, f"{self.gateway} does not answer"
            self.ask(self.gateway)
            poll.poll(RETRY_MS)

    def _answered(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = f.heard(os.read(self.fd, FRAME_BYTES)[HEADER_BYTES:])
                if (frame.kind, frame.protocol, frame.source) == (f.ARP, f.REPLY, self.gateway):
                    return True
        return False

    def mark(self) -> bytes:
        """Sends all of its network what they cannot take for anything else."""
        data = secrets.token_bytes(8)
        self.say(f.BROADCAST, f.udp((self.ip, MARK_PORT), ("255.255.255.255", MARK_PORT), data))
        return data

    # ------------------------------------------------------------------------------------- hears

    def frames(self) -> Iterator[Heard]:
        """What comes until the deadline, which fails the test."""
        limit = time.monotonic() + DEADLINE_S
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while (left := limit - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                break
            with contextlib.suppress(BlockingIOError):
                frame = f.heard(os.read(self.fd, FRAME_BYTES)[HEADER_BYTES:])
                self._answer(frame)
                yield frame
        raise AssertionError(f"{self.place.tap} heard nothing of what it waited for")

    def _answer(self, frame: Heard) -> None:
        if frame.kind == f.ARP and (frame.protocol, frame.target) == (f.REQUEST, self.ip):
            answer = f.arp(f.REPLY, (self.mac, self.ip), (frame.from_mac, frame.source))
            self.send(f.ethernet(self.mac, frame.from_mac, f.ARP, answer))
        elif frame.protocol == f.ICMP6 and frame.payload[:1] == bytes([f.NEIGHBOUR_SOLICITATION]):
            for own in filter(None, (self.ip6, self.local)):
                if frame.payload[8:24] == f.packed(own):
                    self.say(frame.from_mac, f.advertised(own, frame.source, own, self.mac))

    def hears(self, wanted: Callable[[Heard], bool]) -> Heard:
        return next(frame for frame in self.frames() if wanted(frame))

    def hears_from(self, source: str) -> Heard:
        return self.hears(lambda frame: frame.source == source)

    def hears_udp(self, data: bytes) -> Heard:
        return self.hears(lambda frame: frame.protocol == f.UDP and frame.data == data)

    def before(self, data: bytes) -> list[Heard]:
        """All that comes before this."""
        found: list[Heard] = []
        for frame in self.frames():
            if frame.protocol == f.UDP and frame.data == data:
                break
            found.append(frame)
        return found

    def drain(self) -> None:
        """What was there already counts no more."""
        with contextlib.suppress(BlockingIOError):
            while True:
                os.read(self.fd, FRAME_BYTES)

    def close(self) -> None:
        """Its VM ends."""
        if self.fd >= 0:
            os.close(self.fd)
            netns.drop(self.control, self.place.tap)
            self.fd = -1


class Plug(Protocol):
    def __call__(self, bridge: Bridge, number: int, guard: Guard = ...) -> Pod:
        """The pod of this number in a network."""


@contextlib.contextmanager
def networks(folder: Path, *bridges: Bridge) -> Iterator[Fabric]:
    """Open, with these; at the end nothing is left on the host of what it has made."""
    before = footprint()
    made = Fabric(folder, HostLink(str(folder)), user=False)
    with contextlib.ExitStack() as undo:
        undo.callback(made.dissolve)
        made.open(bridges, (), ())
        yield made
    assert footprint() == before
    assert not folder.exists()


@contextlib.contextmanager
def plugging(fabric: Fabric) -> Iterator[Plug]:
    """All pods end with it."""
    with contextlib.ExitStack() as undo:

        def plug(bridge: Bridge, number: int, guard: Guard = NO_GUARD) -> Pod:
            made = pod(fabric, bridge, number, guard=guard)
            undo.callback(made.close)
            return made

        yield plug


def pod(fabric: Fabric, bridge: Bridge, number: int, *, name: str = "", guard: Guard = NO_GUARD) -> Pod:
    """The one of this number in the network, plugged in."""
    own = [str(gateway.network[number]) for gateway in bridge.gateways]
    mac = f"52:54:00:{bridge.id[:2]}:{number >> 8:02x}:{number & 255:02x}"
    place = Place(TAP + (name or f"{bridge.id[:6]}{number}"), bridge, mac, tuple(own), guard)
    control = fabric.namespace.control
    made = Pod(netns.tap(control, place.tap), control, place, mac, *own)
    try:
        fabric.plug(place)
        made.meet()
    except BaseException:
        made.close()
        raise
    return made
