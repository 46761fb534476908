"""Pods in networks of CNI: what is written down, what the next hyperd makes of that, what a guest is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_stage import GATEWAY, PLUGINS, Stage
from free_port import free_port
from hypercontainer.config import Networks as Settings
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import PodSpec, PortMapping
from hypercontainer.engine.network import cni
from hypercontainer.engine.network.cni import Member
from hypercontainer.engine.network.cni_pods import KIND, CniPods
from hypercontainer.engine.network.keeping import Kept
from hypercontainer.engine.state import PodRecord, StateStore
from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Unavailable
from hypercontainer.linux.netns import Namespace
from hypercontainer.network.cni.device import Device
from private_host import PrivateHost

ID = "ab" * 32
# Hands on what the plugin before it said, which is the chain's result.
PASSES = """[ "$CNI_COMMAND" != ADD ] || sed 's/.*"prevResult"://; s/}$//'"""


def record(*names: str, identifier: str = ID, **more: Any) -> PodRecord:
    joins = tuple(Join(f"cni:{name}", **more) for name in names)
    spec = PodSpec(dns=("10.0.0.9",), dns_search=("example.org",))
    return PodRecord(
        id=identifier, spec=spec, name="web", memory_mib=64, cpus=1, mac="02:00:00:00:00:01", networks=joins
    )


def member(name: str, interface: str, device: Device | None, **more: Any) -> Member:
    configuration = {"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "x"}]}
    return Member(
        join=Join(f"cni:{name}"),
        configuration=configuration,
        interface=interface,
        tap="t-1",
        capabilities={},
        arguments={},
        device=device,
        **more,
    )


# ------------------------------------------------------------------------------------- pure


def test_the_first_way_out_is_a_guests_only_one() -> None:
    one = Device(mac="02:00:00:00:00:01", mtu=1400, addresses=("10.1.0.2/24",), told=("10.1.0.2/24",))
    both = ("10.2.0.1", "fd02::1")
    two = Device(mac="02:00:00:00:00:02", mtu=1500, gateways=both, routes=("10.9.0.0/16 10.2.0.1",))
    three = Device(mac="02:00:00:00:00:03", mtu=1500, gateways=("10.3.0.1", "fd03::1"))
    told = cni.interfaces([member("a", "eth0", one), member("b", "eth1", two), member("c", "eth2", three)])
    assert [(each.name, each.mtu, each.gateways, each.routes) for each in told] == [
        ("eth0", 1400, (), ()),
        ("eth1", 1500, both, ("10.9.0.0/16 10.2.0.1",)),
        ("eth2", 1500, (), ()),
    ]
    assert told[0].addresses == ("10.1.0.2/24",) and told[0].mac == bytes([2, 0, 0, 0, 0, 1])


def test_an_attachment_has_the_results_gateway_where_no_route_has_one() -> None:
    device = Device(mac="02:00:00:00:00:01", mtu=1500, addresses=("10.1.0.2/24", "fd01::2/64"))
    result = {"ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}]}
    made = member("a", "eth0", device, result=result).attachment
    assert (made.address, made.address6, made.gateway, made.gateway6) == (
        "10.1.0.2/24",
        "fd01::2/64",
        "10.1.0.1",
        "",
    )
    assert (
        made.network == "cni:a" and made.network_id == cni.identifier("cni:a") and len(made.network_id) == 64
    )


def test_what_plugins_are_told_of_a_pod() -> None:
    pod = record("a", ip="10.1.0.7", ip6="fd01::7", mac_address="02:00:00:00:00:07", aliases=("db",))
    ports = [PortMapping(80, 8080)]
    assert cni.capabilities(pod, pod.networks[0], ports) == {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "ips": ["10.1.0.7", "fd01::7"],
        "mac": "02:00:00:00:00:07",
        "aliases": ["db"],
        "dns": {"servers": ["10.0.0.9"], "searches": ["example.org"]},
    }
    assert cni.arguments(pod, pod.networks[0]) == {
        "K8S_POD_NAMESPACE": "default",
        "K8S_POD_NAME": "web",
        "K8S_POD_INFRA_CONTAINER_ID": ID,
        "K8S_POD_UID": ID,
        "IP": "10.1.0.7",
        "MAC": "02:00:00:00:00:07",
    }
    assert "IP" not in cni.arguments(record("a"), Join("cni:a"))


# ------------------------------------------------------------------------------------- by real plugins


@pytest.fixture
def stage(host: PrivateHost, tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    made = StateStore(tmp_path / "state.db")
    yield made
    assert made.objects(KIND) == []
    assert not (tmp_path / "keepers").exists() or not list((tmp_path / "keepers").iterdir())
    made.close()


def pods(stage: Stage, state: StateStore, **settings: Any) -> CniPods:
    """Those of a hyperd that begins."""
    directories = (stage.own, PLUGINS)
    return CniPods(
        state,
        stage.folder / "keepers",
        Settings(cni_conf_dir=stage.files, cni_plugin_dirs=directories, **settings),
    )


def test_a_place_is_made_found_by_the_next_and_given_up(stage: Stage, state: StateStore) -> None:
    hears = {**stage.program("hears", PASSES), "capabilities": {"portMappings": True}}
    stage.write(stage.bridge(), hears)
    port = PortMapping(80, free_port(), "127.0.0.1")

    async def work() -> None:
        first = pods(stage, state)
        await first.open([])
        assert await first.checked(record("net").networks) == record("net").networks
        await first.allot(record("net"), [port])
        (place,) = first.attached(ID)
        assert (
            place.address == "10.77.0.2/24" and place.gateway == GATEWAY and stage.leases() == {"10.77.0.2"}
        )
        with pytest.raises(Conflict, match="already allocated"):
            Kept("another").bind([port])
        second = pods(stage, state)
        await second.open([ID])
        await second.settled()
        assert second.attached(ID) == (place,) and stage.leases() == {"10.77.0.2"}
        second.release(ID)
        await second.settled()
        assert second.attached(ID) == () and stage.leases() == set()
        Kept("another").bind([port])()

    asyncio.run(work())


def test_what_no_pod_has_any_more_is_given_up_by_the_next(stage: Stage, state: StateStore) -> None:
    async def work() -> None:
        await pods(stage, state).allot(record("net"), [])
        assert stage.leases() == {"10.77.0.2"}
        Namespace.start(stage.folder / "keepers/stray", user=False)  # who was to write it down ended before
        (stage.files / "net.conflist").unlink()  # it is taken back as it was made
        again = pods(stage, state)
        await again.open([])
        await again.settled()
        assert stage.leases() == set()

    stage.write(stage.bridge())
    asyncio.run(work())


def test_gc_is_asked_with_what_is_there_where_the_configuration_says_so(
    stage: Stage, state: StateStore
) -> None:
    script = PASSES.replace("cat", "cat") + """; [ "$CNI_COMMAND" != GC ] || cat >>"$log" """
    stage.write(
        stage.program("collects", f"""[ "$CNI_COMMAND" != ADD ] || exit 1; {script}"""), version="1.1.0"
    )

    async def work() -> None:
        quiet, asked = pods(stage, state), pods(stage, state, cni_gc=True)
        await quiet.open([])
        await quiet.settled()
        assert stage.said("collects") == []
        await asked.open([])
        await asked.settled()

    asyncio.run(work())
    (line,) = stage.said("collects")
    assert json.loads(line)["cni.dev/valid-attachments"] == []


def test_what_fails_is_taken_back_and_what_is_refused_is_not_begun(stage: Stage, state: StateStore) -> None:
    stage.write(
        stage.bridge(), stage.program("refuses", '[ "$CNI_COMMAND" != ADD ] || exit 1'), name="broken"
    )
    stage.write(stage.bridge("cni-test1"), name="plain")
    stage.write({"type": "ptp", "ipam": stage.ipam()}, name="silent")

    async def work() -> None:
        made = pods(stage, state)
        with pytest.raises(Unavailable, match="ADD by refuses"):
            await made.allot(record("broken"), [])
        assert made.attached(ID) == () and stage.leases("broken") == {"10.77.0.2"}
        made.release(ID)
        await made.settled()
        assert stage.leases("broken") == set()
        with pytest.raises(InvalidArgument, match="'portMappings'"):
            await made.allot(record("plain"), [PortMapping(80, 8080)])
        with pytest.raises(NotFound, match="there are cni:broken, cni:plain, cni:silent"):
            await made.checked(record("nowhere").networks)
        with pytest.raises(InvalidArgument, match="only ones"):
            await made.checked((*record("plain").networks, Join("bridge")))
        with pytest.raises(InvalidArgument, match="'aliases'"):
            await made.checked(record("plain", aliases=("x",)).networks)
        with pytest.raises(InvalidArgument, match="gave another MAC address"):
            await made.allot(record("silent", mac_address="02:00:00:00:00:77"), [])
        made.release(ID)
        await made.settled()

    asyncio.run(work())
