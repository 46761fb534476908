"""What listings can be filtered by, and which names and values are mistakes."""

from __future__ import annotations

import io

import msgspec
import pytest

import busybox_image
from fake_world import IMAGE, World
from free_port import free_port
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import PortMapping, RestartPolicy
from hypercontainer.contract.volumes import HostPath, NamedVolume, Volume, VolumeMount
from hypercontainer.engine.service.event_filters import READERS as EVENTS
from hypercontainer.errors import InvalidArgument, NotFound
from stories import Tell, member, pod

OTHER = "localhost/other:1"


async def names(w: World, **wanted: str | list[str]) -> str:
    found = await w.engine.containers.find(all=True, filters=_lists(wanted))
    return " ".join(sorted(each.name for each in found))


def _lists(wanted: dict[str, str | list[str]]) -> dict[str, list[str]]:
    return {
        name.replace("_", "-"): [value] if isinstance(value, str) else value for name, value in wanted.items()
    }


async def images(w: World, **wanted: str | list[str]) -> list[tuple[str, ...]]:
    return [image.references for image in await w.engine.images.find(filters=_lists(wanted))]


async def create(w: World, name: str, **more: object) -> None:
    spec = member(name, **w.spec_defaults)
    await w.engine.containers.create(msgspec.structs.replace(spec, **more))


def test_names_are_expressions(tell: Tell) -> None:
    async def story(w: World) -> None:
        for name in ("f9", "f9-4k", "myf9"):
            await create(w, name)
        assert await names(w, name="^f9$") == "f9"
        assert await names(w, name="^f9") == "f9 f9-4k"
        assert await names(w, name="f9$") == "f9 myf9"
        assert await names(w, name="^/f9$") == "f9"
        assert await names(w, name="f9.4k") == "f9-4k"
        assert await names(w, name=["^my", "4k"]) == "f9-4k myf9"
        await w.engine.volumes.create("f9v")
        assert [v.name for v in await w.engine.volumes.find(filters={"name": ["^f9v$"]})] == ["f9v"]
        assert await w.engine.volumes.find(filters={"name": ["^9v"]}) == []
        await pod(w, member("f9c"), name="f9p")
        for wanted in ({"name": ["^f9p$"]}, {"ctr-names": ["^f9.$"]}, {"ctr-number": ["1"]}):
            assert [p.name for p in await w.engine.pods.find(filters=wanted)] == ["f9p"]

    tell(story)


def test_ancestors_are_images_and_not_texts(tell: Tell) -> None:
    async def story(w: World) -> None:
        await create(w, "by-name", image="localhost/tiny")
        await w.engine.images.tag(IMAGE, OTHER)
        await create(w, "by-other", image=OTHER)
        (image_id,) = {c.image_id for c in await w.engine.containers.find(all=True)}
        digits = image_id.removeprefix("sha256:")
        for ancestor in ("localhost/tiny", IMAGE, OTHER, image_id, digits, digits[:12]):
            assert await names(w, ancestor=ancestor) == "by-name by-other", ancestor
        await w.engine.images.import_(io.BytesIO(busybox_image.layer()), reference=OTHER)
        assert await names(w, ancestor=OTHER) == ""
        assert await names(w, ancestor="localhost/nobody") == ""
        shown = {c.name: c.image for c in await w.engine.containers.find(all=True)}
        assert shown == {
            "by-name": "localhost/tiny",
            "by-other": image_id,
        }  # whose name is another image's now
        assert (await w.engine.containers.inspect("by-other")).image == OTHER

    tell(story)


def test_containers_by_age_pod_mounts_ports_and_network(tell: Tell) -> None:
    async def story(w: World) -> None:
        data = Volume("d", NamedVolume("data"))
        site = w.tmp / "site"
        site.mkdir()
        host = Volume("h", HostPath(str(site)))
        await pod(w, member("one"), name="shop")
        mounts = (VolumeMount("d", "/data"), VolumeMount("h", "/h"))
        port = free_port()
        ports = (PortMapping(80, port),)
        await create(w, "two", volumes=(data, host), mounts=mounts, ports=ports, expose=("443/tcp", "53/udp"))
        await create(w, "three", networks=(Join("none"),))
        assert await names(w, before="two") == "one"
        assert await names(w, since="two") == "three"
        assert await names(w, pod="shop") == "one"
        for volume in ("data", "/data", str(site), "/h"):
            assert await names(w, volume=volume) == "two"
        assert await names(w, volume="d") == ""
        await w.engine.containers.start("two")
        for published in (f"{port}", f"{port}/tcp", f"{port - 1}-{port + 1}"):
            assert await names(w, publish=published) == "two"
        assert await names(w, publish="80") == await names(w, publish=f"{port}/udp") == ""
        for exposed in ("80", "443", "50-60/udp"):
            assert await names(w, expose=exposed) == "two"
        assert await names(w, network="none") == "three"
        assert await names(w, network="user") == "one two"
        assert await names(w, network="bridge") == ""
        assert await names(w, is_task="true") == ""
        assert await names(w, health="none", is_task="false") == "one three two"
        (two,) = await w.engine.containers.find(filters={"name": ["two"]})
        assert [(m.kind, m.source, m.path) for m in two.mounts] == [
            ("volume", "data", "/data"),
            ("bind", str(site), "/h"),
        ]
        for name in ("before", "since"):
            with pytest.raises(NotFound, match="nobody"):
                await w.engine.containers.find(filters={name: ["nobody"]})

    tell(story)


def test_images_by_patterns_show_the_names_that_match(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.images.tag(IMAGE, "localhost/team/app:1.0")
        await w.engine.images.tag(IMAGE, "debian:12")
        both = ("docker.io/library/debian:12", "localhost/team/app:1.0", IMAGE)
        assert await images(w) == [both]
        for pattern in ("localhost/ti*", "localhost/tiny:*", "localhost/tin?", "localhost/tiny", IMAGE):
            assert await images(w, reference=pattern) == [(IMAGE,)], pattern
        for pattern in ("localhost/team/*", "*/*/app", "localhost/team/app"):
            assert await images(w, reference=pattern) == [("localhost/team/app:1.0",)], pattern
        for pattern in ("debian", "debian*", "debian:12", "docker.io/library/debian"):
            assert await images(w, reference=pattern) == [("docker.io/library/debian:12",)], pattern
        assert await images(w, reference="localhost/*") == [(IMAGE,)]
        assert await images(w, reference=["debian", "*/tiny"]) == [("docker.io/library/debian:12", IMAGE)]
        assert await images(w, reference="tiny") == []

    tell(story)


def test_images_by_age(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.images.import_(io.BytesIO(busybox_image.layer()), reference=OTHER)  # of this moment
        created = {image.references[0]: image.created for image in await w.engine.images.find()}
        older, newer = sorted(created, key=lambda name: created[name])
        assert created[older] < created[newer]
        assert await images(w, before=newer) == [(older,)]
        assert await images(w, since=older) == [(newer,)]
        assert await images(w, before=older) == await images(w, since=newer) == []
        with pytest.raises(NotFound):
            await images(w, since="localhost/nobody")

    tell(story)


@pytest.mark.parametrize(
    ("kind", "wanted", "complaint"),
    [
        ("containers", {"nonsense": ["1"]}, "unknown filter 'nonsense'"),
        ("containers", {"status": ["nope"]}, "filter status: 'nope' is none of created"),
        ("containers", {"status": ["running", "nope"]}, "filter status: 'nope'"),
        ("containers", {"health": ["well"]}, "filter health: 'well'"),
        ("containers", {"exited": ["x"]}, "filter exited: 'x' is no number"),
        ("containers", {"is-task": ["maybe"]}, "filter is-task: 'maybe' is neither true nor false"),
        ("containers", {"publish": ["http"]}, "filter publish: 'http' is no port"),
        ("containers", {"expose": ["80/icmp"]}, "filter expose: '80/icmp' is of a protocol"),
        ("containers", {"name": ["f9["]}, r"filter name: 'f9\[' is no expression: missing \]: \["),
        ("images", {"nonsense": ["1"]}, "unknown filter 'nonsense'"),
        ("images", {"dangling": ["nope"]}, "filter dangling: 'nope'"),
        ("images", {"reference": ["a["]}, r"filter reference: 'a\[' lacks"),
        ("pods", {"nonsense": ["1"]}, "unknown filter 'nonsense'"),
        ("pods", {"status": ["up"]}, "filter status: 'up'"),
        ("volumes", {"nonsense": ["1"]}, "unknown filter 'nonsense'"),
        ("volumes", {"dangling": ["nope"]}, "filter dangling: 'nope'"),
        ("system", {"nonsense": ["1"]}, "unknown filter 'nonsense'"),
        ("system", {"type": ["kontainer"]}, "filter type: 'kontainer' is none of"),
    ],
)
def test_mistakes_are_told_where_there_is_nothing_to_list(
    tell: Tell, kind: str, wanted: dict[str, list[str]], complaint: str
) -> None:
    async def story(w: World) -> None:
        if kind == "images":
            await w.engine.images.remove(IMAGE)
        collection = getattr(w.engine, kind)
        with pytest.raises(InvalidArgument, match=complaint):
            collection.events(filters=wanted) if kind == "system" else await collection.find(filters=wanted)

    tell(story)


def test_events_by_what_they_happen_to(tell: Tell) -> None:
    async def story(w: World) -> None:
        await create(w, "web")
        await w.engine.volumes.create("data")
        seen = []
        for name, value in (
            ("container", "we"),
            ("volume", "data"),
            ("image", "localhost/tiny"),
            ("pod", "x"),
        ):
            found = w.engine.system.events(since="1h", until="0s", filters={name: [value]})
            seen.append([f"{event.type} {event.action}" async for event in found])
        assert seen == [["container create"], ["volume create"], ["image load", "container create"], []]

    tell(story)
    assert {"type", "event", "container", "image", "label", "pod", "volume"} <= set(EVENTS)


def test_what_keeps_failing_is_seen(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("good"), member("bad", "false", restart=RestartPolicy("always")), name="shop")
        await w.engine.pods.start("shop")
        bad = await w.engine.real.containers.held("bad")
        while bad.record.restart_count < 3 or bad.record.state.value != "restarting":
            event = await anext(w.engine.system.events(filters={"container": ["bad"]}))
            assert event.action != "remove"
        assert "bad" in {each.name for each in await w.engine.containers.find()}
        (shop,) = await w.engine.pods.find()
        assert shop.state == "running"
        assert shop.status.endswith("(restarting: bad)")

    tell(story)
