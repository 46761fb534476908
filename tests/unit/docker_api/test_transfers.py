"""Images that are pulled, pushed, saved, loaded and imported through Docker's API."""

from __future__ import annotations

import asyncio
from typing import Any

from fake_registry import Fake
from fake_world import IMAGE
from hypercontainer.contract.images import LayerProgress
from hypercontainer.surfaces.docker.layer_words import Pulled
from hypercontainer.surfaces.docker.messages import Said, bar
from hypercontainer.surfaces.http.board import Board
from image_streams import OTHER, Served, auth, layer_of, messages, statuses, the_events

# Pull


async def test_a_pull_as_the_command_line_draws_it(served: Served) -> None:
    async with served() as docker:
        with Fake() as registry:
            registry.add_image("1", layer_of("one"), layer_of("two"))
            digests = registry.layers("1")
            name = f"{registry.host}/some/x"
            target = f"/v1.41/images/create?fromImage={name.replace('/', '%2F')}&tag=1"
            got = await docker.ask("POST", target, headers=auth())
            assert (got.status, got.headers["content-type"]) == (200, "application/json")
            lines = statuses(got)
            assert lines[0] == "1: Pulling from some/x"
            for digest in digests:
                own = [line.partition(": ")[2] for line in lines if line.startswith(digest[7:19])]
                assert own == ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"]
            assert lines[-2].startswith("Digest: sha256:")
            assert lines[-1] == f"Status: Downloaded newer image for {name}:1"
            assert registry.manifests[lines[-2].removeprefix("Digest: ")]
            again = statuses(await docker.ask("POST", target, headers=auth()))
            assert again == [lines[0], lines[-2], f"Status: Image is up to date for {name}:1"]
            registry.add_image("1", layer_of("one"), layer_of("three"))
            changed = statuses(await docker.ask("POST", target))
            assert f"{digests[0][7:19]}: Already exists" in changed
            assert changed[-1] == lines[-1]


async def test_all_tags_and_a_digest_are_pulled(served: Served) -> None:
    async with served() as docker:
        with Fake() as registry:
            digest = registry.add_image("1", layer_of("one"))
            registry.add_image("2", layer_of("two"))
            got = statuses(await docker.ask("POST", f"/images/create?fromImage={registry.host}/x"))
            assert [line for line in got if "Pulling from" in line] == [
                "1: Pulling from x",
                "2: Pulling from x",
            ]
            assert got[-1] == f"Status: Downloaded newer image for {registry.host}/x"
            target = f"/images/create?fromImage={registry.host}/x&tag={digest}"
            got = statuses(await docker.ask("POST", target))
            assert got[-2:] == [
                f"Digest: {digest}",
                f"Status: Image is up to date for {registry.host}/x@{digest}",
            ]
            names = [image["RepoTags"][0] for image in (await docker.ask("GET", "/images/json")).json]
            assert {f"{registry.host}/x:1", f"{registry.host}/x:2"} < set(names)


async def test_a_pull_that_fails(served: Served) -> None:
    async with served() as docker:
        with Fake() as registry:
            target = f"/images/create?fromImage={registry.host}/x&tag=1"
            missing = await docker.ask("POST", target)
            assert missing.status == 404
            assert f"manifest for {registry.host}/x:1 not found" in missing.message
            registry.add_image("1", layer_of("one"))
            registry.blobs[registry.layers("1")[0]] = b"something else"
            broken = await docker.ask("POST", target)
            assert broken.status == 200
            last = messages(broken)[-1]
            assert last["error"] == last["errorDetail"]["message"] != ""
            registry.authorize = Fake.basic("me", "secret")
            assert (await docker.ask("POST", target)).status == 401
            wrong = await docker.ask("POST", target, headers=auth(username="me", password="no"))
            assert wrong.status == 401
        for header in ("!", "bm8=", "W10="):  # no base64, no JSON, no object
            garbage = await docker.ask(
                "POST", "/images/create?fromImage=x", headers={"X-Registry-Auth": header}
            )
            assert (garbage.status, "X-Registry-Auth" in garbage.message) == (400, True)
        assert (await docker.ask("POST", "/images/create")).status == 400


async def test_who_pulls(served: Served) -> None:
    async with served() as docker:
        with Fake() as registry:
            registry.add_image("1", layer_of("one"))
            registry.authorize = Fake.basic("me", "s>?secret")
            for padding in ("=", ""):
                headers = auth(username="me", password="s>?secret", serveraddress=registry.host)
                headers = {name: value.rstrip("=") + padding for name, value in headers.items()}
                target = f"/images/create?fromImage={registry.host}/x&tag=1"
                got = await docker.ask("POST", target, headers=headers)
                assert statuses(got)[-1].startswith("Status: ")


async def test_steps_that_nobody_told_of_are_said() -> None:
    board: Board[dict[str, Any]] = Board()
    tell = Pulled(Said(board), known=False)
    for status, current in (("waiting", 0), ("downloading", 5), ("downloading", 9), ("done", 10)):
        tell(LayerProgress("sha256:" + "a" * 64, status, current, 10))
    said = board.take_now()
    assert [message["status"] for message in said] == [
        *("Pulling fs layer", "Downloading"),
        *("Verifying Checksum", "Download complete", "Pull complete"),
    ]
    assert said[1]["progressDetail"] == {"current": 9, "total": 10}  # of two that nobody has read, the newer
    assert {message["id"] for message in said} == {"a" * 12}


async def test_nothing_piles_up_between_two_images() -> None:
    board: Board[dict[str, Any]] = Board()
    said = Said(board)
    await said.heard()
    said.status("Pulling")
    waiting = asyncio.create_task(said.heard())
    await asyncio.sleep(0)
    assert not waiting.done()
    board.take_now()
    await waiting


def test_how_far_it_is() -> None:
    assert bar(0, 0) == "      0B"
    assert bar(211, 211) == "[" + "=" * 50 + ">]     211B/211B"
    assert bar(1_500_000, 3_000_000) == "[" + "=" * 25 + ">" + " " * 25 + "]    1.5MB/3MB"


# Push


async def test_what_cannot_be_pushed_is_said_in_the_stream(served: Served) -> None:
    async with served() as docker:
        nothing = await docker.ask("POST", "/images/127.0.0.1:9/x/push?tag=1", b"{}\n")
        assert nothing.status == 200
        said = messages(nothing)
        assert said[0]["status"] == "The push refers to repository [127.0.0.1:9/x]"
        assert said[-1]["error"] == "An image does not exist locally with the tag: 127.0.0.1:9/x"
        await docker.ask("POST", f"/images/{IMAGE}/tag?repo=127.0.0.1:9/x&tag=1")
        other = messages(await docker.ask("POST", "/images/127.0.0.1:9/x/push?tag=2"))
        assert other[-1]["error"] == "tag does not exist: 127.0.0.1:9/x:2"
        target = f"/images/127.0.0.1:9/x/push?tag=1&{OTHER}"
        platform = messages(await docker.ask("POST", target))
        assert "not for linux/s390x" in platform[-1]["error"]
        unreachable = messages(await docker.ask("POST", "/images/127.0.0.1:9/x/push?tag=1"))
        assert "cannot connect" in unreachable[-1]["errorDetail"]["message"]


# Archives


async def test_saved_and_loaded(served: Served) -> None:
    async with served() as docker:
        await docker.ask("POST", f"/images/{IMAGE}/tag?repo=other&tag=2")
        archive = await docker.ask("GET", f"/images/get?names={IMAGE}&names=other:2")
        assert (archive.status, archive.headers["content-type"]) == (200, "application/x-tar")
        assert (await docker.ask("GET", f"/images/{IMAGE}/get")).body != archive.body
        identifier = (await docker.ask("GET", f"/images/{IMAGE}/json")).json["Id"]
        await docker.ask("DELETE", f"/images/{identifier}?force=1")
        loaded = await docker.ask("POST", "/images/load?quiet=1", archive.body)
        assert [message["stream"] for message in messages(loaded)] == [
            f"Loaded image: {IMAGE}\n",
            "Loaded image: other:2\n",
        ]
        assert (await docker.ask("GET", "/images/other:2/json")).json["Id"] == identifier
        loud = messages(await docker.ask("POST", "/images/load?quiet=0", archive.body))
        assert loud[0]["status"] == "Loading layer"
        assert ("save", identifier) in await the_events(docker)
        bad = await docker.ask("POST", "/images/load", b"no archive")
        assert (bad.status, "archive" in bad.message) == (500, True)
        assert (await docker.ask("GET", "/images/get")).status == 400


async def test_import(served: Served) -> None:
    async with served() as docker:
        query = "fromSrc=-&repo=mine&tag=1&message=hello&changes=CMD%20%5B%22x%22%5D%0AUSER%20me&changes=ENV%20A%3Db"
        made = await docker.ask("POST", f"/images/create?{query}&platform=linux/arm64", layer_of("root"))
        (message,) = messages(made)
        image = (await docker.ask("GET", "/v1.51/images/mine:1/json")).json
        assert (message, image["Comment"]) == ({"status": image["Id"]}, "hello")
        assert (image["Config"]["Cmd"], image["Config"]["Env"]) == (["x"], ["A=b"])
        assert (image["Architecture"], image["Config"]["User"]) == ("arm64", "me")
        nameless = await docker.ask("POST", "/images/create?fromSrc=-", layer_of("root"))
        assert messages(nameless)[0]["status"].startswith("sha256:")
        address = await docker.ask("POST", "/images/create?fromSrc=http://x/y.tar")
        assert address.status == 400
        wrong = await docker.ask("POST", "/images/create?fromSrc=-", b"no tar")
        assert wrong.status == 500
