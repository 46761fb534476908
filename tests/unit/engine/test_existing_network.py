"""Pods in the network that their hypervisor has already."""

from __future__ import annotations

import pytest

from fake_world import IMAGE, World
from hypercontainer.contract.networks import HYPERVISOR, USER, Join, Subnet
from hypercontainer.contract.spec import ContainerSpec, PortMapping
from hypercontainer.errors import HyperError, InvalidArgument
from hypercontainer.hypervisor.driver import Lan
from hypercontainer.hypervisor.spec import EXISTING, NAT, Existing
from stories import Tell

LAN = Lan("lab", Subnet("192.0.2.0/24", "192.0.2.1", "192.0.2.8/31"), ("192.0.2.9",))
THERE = Join(HYPERVISOR)


async def run(w: World, name: str, **more: object) -> None:
    spec = ContainerSpec(image=IMAGE, name=name, command=("cat",), stdin_open=True, **w.spec_defaults, **more)  # type: ignore[arg-type]
    await w.engine.containers.create(spec)
    await w.engine.containers.start(name)


def test_a_pod_has_an_address_of_those_that_are_for_pods(tell: Tell) -> None:
    async def story(w: World) -> None:
        w.driver.nics, w.driver.existing = frozenset({NAT, EXISTING}), LAN
        await run(w, "one", networks=(THERE,))
        (nic,) = w.driver.launched[-1].nics
        assert nic.backend == Existing("lab")
        found = (await w.engine.containers.inspect("one")).network
        assert (found.address, found.gateway, found.mac_address) == ("192.0.2.8/24", "192.0.2.1", nic.mac)
        with pytest.raises(HyperError, match="all addresses of 192"):
            await run(w, "two", networks=(THERE,))
        with pytest.raises(HyperError, match="another pod's already"):
            await run(w, "three", networks=(Join(HYPERVISOR, ip="192.0.2.8"),))
        await w.engine.close(stop_containers=False)
        await w.open()  # the next hyperd knows it, too
        with pytest.raises(HyperError, match="all addresses"):
            await w.engine.containers.start("two")
        await w.engine.containers.stop("one")
        await w.engine.containers.start("two")

    tell(story)


def test_it_is_the_usual_one_where_vms_can_be_in_no_other(tell: Tell) -> None:
    async def story(w: World) -> None:
        w.driver.existing = LAN
        for nics, usual in ((frozenset({EXISTING}), HYPERVISOR), (frozenset({NAT, EXISTING}), USER)):
            w.driver.nics = nics
            await run(w, f"c-{usual}", hypervisor="fake")
            (join,) = (await w.engine.containers.inspect(f"c-{usual}")).joins
            assert join.name == usual
            await w.engine.containers.stop(f"c-{usual}")

    tell(story)


def test_what_cannot_be_is_said_at_once_or_at_the_start(tell: Tell) -> None:
    async def story(w: World) -> None:
        w.driver.nics = frozenset({EXISTING})
        with pytest.raises(InvalidArgument, match="reached by its own address"):
            await run(w, "a", networks=(THERE,), ports=(PortMapping(80, 8080),))
        with pytest.raises(InvalidArgument, match="only network"):
            await run(w, "b", networks=(THERE, Join("bridge")))
        with pytest.raises(HyperError, match="no network is named"):
            await run(w, "c", networks=(THERE,))
        with pytest.raises(HyperError, match="VMs of fake are not in the network 'user'"):
            await run(w, "d", networks=(Join(USER),))
        w.driver.nics = frozenset({NAT})
        w.driver.existing = LAN
        with pytest.raises(HyperError, match="are not in the network 'hypervisor'"):
            await run(w, "e", networks=(THERE,))

    tell(story)
