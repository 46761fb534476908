"""Containers that one name puts into one pod, networks that come later, and what is kept of how one was asked for."""

from __future__ import annotations

import pytest

from fake_world import World
from hypercontainer.contract.networks import Join, NetworkSpec
from hypercontainer.contract.spec import PodSpec, PortMapping
from hypercontainer.contract.volumes import HostPath, Volume, VolumeMount
from hypercontainer.engine.network.names import Known
from hypercontainer.errors import Conflict, InvalidArgument, NotFound
from stories import Tell, member, states

MIB = 1024 * 1024


async def couple(w: World, name: str, wish: PodSpec | None = None, **more: object) -> str:
    created = await w.engine.real.containers.create(
        member(name, **{**w.spec_defaults, **more}), couple=wish or PodSpec(name="shop"), networks_later=True
    )
    return created.id


def test_the_first_makes_it_and_it_goes_with_the_last(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.real.networks.create(NetworkSpec("front"))
        await w.engine.real.networks.create(NetworkSpec("back"))
        wish = PodSpec(name="shop", memory_bytes=256 * MIB)
        web = Join("front", aliases=("www",))
        await couple(w, "web", wish, networks=(web,), ports=(PortMapping(80, 8080),), memory_bytes=64 * MIB)
        await w.engine.containers.start("web")
        await couple(w, "db", networks=(Join("back", aliases=("sql",)),), ports=(PortMapping(81, 8081),))
        await w.engine.containers.start("db")
        assert len(w.driver.launched) == 1
        found = await w.engine.pods.inspect("shop")
        assert found.spec.memory_bytes == 256 * MIB
        assert [port.host_port for port in found.ports] == [8080, 8081]
        assert {endpoint.network for endpoint in found.network.endpoints} == {"front", "back"}
        known: Known = w.engine.real.directory.known(found.id)
        assert {"web", "db", "www", "sql", "shop"} <= set(known.names)
        await w.engine.containers.remove("db", force=True)
        assert [each.name for each in await w.engine.pods.find()] == ["shop"]
        await w.engine.containers.remove("web", force=True)
        assert await w.engine.pods.find() == []
        assert list((w.config.root / "pods").iterdir()) == []

    tell(story, networks=True)


def test_what_the_pod_decides_is_said_once_or_the_same(tell: Tell) -> None:
    async def story(w: World) -> None:
        await couple(w, "web", PodSpec(name="shop", cpus=2.0), hostname="shop")
        await couple(w, "same", PodSpec(name="shop", cpus=2.0), hostname="shop")
        for wish, more in (
            (PodSpec(name="shop", cpus=1.0), {}),
            (PodSpec(name="shop"), {"hostname": "other"}),
        ):
            with pytest.raises(Conflict, match="as its first container has it"):
                await couple(w, "odd", wish, **more)
        with pytest.raises(InvalidArgument, match="publish_all"):
            await couple(w, "odd", publish_all=True)
        assert (await states(w)).keys() == {"web", "same"}

    tell(story)


def test_a_first_container_that_cannot_be_leaves_no_pod(tell: Tell) -> None:
    async def story(w: World) -> None:
        with pytest.raises(NotFound):
            await couple(
                w, "web", mounts=(VolumeMount("h", "/h"),), volumes=(Volume("h", HostPath("/no/h")),)
            )
        assert await w.engine.pods.find() == []
        await couple(w, "web")
        await w.engine.close()
        await w.open()  # the next hyperd knows it as it is
        await w.engine.containers.remove("web")
        assert await w.engine.pods.find() == []

    tell(story)


def test_a_network_may_come_before_the_start(tell: Tell) -> None:
    async def story(w: World) -> None:
        wish = member("web", networks=(Join("later"),), **w.spec_defaults)
        with pytest.raises(NotFound):
            await w.engine.containers.create(wish)
        await w.engine.real.containers.create(wish, networks_later=True)
        with pytest.raises(NotFound, match="no such network: later"):
            await w.engine.containers.start("web")
        await w.engine.real.networks.create(NetworkSpec("later"))
        await w.engine.containers.start("web")
        assert (await w.engine.containers.inspect("web")).networks == ("later",)

    tell(story, networks=True)


def test_what_is_kept_of_the_words_is_there_for_the_next_hyperd(tell: Tell) -> None:
    async def story(w: World) -> None:
        said = {"HostConfig": {"Binds": ["a:/b"]}}
        await w.engine.real.containers.create(member("web", **w.spec_defaults), said=said)
        await w.engine.close()
        await w.open()
        assert (await w.engine.containers.inspect("web")).asked == said

    tell(story)
