"""Volumes by Docker's API: what they are made of, what is shown, what is in use, what prune takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docker_stage import Play, Stage, filters, player, without
from hypercontainer.contract.volumes import ANONYMOUS_LABEL, NamedVolume, Volume, VolumeMount
from stories import have_any_kernel

GIB = 1 << 30


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    have_any_kernel(monkeypatch)
    return player(tmp_path)


async def made(s: Stage, name: str, **more: Any) -> dict[str, Any]:
    status, body = await s.call("POST", "/volumes/create", {"Name": name, **more})
    assert status == 201, body
    shown: dict[str, Any] = body
    return shown


async def names(s: Stage, query: str = "") -> list[str]:
    found = await s.got(f"/volumes?{query}")
    assert found["Warnings"] is None
    return [each["Name"] for each in found["Volumes"]]


async def use(s: Stage, name: str, volume: str) -> str:
    source = Volume(volume, NamedVolume(volume))
    return await s.container(name, volumes=(source,), mounts=(VolumeMount(volume, "/data"),))


def test_what_is_made_is_shown_alike(play: Play) -> None:
    async def story(s: Stage) -> None:
        data = await made(s, "data", Driver="local", DriverOpts={}, Labels={"a": "b"})
        assert without(data, "CreatedAt", "Mountpoint") == {
            "Driver": "local",
            "Labels": {"a": "b"},
            "Name": "data",
            "Options": None,
            "Scope": "local",
        }
        assert len(data["CreatedAt"]) == len("2026-11-29T20:45:35Z")
        assert data["Mountpoint"].endswith("/volumes/data/disk.img")
        assert await s.got("/volumes/data") == data
        assert await made(s, "data", Labels={"of": "nobody"}) == data  # the one that is there
        assert (await made(s, "plain", Labels=None, DriverOpts=None))["Labels"] is None

    play(story)


def test_a_volume_without_a_name_is_said_to_be_one(play: Play) -> None:
    async def story(s: Stage) -> None:
        for body in (b"", {}, {"Driver": "", "Name": ""}):
            status, shown = await s.call("POST", "/volumes/create", body)
            assert status == 201
            assert len(shown["Name"]) == 64
            assert shown["Labels"] == {ANONYMOUS_LABEL: ""}

    play(story)


OPTIONS = [
    ({"size": "2g"}, {"size": str(2 * GIB)}),
    ({"type": "disk", "size": "128m"}, {"size": str(GIB // 8)}),
    ({"type": "shared"}, {"type": "shared"}),
    (
        {"type": "nfs", "o": "addr=10.0.0.1,rw,nfsvers=4.1", "device": ":/export/media"},
        {"type": "nfs", "o": "addr=10.0.0.1,rw,nfsvers=4.1", "device": ":/export/media"},
    ),
    (
        {"type": "nfs4", "o": "soft", "device": "files.lan:/export"},
        {"type": "nfs", "o": "addr=files.lan,soft,nfsvers=4", "device": ":/export"},
    ),
]


def test_options_say_what_it_is(play: Play) -> None:
    async def story(s: Stage) -> None:
        for number, (asked, shown) in enumerate(OPTIONS):
            assert (await made(s, f"data{number}", DriverOpts=asked))["Options"] == shown

    play(story)


def test_filters_are_exact(play: Play) -> None:
    async def story(s: Stage) -> None:
        await made(s, "shop_data", Labels={"com.docker.compose.project": "shop"})
        await made(s, "other_data", Labels={"com.docker.compose.project": "other"})
        await use(s, "db", "shop_data")
        assert await names(s, filters(label=["com.docker.compose.project=shop"])) == ["shop_data"]
        assert await names(s, filters(label={"com.docker.compose.project": True})) == [
            "other_data",
            "shop_data",
        ]
        assert await names(s, filters(name=["hop"])) == ["shop_data"]
        assert await names(s, filters(dangling=["true"])) == ["other_data"]
        assert await names(s, filters(dangling={"false": True})) == ["shop_data"]
        assert await names(s, filters(driver=["local"])) == ["other_data", "shop_data"]
        assert await names(s, filters(driver=["ceph"])) == []
        assert (await s.call("GET", f"/volumes?{filters(colour=['red'])}"))[0] == 400

    play(story)


ERRORS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/volumes/nope", b"", 404, "get nope: no such volume"),
    ("DELETE", "/volumes/nope", b"", 404, "get nope: no such volume"),
    # The command line's `inspect` asks after whatever it was given.
    ("GET", "/volumes/nope:1", b"", 404, "get nope:1: no such volume"),
    ("DELETE", "/volumes/a%20b", b"", 404, "get a b: no such volume"),
    ("DELETE", "/volumes/used", b"", 409, "volume used is used by db"),
    ("DELETE", "/volumes/used?force=1", b"", 409, "volume used is used by db"),
    ("POST", "/volumes/create", {"Name": "a/b"}, 400, "volume name 'a/b'"),
    ("POST", "/volumes/create", {"Name": "../../etc"}, 400, "volume name '../../etc'"),
    ("POST", "/volumes/create", {"Labels": []}, 400, "invalid JSON"),
    (
        "POST",
        "/volumes/create",
        {"Name": "x", "ClusterVolumeSpec": {}},
        503,
        "This node is not a swarm manager.",
    ),
    (
        "POST",
        "/volumes/create",
        {"Name": "x", "Driver": "weird"},
        404,
        'create x: error looking up volume plugin weird: plugin "weird" not found',
    ),
]
BAD_OPTIONS = [
    ({"foo": "1"}, 'create x: invalid option: "foo"'),
    ({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, "create x: a volume in memory would be another"),
    ({"type": "none", "o": "bind", "device": "/etc"}, "create x: a directory of the host is no volume here"),
    ({"o": "ro,bind", "device": "/etc"}, "create x: a directory of the host is no volume here"),
    ({"type": "cifs", "device": "//a/b", "o": "addr=a"}, 'create x: invalid option: "device"'),
    ({"type": "ext4"}, "create x: volumes of type 'ext4' are not to be had (disk, shared, nfs)"),
    ({"type": "nfs", "device": "/x"}, "create x: a volume of type nfs needs a server and a path"),
    ({"type": "nfs", "o": "addr=a,exec", "device": ":/x", "size": "1g"}, 'create x: invalid option: "size"'),
    ({"type": "nfs", "o": "addr=-a", "device": ":/x"}, "NFS server '-a': no host"),
    ({"size": "much"}, "create x: invalid size 'much'"),
    ({"type": "shared", "size": "1g"}, "volume x is shared, and has no size of its own"),
]


def test_errors_are_said_as_clients_know_them(play: Play) -> None:
    async def story(s: Stage) -> None:
        await use(s, "db", "used")
        bad = [
            ("POST", "/volumes/create", {"Name": "x", "DriverOpts": options}, 400, says)
            for options, says in BAD_OPTIONS
        ]
        for method, path, body, status, says in (*ERRORS, *bad):
            told, answer = await s.call(method, path, body)
            assert (told, answer["message"][: len(says)]) == (status, says), (path, body, answer)
        assert (await s.call("DELETE", "/volumes/a%20b?force=1"))[0] == 204
        assert (await s.call("DELETE", "/volumes/nope?force=true")) == (204, b"")
        assert await s.bare("PUT", "/volumes/used", b"{}") == (
            503,
            {"message": "volume update is of cluster volumes, and there is no swarm"},
        )
        assert await s.bare("PUT", "/v1.41/volumes/used", b"{}") == (404, {"message": "page not found"})
        assert await names(s) == ["used"]

    play(story)


def test_prune_takes_what_its_version_does(play: Play) -> None:
    async def story(s: Stage) -> None:
        async def pruned(target: str) -> list[str]:
            status, body = await s.call("POST", target)
            assert status == 200, body
            assert body["SpaceReclaimed"] >= 0
            gone: list[str] = body["VolumesDeleted"]
            return gone

        for name in ("kept", "named"):
            await made(s, name, Labels={"keep": ""} if name == "kept" else {})
        _, nameless = await s.call("POST", "/volumes/create", {})
        await use(s, "db", "used")
        assert await pruned("/v1.42/volumes/prune") == [nameless["Name"]]
        assert await pruned("/volumes/prune") == []
        assert await pruned(f"/volumes/prune?{filters(all=['1'], **{'label!': ['keep']})}") == ["named"]
        await made(s, "named")
        assert await pruned(f"/volumes/prune?{filters(all={'true': True}, label=['keep'])}") == ["kept"]
        assert await pruned("/v1.41/volumes/prune") == ["named"]
        assert await names(s) == ["used"]

    play(story)
