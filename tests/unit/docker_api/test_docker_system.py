"""hyperd itself by Docker's API: version, info, disk usage, what is pruned, and what there is not."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from docker_stage import Play, Stage, filters, player, without
from fake_world import IMAGE
from hypercontainer import __version__
from hypercontainer.contract.volumes import NamedVolume, Volume, VolumeMount
from hypercontainer.engine import identity
from hypercontainer.engine.build import builds
from stories import have_any_kernel

SUMS = {"ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"}
LISTS = {"Images", "Containers", "Volumes", "BuildCache", "LayersSize"}


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    have_any_kernel(monkeypatch)
    return player(tmp_path)


def test_version(play: Play) -> None:
    async def story(s: Stage) -> None:
        shown = await s.got("/version")
        assert shown["Version"] == __version__
        assert (shown["ApiVersion"], shown["MinAPIVersion"]) == ("1.52", "1.40")
        assert (shown["Os"], shown["Arch"]) == ("linux", "amd64")
        assert shown["Platform"]["Name"].startswith("Hyper")
        engine = shown["Components"][0]
        assert (engine["Name"], engine["Version"]) == ("Engine", __version__)
        told = without(engine["Details"], "Experimental")
        assert told == {name: shown[name] for name in told}
        assert all(isinstance(text, str) for text in engine["Details"].values())
        assert await s.got("/v1.40/version") == shown  # whatever is asked for

    play(story, networks=False)


def test_info_has_what_clients_read(play: Play) -> None:
    async def story(s: Stage) -> None:
        await s.container("web", start=True)
        await s.container("idle")
        info = await s.got("/info")
        assert uuid.UUID(info["ID"])
        assert (await s.got("/info"))["ID"] == info["ID"]
        counted = ("Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images")
        assert [info[name] for name in counted] == [2, 1, 0, 1, 1]
        assert info["ServerVersion"] == __version__
        assert info["Swarm"]["LocalNodeState"] == "inactive"
        assert info["Runtimes"].keys() == {info["DefaultRuntime"]} == {"hyper"}
        assert info["RegistryConfig"]["IndexConfigs"]["docker.io"]["Official"]
        assert info["RegistryConfig"]["InsecureRegistryCIDRs"] == ["::1/128", "127.0.0.0/8"]
        assert info["IndexServerAddress"] == "https://index.docker.io/v1/"
        assert ["Hypervisor", "fake 1.0"] in info["DriverStatus"] or info["DriverStatus"][0][
            0
        ] == "Hypervisor"
        assert info["LiveRestoreEnabled"]
        assert info["NCPU"] > 0
        assert info["MemTotal"] > 0
        assert info["Warnings"] is None
        assert info["OSType"] == "linux"

    play(story, networks=False)


def test_fields_of_info_are_of_their_versions(play: Play) -> None:
    async def story(s: Stage) -> None:
        async def has(version: str) -> set[str]:
            info: dict[str, Any] = await s.got(f"/v{version}/info")
            names = {"KernelMemory", "KernelMemoryTCP", "BridgeNfIptables", "CDISpecDirs"} & info.keys()
            commit: dict[str, str] = info["RuncCommit"]
            inner = {"Expected"} & commit.keys()
            registries: dict[str, Any] = info["RegistryConfig"]
            return names | inner | ({"AllowNondistributableArtifactsCIDRs"} & registries.keys())

        old = {"KernelMemoryTCP", "BridgeNfIptables", "Expected", "AllowNondistributableArtifactsCIDRs"}
        assert await has("1.41") == old | {"KernelMemory"}
        assert await has("1.48") == old | {"CDISpecDirs"}
        assert await has("1.49") == {"KernelMemoryTCP", "BridgeNfIptables", "CDISpecDirs"}
        assert await has("1.51") == {"KernelMemoryTCP", "CDISpecDirs"}
        assert await has("1.52") == {"CDISpecDirs"}

    play(story, networks=False)


def test_an_id_outlives_its_hyperd_and_half_a_file(tmp_path: Path) -> None:
    first = identity.of(tmp_path)
    assert uuid.UUID(first).version == 4
    assert identity.of(tmp_path) == first
    (tmp_path / "id").write_text("")
    second = identity.of(tmp_path)
    assert second != first
    assert identity.of(tmp_path) == second
    assert [each.name for each in tmp_path.iterdir()] == ["id"]


def test_disk_usage_by_version(play: Play) -> None:
    async def story(s: Stage) -> None:
        data = Volume("data", NamedVolume("data"))
        await s.container("web", start=True, volumes=(data,), mounts=(VolumeMount("data", "/data"),))
        await s.call("POST", "/volumes/create", {"Name": "free"})
        for version, fields in (
            ("1.41", LISTS | {"BuilderSize"}),
            ("1.51", LISTS),
            ("1.52", LISTS | SUMS),
        ):
            assert (await s.got(f"/v{version}/system/df")).keys() == fields, version
        assert (await s.got("/v1.51/system/df?verbose=1")).keys() == LISTS
        shown = await s.got("/system/df")
        (image,), (container,) = shown["Images"], shown["Containers"]
        assert image["RepoTags"] == [IMAGE]
        assert (image["Containers"], image["SharedSize"]) == (1, 0)
        assert (container["Names"], container["State"], container["SizeRw"] > 0) == (
            ["/web"],
            "running",
            True,
        )
        (listed,) = await s.got("/containers/json?size=1")
        assert {**listed, "Status": ""} == {**container, "SizeRootFs": listed["SizeRootFs"], "Status": ""}
        refs = {each["Name"]: each["UsageData"]["RefCount"] for each in shown["Volumes"]}
        assert refs == {"data": 1, "free": 0}
        assert shown["LayersSize"] == shown["ImageUsage"]["TotalSize"] > 0
        assert shown["VolumeUsage"].keys() == {"ActiveCount", "TotalCount", "TotalSize", "Reclaimable"}
        assert (shown["VolumeUsage"]["ActiveCount"], shown["VolumeUsage"]["TotalCount"]) == (1, 2)
        assert (shown["ContainerUsage"]["ActiveCount"], shown["ContainerUsage"]["Reclaimable"]) == (1, 0)
        assert 0 < shown["VolumeUsage"]["Reclaimable"] < shown["VolumeUsage"]["TotalSize"]

        whole = await s.got("/system/df?verbose=1")
        assert whole.keys() == SUMS
        assert whole["VolumeUsage"]["Items"] == shown["Volumes"]
        assert whole["BuildCacheUsage"]["Items"] == []

    play(story, networks=False)


def test_what_the_builder_keeps_is_build_cache(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    said = """{"BuildCache": [
        {"ID": "a", "Type": "regular", "Description": "RUN x", "Parents": ["b"], "InUse": true, "Size": 5,
         "CreatedAt": "2026-11-29T21:06:00Z", "LastUsedAt": null, "UsageCount": 1},
        {"ID": "b", "Type": "regular", "Description": "COPY", "Parent": "c", "Shared": true, "Size": 7,
         "CreatedAt": "2026-11-29T21:06:00Z", "LastUsedAt": "2026-11-29T21:06:00Z", "UsageCount": 3},
        {"ID": "c", "Type": "source.local", "Size": 11, "CreatedAt": "2026-11-29T21:06:00Z"}]}"""

    async def cache(_: object) -> object:
        return builds.cached(said.encode())

    monkeypatch.setattr(builds.BuildService, "cache", cache)

    async def story(s: Stage) -> None:
        old = await s.got("/v1.41/system/df")
        assert [each["Parent"] for each in old["BuildCache"]] == ["b", "c", ""]
        assert old["BuilderSize"] == 16
        shown = await s.got("/v1.52/system/df")
        assert [each["Parents"] for each in shown["BuildCache"]] == [["b"], ["c"], None]
        sums = {"ActiveCount": 1, "TotalCount": 3, "TotalSize": 16, "Reclaimable": 11}
        assert shown["BuildCacheUsage"] == sums
        whole = await s.got("/v1.52/system/df?type=build-cache&verbose=1")
        assert whole == {"BuildCacheUsage": sums | {"Items": shown["BuildCache"]}}
        assert (await s.got("/v1.51/system/df?type=volume"))["BuildCache"] is None

    play(story, networks=False)


def test_kinds_of_disk_usage_can_be_chosen(play: Play) -> None:
    async def story(s: Stage) -> None:
        some = await s.got("/v1.51/system/df?type=volume&type=image")
        assert {name for name, found in some.items() if found is not None} == {
            "Volumes",
            "Images",
            "LayersSize",
        }
        assert some.keys() == LISTS
        assert (await s.got("/system/df?type=build-cache&verbose=true")).keys() == {"BuildCacheUsage"}
        assert (await s.got("/v1.41/system/df?type=volume")).keys() == LISTS | {"BuilderSize"}
        status, body = await s.call("GET", "/system/df?type=nonsense")
        assert (status, body["message"]) == (
            400,
            "unknown object type: nonsense (image, container, volume, build-cache)",
        )

    play(story, networks=False)


def test_containers_are_pruned_by_filters(play: Play) -> None:
    async def story(s: Stage) -> None:
        async def pruned(query: str = "") -> Any:
            status, body = await s.call("POST", f"/containers/prune?{query}")
            assert status == 200, body
            return body["ContainersDeleted"]

        await s.container("web", start=True)
        kept = await s.container("kept", labels={"keep": "", "of": "a"})
        other = await s.container("other", labels={"of": "b"})
        assert await pruned(filters(until=["1h"])) is None
        assert await pruned(filters(label={"of=b": True})) == [other]
        assert await pruned(filters(**{"label!": ["keep"]})) is None
        assert (await s.call("POST", f"/containers/prune?{filters(name=['kept'])}"))[0] == 400
        assert await pruned() == [kept]
        assert await pruned() is None

    play(story, networks=False)


MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
ABSENT: list[tuple[str, str, int, str]] = [
    ("GET", "/swarm", 503, MANAGER),
    ("GET", "/swarm/unlockkey", 503, MANAGER),
    ("POST", "/swarm/update", 503, MANAGER),
    *(
        ("GET", path, 503, MANAGER)
        for path in ("/services", "/nodes", "/tasks", "/secrets", "/configs", "/nodes/self")
    ),
    *(("POST", f"/{kind}/create", 503, MANAGER) for kind in ("services", "secrets", "configs")),
    ("DELETE", "/services/web", 503, MANAGER),
    ("POST", "/swarm/leave", 503, "This node is not part of a swarm"),
    ("POST", "/swarm/init", 501, "there is no swarm here: a hyperd has the containers of one machine"),
    ("POST", "/swarm/join", 501, "there is no swarm here: a hyperd has the containers of one machine"),
    ("GET", "/plugins/vieux/sshfs:latest/json", 404, 'plugin "vieux/sshfs:latest" not found'),
    ("POST", "/plugins/sshfs/enable", 404, 'plugin "sshfs" not found'),
    ("DELETE", "/plugins/vieux/sshfs", 404, 'plugin "vieux/sshfs" not found'),
    ("POST", "/plugins/pull?remote=x", 501, "plugins would run on the host"),
]


def test_what_there_is_not(play: Play) -> None:
    async def story(s: Stage) -> None:
        assert await s.bare("GET", "/plugins") == (200, [])
        for method, path, status, says in ABSENT:
            told, body = await s.bare(method, path, b"{}")
            assert (told, body["message"][: len(says)]) == (status, says), path

    play(story, networks=False)
