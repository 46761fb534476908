"""What happens, in Docker's words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from docker_stage import Play, Stage, filters, player
from hypercontainer.contract.answers import Event
from hypercontainer.contract.volumes import NamedVolume, Volume, VolumeMount
from hypercontainer.surfaces.docker.events import docker_event
from stories import have_any_kernel


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    have_any_kernel(monkeypatch)
    return player(tmp_path)


def lines(body: bytes) -> list[Any]:
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


def test_a_life(play: Play) -> None:
    async def story(stage: Stage) -> None:
        containers = stage.world.engine.containers
        mounts = {
            "volumes": (Volume("v", NamedVolume("data")),),
            "mounts": (VolumeMount("v", "/data"),),
        }
        identifier = await stage.container("web", start=True, command=("trap",), labels={"a": "b"}, **mounts)
        await containers.stop("web")
        await containers.remove("web")
        body = (await stage.client.ask("GET", "/v1.52/events?since=0&until=0s")).body
        assert (await stage.client.ask("GET", "/v1.52/events?until=0s")).body == body
        told = [each for each in lines(body) if each["Type"] != "image"]
        assert [(each["Type"], each["Action"]) for each in told] == [
            ("volume", "create"),
            ("container", "create"),
            ("network", "connect"),
            ("volume", "mount"),
            ("container", "start"),
            ("container", "kill"),
            ("network", "disconnect"),
            ("volume", "unmount"),
            ("container", "die"),
            ("container", "stop"),
            ("container", "destroy"),
        ]
        assert told[4]["Actor"] == {
            "ID": identifier,
            "Attributes": {"a": "b", "name": "web", "image": told[4]["Actor"]["Attributes"]["image"]},
        }
        assert told[2]["Actor"]["Attributes"] == {
            "container": identifier,
            "name": "bridge",
            "type": "bridge",
        }
        assert told[3]["Actor"]["ID"] == "data"
        assert told[3]["Actor"]["Attributes"]["destination"] == "/data"
        died = told[8]["Actor"]["Attributes"]
        assert died["execDuration"] == "0" and died["exitCode"]
        assert told[0]["scope"] == "local"
        assert told[0]["timeNano"] // 10**9 == told[0]["time"]

    play(story)


def test_fields_by_version(play: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.container("web")
        wanted = filters(type={"container": True})
        body = (await stage.client.ask("GET", f"/v1.51/events?since=0&until=0s&{wanted}")).body
        [old] = lines(body)
        assert (old["status"], old["id"]) == ("create", old["Actor"]["ID"])
        assert old["from"] == old["Actor"]["Attributes"]["image"]
        body = (await stage.client.ask("GET", f"/v1.52/events?since=0&until=0s&{wanted}")).body
        [new] = lines(body)
        assert not {"status", "id", "from"} & new.keys() and new["Action"] == "create"

    play(story)


@pytest.mark.parametrize(
    ("accept", "version", "kind", "before"),
    [
        ("application/json-seq", "/v1.52", "application/json-seq", b"\x1e{"),
        ("application/jsonl", "/v1.52", "application/jsonl", b"{"),
        ("application/jsonl, application/json", "", "application/jsonl", b"{"),
        ("application/json-seq", "/v1.51", "application/json", b"{"),
        ("*/*", "/v1.52", "application/json", b"{"),
    ],
)
def test_forms(play: Play, accept: str, version: str, kind: str, before: bytes) -> None:
    async def story(stage: Stage) -> None:
        await stage.container("web")
        target = f"{version}/events?since=0&until=0s"
        found = await stage.client.ask("GET", target, headers={"Accept": accept})
        assert found.headers["content-type"] == kind
        assert found.body.startswith(before)

    play(story)


def test_the_head_comes_at_once_and_then_what_happens(play: Play) -> None:
    async def story(stage: Stage) -> None:
        wanted = filters(container=["web"])
        following = await stage.client.hijack("GET", f"/events?{wanted}", headers={})
        assert following.status == 200
        await stage.container("other")
        await stage.container("web")
        while b'"create"' not in (line := await following.reader.readline()):
            pass
        assert json.loads(line)["Actor"]["Attributes"]["name"] == "web"
        following.writer.close()

    play(story, networks=False)


def test_filters(play: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.container("web")
        for given, count in (
            ({"scope": ["local"]}, 1),
            ({"scope": ["swarm"]}, 0),
            ({"network": ["web"]}, 0),
            ({"type": ["node"]}, 0),
            ({"event": ["create"]}, 1),
        ):
            chosen = filters(**{"container": ["web"], **given})
            body = (await stage.client.ask("GET", f"/events?since=0&until=0s&{chosen}")).body
            assert len(body.splitlines()) == count, given
        status, _ = await stage.call("GET", "/events?" + filters(colour=["red"]))
        assert status == 400

    play(story, networks=False)


NOW = "2026-01-01T00:00:00.000000001Z"


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("pod", "create"),
        ("template", "ready"),
        ("policy", "deny"),
        ("container", "timings"),
        ("container", "ready"),
        ("image", "stalled"),
        ("volume", "snapshot"),
        ("daemon", "events-lost"),
    ],
)
def test_what_only_hyper_has_is_left_out(kind: str, action: str) -> None:
    assert docker_event(Event(NOW, kind, action, "x", {})) is None


@pytest.mark.parametrize(
    ("event", "identifier", "name"),
    [
        (Event(NOW, "image", "pull", "sha256:1", {"name": "docker.io/library/a:1"}), "a:1", "a"),
        (Event(NOW, "image", "push", "r.example/a/b:2", {"digest": "x"}), "r.example/a/b:2", "r.example/a/b"),
        (Event(NOW, "image", "tag", "sha256:1", {"name": "a:1"}), "sha256:1", "a:1"),
    ],
)
def test_images_are_named_as_docker_names_them(event: Event, identifier: str, name: str) -> None:
    told = docker_event(event)
    assert told is not None
    assert told["Actor"] == {"ID": identifier, "Attributes": {"name": name}}
    assert told["id"] == identifier and told["timeNano"] == 1767225600_000000001


def test_idle_followers_are_not_woken(play: Play) -> None:
    """500 of them, who want nothing of what happens: none of their tasks runs for it."""

    async def story(stage: Stage) -> None:
        wanted = filters(container=["nobody"])
        followers = [await stage.client.hijack("GET", f"/events?{wanted}", headers={}) for _ in range(500)]
        bus = stage.world.engine.real.system._events
        assert len(bus._followers) == 500
        await stage.container("web")
        assert not any(follower._queue for follower in bus._followers)
        for each in followers:
            each.writer.close()
        while bus._followers:
            await asyncio.sleep(0)

    play(story, networks=False)
