"""Images through Docker's API: a real store, registries of our own, no VM."""

from __future__ import annotations

import json
from typing import Any

import busybox_image
from fake_registry import Fake
from fake_world import IMAGE
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.semantics.committed import over
from image_streams import OTHER, Served, layer_of, the_events

JSON = {"Content-Type": "application/json"}


# Lists and inspection


LISTS: dict[str, tuple[set[str], set[str]]] = {
    "1.40": ({"VirtualSize"}, {"Descriptor", "Manifests"}),
    "1.43": ({"VirtualSize"}, {"Descriptor", "Manifests"}),
    "1.47": ({"Manifests"}, {"VirtualSize", "Descriptor"}),
    "1.52": ({"Manifests", "Descriptor"}, {"VirtualSize"}),
}


async def test_a_list_by_version(served: Served) -> None:
    async with served() as docker:
        for version, (has, lacks) in LISTS.items():
            (image,) = (await docker.ask("GET", f"/v{version}/images/json?manifests=1&shared-size=1")).json
            assert image.keys() >= has | {"Id", "ParentId", "Created", "Size"}, version
            assert not image.keys() & lacks, version
            assert (image["RepoTags"], image["RepoDigests"], image["Labels"]) == ([IMAGE], [], None)
            assert (image["SharedSize"], image["Containers"]) == (0, 0)
            (plain,) = (await docker.ask("GET", f"/v{version}/images/json")).json
            assert (plain["SharedSize"], "Manifests" in plain) == (-1, False)


async def test_what_images_share(served: Served) -> None:
    async with served() as docker:
        other = busybox_image.archive([busybox_image.layer(), layer_of("more")], "localhost/other:1")
        assert (await docker.ask("POST", "/images/load", other)).status == 200
        images = (await docker.ask("GET", "/images/json?shared-size=true")).json
        sizes = {image["RepoTags"][0]: (image["Size"], image["SharedSize"]) for image in images}
        size, shared = sizes[IMAGE]
        assert size == shared == sizes["localhost/other:1"][1] < sizes["localhost/other:1"][0]


async def test_an_image_s_manifest_and_its_containers(served: Served) -> None:
    async with served() as docker:
        made = await docker.engine.containers.create(ContainerSpec(image=IMAGE, command=("true",)))
        image = (await docker.ask("GET", f"/images/{IMAGE}/json?manifests=1")).json
        (manifest,) = image["Manifests"]
        assert manifest["ID"] == image["Descriptor"]["digest"] == manifest["Descriptor"]["digest"]
        assert manifest["ImageData"]["Containers"] == [made.id]
        assert manifest["Size"]["Total"] == manifest["Size"]["Content"] + image["Size"]
        (listed,) = (await docker.ask("GET", "/images/json")).json
        assert listed["Containers"] == 1
        both = await docker.ask("GET", f"/images/{IMAGE}/json?manifests=1&platform=linux/amd64")
        assert both.status == 400


INSPECTIONS: dict[str, tuple[set[str], set[str]]] = {
    "1.43": ({"VirtualSize", "Container", "ContainerConfig", "Parent", "Author"}, {"Descriptor"}),
    "1.44": ({"Container", "Parent"}, {"VirtualSize", "Descriptor"}),
    "1.45": ({"Parent", "Comment"}, {"ContainerConfig", "Container"}),
    "1.49": ({"Descriptor", "Parent"}, {"Manifests"}),
    "1.52": ({"Descriptor"}, {"Parent", "Comment", "DockerVersion", "Author"}),
}


async def test_an_inspection_by_version(served: Served) -> None:
    async with served() as docker:
        for version, (has, lacks) in INSPECTIONS.items():
            image = (await docker.ask("GET", f"/v{version}/images/{IMAGE}/json")).json
            assert image.keys() >= has, version
            assert not image.keys() & lacks, version
            config = image["Config"].keys()
            assert ("Hostname" in config) == (version < "1.50")
            assert ("Entrypoint" in config) == (version < "1.52")
            assert image["Config"]["Cmd"]


async def test_an_image_that_is_not_here(served: Served) -> None:
    async with served() as docker:
        for name in ("nope", "nope:latest"):
            for method, path in (("GET", "json"), ("GET", "history"), ("GET", "get"), ("POST", "tag?repo=x")):
                got = await docker.ask(method, f"/v1.41/images/{name}/{path}")
                assert (got.status, got.message) == (404, "No such image: nope:latest")
        got = await docker.ask("GET", "/images/No%20image/json")  # nor may it be: a volume may be called so
        assert (got.status, got.message) == (404, "No such image: No image")


async def test_what_is_here_for_another_platform_is_not_here(served: Served) -> None:
    async with served() as docker:
        for path in ("json", "history", "get"):
            got = await docker.ask("GET", f"/images/{IMAGE}/{path}?{OTHER}")
            assert got.status == 404
            assert "linux/s390x" in got.message
        got = await docker.ask("DELETE", f"/images/{IMAGE}?{OTHER.replace('platform', 'platforms')}")
        assert got.status == 404
        got = await docker.ask("GET", f"/images/{IMAGE}/get?platform=%7B")
        assert got.status == 400


async def test_filters(served: Served) -> None:
    def named(*values: str, of: str) -> str:
        return f"/images/json?filters={json.dumps({of: dict.fromkeys(values, True)})}".replace(" ", "")

    async with served() as docker:
        asked = {
            named("a=b", of="label"): 0,
            named("true", of="dangling"): 0,
            named("localhost/*", of="reference"): 1,
            named("1h", of="until"): 1,
            named("1999-01-01", of="until"): 0,
            '/images/json?filters={"reference":+["nope"]}': 0,
        }
        for target, count in asked.items():
            got = await docker.ask("GET", target)
            assert (got.status, len(got.json)) == (200, count), target
        got = await docker.ask("GET", named("1", of="nope"))
        assert (got.status, "unknown filter 'nope'" in got.message) == (400, True)


async def test_history(served: Served) -> None:
    async with served() as docker:
        image = (await docker.ask("GET", f"/images/{IMAGE}/json")).json
        (step,) = (await docker.ask("GET", f"/images/{IMAGE}/history")).json
        assert (step["Id"], step["Tags"], step["Size"]) == (image["Id"], [IMAGE], image["Size"])
        assert isinstance(step["Created"], int)


# Names


TAGS = {
    "repo=docker.io%2Flibrary%2Fx&tag=1": "x:1",
    "repo=x": "x:latest",
    "repo=host%3A5000%2Fx%3A2": "host:5000/x:2",
    "repo=x%3A1&tag=2": "x:2",
}


async def test_tag(served: Served) -> None:
    async with served() as docker:
        for query, name in TAGS.items():
            got = await docker.ask("POST", f"/images/{IMAGE}/tag?{query}")
            assert (got.status, got.body) == (201, b"")
            assert set((await docker.ask("GET", f"/images/{name}/json")).json["RepoTags"]) == {IMAGE, name}
            gone = await docker.ask("DELETE", f"/images/{name}?noprune=1")
            assert (gone.status, gone.json) == (200, [{"Untagged": name}])
        assert [action for action, _ in await the_events(docker)] == ["load", *["tag", "untag"] * 4]


async def test_an_image_that_is_used(served: Served) -> None:
    async with served() as docker:
        container = await docker.engine.containers.create(ContainerSpec(image=IMAGE, command=("trap",)))
        identifier = (await docker.ask("GET", f"/images/{IMAGE}/json")).json["Id"]
        short, user = identifier[7:19], container.id[:12]
        by_name = await docker.ask("DELETE", f"/images/{IMAGE}")
        assert by_name.status == 409
        assert by_name.message == (
            f'conflict: unable to remove repository reference "{IMAGE}" (must force) - '
            f"container {user} is using its referenced image {short}"
        )
        by_id = await docker.ask("DELETE", f"/images/{short}")
        assert (by_id.status, by_id.message) == (
            409,
            f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container {user}",
        )
        await (await docker.engine.containers.held(container.id)).start()
        running = await docker.ask("DELETE", f"/images/{short}")
        assert running.message == (
            f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container {user}"
        )
        names = await docker.ask("DELETE", f"/images/{IMAGE}?force=1")
        assert names.json == [{"Untagged": IMAGE}]
        forced = await docker.ask("DELETE", f"/images/{short}?force=1")
        assert (forced.status, forced.message) == (409, running.message)
        await docker.ask("POST", f"/images/{identifier}/tag?repo={IMAGE}")
        await (await docker.engine.containers.held(container.id)).kill()
        await (await docker.engine.containers.held(container.id)).wait()
        await docker.engine.system.prune(images=False)
        await docker.ask("POST", f"/images/{identifier}/tag?repo=other")
        several = await docker.ask("DELETE", f"/images/{short}")
        assert several.status == 409
        assert several.message == (
            f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
        await docker.ask("DELETE", "/images/other")
        gone = await docker.ask("DELETE", f"/images/{identifier}")
        assert gone.json == [{"Untagged": IMAGE}, {"Deleted": identifier}]


async def test_prune(served: Served) -> None:
    async with served() as docker:
        nothing = await docker.ask("POST", "/images/prune")
        assert nothing.json == {"ImagesDeleted": None, "SpaceReclaimed": 0}
        wrong = await docker.ask("POST", '/images/prune?filters={"nope":["1"]}')
        assert wrong.status == 400
        kept = await docker.ask("POST", '/images/prune?filters={"dangling":["false"],"label":["a"]}')
        assert kept.json["ImagesDeleted"] is None
        gone = (await docker.ask("POST", '/images/prune?filters={"dangling":{"false":true}}')).json
        assert [*gone["ImagesDeleted"][0]] == ["Untagged"]
        assert gone["ImagesDeleted"][1]["Deleted"].startswith("sha256:")
        assert gone["SpaceReclaimed"] > 0
        happened = [action for action, _ in await the_events(docker)]
        assert happened == ["load", "prune", "prune", "untag", "delete", "prune"]


# Registries


async def test_a_registry_is_asked_what_it_has(served: Served) -> None:
    async with served() as docker:
        with Fake() as registry:
            digest = registry.add_image("1", layer_of("one"), architecture="arm64")
            got = await docker.ask("GET", f"/distribution/{registry.host}/x:1/json")
            assert got.json["Descriptor"]["digest"] == digest
            assert got.json["Descriptor"]["size"] == len(registry.manifests["1"][0])
            assert got.json["Platforms"] == [{"architecture": "arm64", "os": "linux"}]
            assert (await docker.ask("GET", f"/distribution/{registry.host}/x:2/json")).status == 404
            assert not registry.asked(registry.layers("1")[0])


async def test_search(served: Served) -> None:
    async with served() as docker:
        with Fake() as registry:
            target = f"/images/search?term={registry.host}/x"
            assert (await docker.ask("GET", target)).status == 404
            registry.results = [
                {"name": "some/x", "description": "good", "star_count": 7, "is_official": True},
                {"name": "x"},
            ]
            first, second = (await docker.ask("GET", target)).json
            assert (first["name"], first["star_count"], second["description"]) == ("some/x", 7, "")
            assert len((await docker.ask("GET", f"{target}&limit=1")).json) == 1
            starred = await docker.ask("GET", f'{target}&filters={{"stars":["3"]}}')
            assert [each["name"] for each in starred.json] == ["some/x"]
            assert (await docker.ask("GET", f"{target}&limit=101")).status == 400


async def test_log_in(served: Served) -> None:
    async with served() as docker:
        with Fake() as registry:
            registry.authorize = Fake.basic("me", "secret")
            said = {"username": "me", "password": "secret", "serveraddress": registry.host}
            got = await docker.ask("POST", "/auth", said, JSON)
            assert (got.status, got.json) == (200, {"Status": "Login Succeeded", "IdentityToken": ""})
            got = await docker.ask("POST", "/auth", said | {"password": "no"}, JSON)
            assert got.status == 401
            assert (await docker.ask("POST", "/auth", b"", JSON)).status == 400


# Commit


async def test_a_commit_of_nothing(served: Served) -> None:
    bodies: list[tuple[Any, int]] = [(b"", 404), (b"null", 404), ({}, 404), ({"Cmd": 5}, 400), (b"{", 400)]
    async with served() as docker:
        for body, status in bodies:
            got = await docker.ask("POST", "/commit?container=nope", body, JSON)
            assert got.status == status, body


def test_what_a_client_says_goes_before_what_the_container_has() -> None:
    own = {"Cmd": ["a"], "Env": ["A=1", "B=2"], "Labels": {"a": "1"}, "User": "me"}
    assert over(own, {}) == own
    assert over(own, {"Env": ["B=3", "C=4"], "Labels": {"b": "2"}, "User": ""}) == {
        **own,
        "Env": ["A=1", "B=3", "C=4"],
        "Labels": {"a": "1", "b": "2"},
    }
    assert over(own, {"Entrypoint": ["e"]}) == {**{k: own[k] for k in own if k != "Cmd"}, "Entrypoint": ["e"]}
    assert over(own, {"Entrypoint": ["e"], "Cmd": ["c"]})["Cmd"] == ["c"]
