"""Lists of containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docker_stage import Play, Stage, filters, player
from hypercontainer.contract.spec import PortMapping
from hypercontainer.contract.volumes import NamedVolume, Volume, VolumeMount
from hypercontainer.engine.container.container import Container
from stories import have_any_kernel


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    have_any_kernel(monkeypatch)
    return player(tmp_path)


async def names(stage: Stage, query: str) -> list[str]:
    return [each["Names"][0] for each in await stage.got(f"/containers/json?{query}")]


def test_a_line(play: Play) -> None:
    async def story(stage: Stage) -> None:
        volume, mount = Volume("v", NamedVolume("data")), VolumeMount("v", "/data", read_only=True)
        made = await stage.container(
            "web",
            start=True,
            command=("cat", "a  b", "c;d"),
            labels={"a": "b"},
            ports=(PortMapping(80, 8080, host_ip="127.0.0.1"),),
            expose=("90/udp",),
            volumes=(volume,),
            mounts=(mount,),
        )
        [line] = await stage.got("/containers/json")
        assert (line["Id"], line["Names"], line["State"]) == (made, ["/web"], "running")
        assert line["Command"] == "cat 'a  b' c;d"
        assert isinstance(line["Created"], int) and line["Status"].startswith("Up ")
        assert {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"} in line["Ports"]
        assert {"PrivatePort": 90, "Type": "udp"} in line["Ports"]
        place = line["NetworkSettings"]["Networks"]["bridge"]
        assert place["IPAddress"] and place["Aliases"] is None
        assert line["HostConfig"] == {"NetworkMode": "bridge"}
        [shown] = line["Mounts"]
        assert (shown["Name"], shown["Destination"], shown["RW"]) == ("data", "/data", False)
        assert line["Health"] == {"Status": "none", "FailingStreak": 0}
        assert "SizeRw" not in line
        await stage.world.engine.containers.stop("web")
        [line] = await stage.got("/containers/json?all=1")
        assert (line["State"], line["Ports"]) == ("exited", [])
        assert line["Status"].startswith("Exited (")

    play(story)


def test_a_line_follows_its_container_and_is_made_once(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    inspect = Container.inspect

    async def counted(self: Container) -> Any:
        made.append(self.record.name)
        return await inspect(self)

    async def story(stage: Stage) -> None:
        await stage.container("a")
        await stage.container("b")
        monkeypatch.setattr(Container, "inspect", counted)
        assert await names(stage, "all=1") == ["/b", "/a"]
        await stage.world.engine.containers.rename("a", "c")
        assert await names(stage, "all=1") == ["/b", "/c"]
        assert made == ["b", "a", "c"]

    play(story)


def test_which(play: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.container("a", labels={"x": "1"})
        await stage.container("b", start=True, labels={"x": "2"})
        await stage.container("c")
        assert await names(stage, "") == ["/b"]
        for query in ("limit=2", "limit=2&all=0", "n=1&limit=2"):
            assert await names(stage, query) == ["/c", "/b"]
        assert await names(stage, "limit=-1&all=0") == ["/b"]
        assert await names(stage, "all=1&" + filters(label=["x"])) == ["/b", "/a"]
        assert await names(stage, "all=1&" + filters(label={"x=1": True})) == ["/a"]
        assert await names(stage, filters(status=["created"])) == ["/c", "/a"]
        for listed in ("/containers/json?", "/images/json?", "/networks?", "/volumes?"):
            status, said = await stage.call("GET", listed + filters(**{"label!": ["x=1"]}))
            assert (status, said["message"]) == (400, "invalid filter 'label!' (it is of prune)")
        status, said = await stage.call("GET", "/containers/json?" + filters(colour=["red"]))
        assert status == 400 and "colour" in said["message"]

    play(story)


def test_sizes_and_versions(play: Play) -> None:
    async def story(stage: Stage) -> None:
        await stage.container("web", start=True, annotations={"a": "b"})
        [line] = await stage.got("/containers/json?size=1")
        assert line["SizeRootFs"] > 0
        [old] = await stage.got("/v1.45/containers/json")
        assert "Health" not in old and "Annotations" not in old["HostConfig"]
        [new] = await stage.got("/v1.52/containers/json")
        assert "Health" in new and new["HostConfig"]["Annotations"] == {"a": "b"}

    play(story)
