"""Services: addresses of their own, names, and who stands behind them, told to a fabric that is made up."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from fake_fabric import FakeFabric
from free_port import free_port
from hypercontainer.engine.network.services import Endpoint, Services
from hypercontainer.engine.network.worker import Maker, Worker
from hypercontainer.engine.state import Attachment, ServiceEnd, ServiceRecord, StateStore
from hypercontainer.errors import Conflict, Unavailable
from hypercontainer.network.parts import PLACES, Published, Served

NETWORK = "shop"
WEB = ServiceRecord(name="web", selector={"app": "web"}, ends=(ServiceEnd(80, 8080),), network=NETWORK)


def pod(number: int, *, ready: bool = True, app: str = "web", network: str = NETWORK) -> Endpoint:
    place = Attachment(network=network, address=f"10.1.0.{number}/24")
    return Endpoint(f"{app}-{number}", {"app": app, "more": "x"}, ready, (place,))


class Scene:
    """Services of one hyperd; ``pods`` are all that there are."""

    def __init__(self, tmp: Path) -> None:
        self.fabric = FakeFabric(tmp / "networks")
        self.state = StateStore(tmp / "state.db")
        self.pods: list[Endpoint] = []
        self.told = 0
        self.default = NETWORK
        self.open()

    def open(self) -> None:
        async def fill(fabric: object) -> None:
            self.fabric.open((), (), list(self.services.ports), self.services.subnet, self.services.served)

        async def default() -> str:
            return self.default

        self.worker = Worker(Maker(self.fabric.folder, lambda: self.fabric), "", fill)
        self.services = Services(self.state, self.worker, default, self._changed)
        self.services.endpoints = lambda: self.pods

    def _changed(self) -> None:
        self.told += 1

    async def see(self, *pods: Endpoint) -> None:
        """The services have seen that these are all."""
        self.pods = list(pods)
        self.services.look()
        await asyncio.sleep(0)
        await self.worker.settled()

    def behind(self, name: str) -> set[str]:
        record = self.services.get(name)
        assert record is not None
        return {
            host
            for each in self.fabric.served.values()
            for host, _ in each.behind
            if each.ip == record.address
        }

    def addresses(self, name: str) -> list[tuple[str, ...]]:
        return [
            those for called, network, those in self.services.names() if (called, network) == (name, NETWORK)
        ]


@contextlib.asynccontextmanager
async def scene(tmp: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp)
    try:
        yield made
    finally:
        await made.services.close()
        await made.worker.close(used=False)
        made.state.close()


def test_who_is_ready_stands_behind_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with scene(tmp_path) as it:
            await it.services.put(WEB)
            record = it.services.get("web")
            assert record is not None
            assert it.fabric.subnet is not None
            assert ipaddress.ip_address(record.address) in ipaddress.ip_network(it.fabric.subnet.subnet)
            assert it.behind("web") == set()
            await it.see(pod(2), pod(3, ready=False), pod(4, app="db"), pod(5, network="other"))
            assert it.behind("web") == {"10.1.0.2"}
            [served] = it.fabric.served.values()
            assert served == Served("tcp", record.address, 80, (("10.1.0.2", 8080),))
            await it.see(pod(2), pod(3))
            assert it.behind("web") == {"10.1.0.2", "10.1.0.3"}
            assert not it.fabric.left & {"10.1.0.2", "10.1.0.3"}
            await it.see(replace(pod(2), ready=False), pod(3))  # it goes on with those that it has
            assert it.behind("web") == {"10.1.0.3"}
            assert not it.fabric.left & {"10.1.0.2", "10.1.0.3"}
            await it.see(pod(3))
            await it.see()
            assert it.behind("web") == set()
            assert "10.1.0.3" in it.fabric.left

    asyncio.run(story())


def test_its_names_lead_to_it_and_beside_it_to_its_pods(tmp_path: Path) -> None:
    async def story() -> None:
        async with scene(tmp_path) as it:
            await it.services.put(WEB)
            await it.services.put(msgspec.structs.replace(WEB, name="peers", headless=True))
            await it.see(pod(2), pod(3, ready=False))
            record = it.services.get("web")
            assert record is not None
            for name in ("web", "web.default", "web.default.svc", "web.default.svc.cluster.local"):
                assert it.addresses(name) == [(record.address,)]
            assert it.addresses("peers.default.svc.cluster.local") == [("10.1.0.2",)]
            assert it.addresses("web-3.peers.default.svc.cluster.local") == [("10.1.0.3",)]
            assert it.told

    asyncio.run(story())


def test_it_keeps_its_address_and_another_has_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with scene(tmp_path) as it:
            await it.services.put(WEB)
            first = it.services.get("web")
            assert first is not None
            await it.services.put(msgspec.structs.replace(WEB, ends=(ServiceEnd(81, 1, protocol="udp"),)))
            again = it.services.get("web")
            assert again is not None
            assert again.address == first.address
            await it.services.put(msgspec.structs.replace(WEB, name="other"))
            other = it.services.get("other")
            assert other is not None
            assert other.address != first.address
            await it.worker.settled()
            assert {(key[1], key[3]) for key in it.fabric.served} == {("udp", 81), ("tcp", 80)}
            for name in ("web", "other"):
                assert it.fabric.subnet is not None
                assert await it.services.remove(name)
            assert it.fabric.subnet is None
            assert not await it.services.remove("web")

    asyncio.run(story())


def test_the_next_hyperd_leads_to_the_pods_that_run_before_it_knows_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with scene(tmp_path) as it:
            port = free_port()
            await it.services.put(msgspec.structs.replace(WEB, ends=(ServiceEnd(80, 8080, port),)))
            await it.see(pod(2))
            before, ports = it.fabric.served, it.fabric.ports
            await it.services.close()
            await it.worker.close(used=True)
            it.services.ports.pop("web")[1].close()
            it.open()
            it.services.found([])
            assert it.services.subnet == it.fabric.subnet
            await it.worker.ready()
            assert it.fabric.ports == ports
            await it.see(pod(2))
            assert it.fabric.served == before

    asyncio.run(story())


def test_a_port_of_the_host_leads_to_it_or_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with scene(tmp_path) as it:
            port = free_port()
            asked = msgspec.structs.replace(WEB, ends=(ServiceEnd(80, 8080, port),))
            with contextlib.closing(socket.create_server(("127.0.0.1", port))):
                with pytest.raises(Conflict, match=str(port)):
                    await it.services.put(asked)
                assert it.services.get("web") is None
            await it.services.put(asked)
            record = it.services.get("web")
            assert record is not None
            assert it.fabric.ports == {Published("tcp", "0.0.0.0", port, record.address, 80)}
            with pytest.raises(OSError, match="in use"):
                socket.create_server(("127.0.0.1", port)).close()
            await it.services.put(asked)
            await it.services.put(WEB)
            assert it.fabric.ports == set()
            socket.create_server(("127.0.0.1", port)).close()

    asyncio.run(story())


def test_pods_with_networks_of_their_own_have_none(tmp_path: Path) -> None:
    async def story() -> None:
        async with scene(tmp_path) as it:
            it.default = "user"
            with pytest.raises(Unavailable, match="'user'"):
                await it.services.network()

    asyncio.run(story())


@pytest.mark.parametrize("count", [1, 2, 7, PLACES, PLACES + 5])
def test_each_pod_has_as_many_places_as_the_others_or_one_less(count: int) -> None:
    behind = tuple((f"10.1.{number >> 8}.{number & 255}", 80) for number in range(count))
    elements = Served("tcp", "10.9.0.1", 80, behind).elements
    assert {place for _, _, _, place, _, _ in elements} == set(range(PLACES))
    shares = [sum(each[4] == host for each in elements) for host, _ in behind]
    assert max(shares) - min(shares) <= 1
