"""Networks of nothing: what was asked of them last is there to be looked at."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from hypercontainer.contract.networks import Subnet
from hypercontainer.network.parts import Bridge, Elements, Flow, Lead, Led, Network, Place, Served


class FakeNamespace:
    """Keeps nothing."""

    def __init__(self, control: Path) -> None:
        self.control = control

    def take(self, name: str) -> int | None:
        return None

    def keep(self, name: str, fd: int) -> None:
        pass

    def drop(self, name: str) -> None:
        pass


class FakeFabric:
    """``Fabric``.  ``served`` by its key; ``left``: addresses whose connections were cut."""

    carrier = None
    binds = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace: Any = FakeNamespace(folder / "control")
        self.is_open = False
        self.bridges: dict[str, Bridge] = {}
        self.places: dict[str, Place] = {}
        self.ports: set[Led] = set()
        self.subnet: Subnet | None = None
        self.served: dict[tuple[str, str, str, int], Served] = {}
        self.left: set[str] = set()
        self.policies: dict[int, Elements] = {}
        self.leads: dict[Lead, float] = {}
        self.flows: list[Flow] = []
        self.tells: list[socket.socket] = []  # where what is denied is told
        self.elsewhere: list[Network] = []  # what somebody else has on the host

    def open(
        self,
        bridges: Sequence[Bridge],
        places: Collection[Place],
        ports: Iterable[Led],
        subnet: Subnet | None = None,
        served: Sequence[Served] = (),
        policies: Iterable[Elements] = (),
    ) -> bool:
        self.policies = {each.number: each for each in policies}
        self.bridges = {each.id: each for each in bridges}
        self.places = {each.tap: each for each in places}
        self.ports, self.subnet = set(ports), subnet
        self.served = {each.key: each for each in served}
        self.is_open = True
        return True

    def make(self, bridge: Bridge) -> None:
        self.bridges[bridge.id] = bridge

    def reach(self, bridge: Bridge) -> None:
        assert bridge.id in self.bridges

    def remove(self, bridge: Bridge) -> None:
        self.bridges.pop(bridge.id, None)

    def listeners(self) -> tuple[socket.socket, socket.socket]:
        made = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        for each in made:
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)
        made[1].listen(1)
        return made[0], made[1]

    def proxy_listeners(self) -> tuple[socket.socket, ...]:
        return ()

    def plug(self, place: Place) -> None:
        self.places[place.tap] = place

    def unplug(self, place: Place) -> None:
        self.places.pop(place.tap, None)

    def drop(self, tap: str) -> None:
        pass

    def guard(
        self,
        former: Sequence[Place],
        places: Sequence[Place],
        without: Elements | None = None,
        by: Elements | None = None,
    ) -> None:
        for each in former:
            assert self.places.pop(each.tap, each) == each
        self.places |= {each.tap: each for each in places}
        if without is not None:
            del self.policies[without.number]
        if by is not None:
            assert by.number not in self.policies
            self.policies[by.number] = by
        assert all(each.guard.policy in (0, *self.policies) for each in places)

    def cut(self, addresses: Iterable[str], stays: Callable[[Flow], bool]) -> int:
        gone = [each for each in self.flows if str(each.source) in addresses and not stays(each)]
        self.flows = [each for each in self.flows if each not in gone]
        return len(gone)

    def naming(self) -> FakeNaming:
        return FakeNaming(self.leads)

    def denials(self) -> socket.socket:
        tells, hears = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.tells.append(tells)
        hears.setblocking(False)
        return hears

    def publish(self, ports: Sequence[Led]) -> None:
        self.ports |= set(ports)

    def withdraw(self, ports: Sequence[Led]) -> None:
        self.ports -= set(ports)

    def lead(self, subnet: Subnet, *, gone: bool = False) -> None:
        self.subnet = None if gone else subnet

    def serve(self, former: Sequence[Served], wanted: Sequence[Served]) -> None:
        assert self.served == {each.key: each for each in former}
        self.served = {each.key: each for each in wanted}

    def leave(self, former: Sequence[Served], addresses: Collection[str]) -> None:
        self.left |= set(addresses)

    def taken(self) -> list[Network]:
        return self.elsewhere

    def mtu(self) -> int:
        return 1500

    def host(self) -> str:
        return "192.0.2.1"

    def dissolve(self) -> None:
        self.close()

    def close(self) -> None:
        self.is_open = False
        for each in self.tells:
            each.close()


class FakeNaming:
    """``leads``: for how long."""

    def __init__(self, leads: dict[Lead, float]) -> None:
        self._leads = leads

    def lead(self, leads: Iterable[Lead], lifetime_s: float) -> None:
        self._leads |= dict.fromkeys(leads, lifetime_s)

    def forget(self, leads: Iterable[Lead]) -> None:
        for each in leads:
            self._leads.pop(each, None)

    def close(self) -> None:
        pass
