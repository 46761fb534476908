"""State files that are damaged, older or gone: hyperd starts, or says what to do, and nothing is removed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.contract.volumes import NamedVolume, Volume
from hypercontainer.engine.state import KEYS, ServiceEnd, ServiceRecord
from hypercontainer.errors import Conflict, ImageError, NotFound, Unavailable
from stories import Tell, member, pod, states


async def created(w: World, name: str, **more: object) -> str:
    spec = ContainerSpec(image=IMAGE, name=name, command=("cat",), **{**w.spec_defaults, **more})  # type: ignore[arg-type]
    identifier: str = (await w.engine.containers.create(spec)).id
    return identifier


async def running(w: World, name: str) -> str:
    identifier = await created(w, name, stdin_open=True)
    await w.engine.containers.start(name)
    return identifier


def database(w: World) -> Path:
    return w.config.root / "state.db"


def copy(w: World) -> Path:
    """Of the closed state."""
    target = w.tmp / "copy.db"
    shutil.copy(database(w), target)
    return target


def put(w: World, source: Path) -> None:
    for path in w.config.root.glob("state.db-*"):
        path.unlink()
    shutil.copy(source, database(w))


def change(w: World, statement: str, *values: object) -> None:
    db = sqlite3.connect(database(w))
    with db:
        assert db.execute(statement, values).rowcount == 1
    db.close()


def disk(w: World, identifier: str) -> Path:
    return w.config.root / "containers" / identifier / "disk.img"


def aside(w: World, kind: str = "containers") -> set[str]:
    place = w.config.root / "set-aside" / kind
    return {path.name for path in place.iterdir()} if place.is_dir() else set()


async def ill(w: World) -> list[str]:
    return [
        check.detail for check in await w.engine.system.doctor() if check.name in ("set aside", "records")
    ]


# ------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("lost", ["empty", "gone", "only its header"])
def test_no_new_state_is_begun_beside_containers(tell: Tell, lost: str) -> None:
    async def story(w: World) -> None:
        identifier = await running(w, "works")
        other = (await pod(w, member("m"))).id
        await w.engine.close()
        kept = copy(w)
        database(w).unlink()
        if lost == "empty":
            database(w).touch()
        elif lost == "only its header":
            sqlite3.connect(database(w)).execute("PRAGMA journal_mode=WAL")
        for _ in range(2):  # the first try leaves nothing that the second would take for a state
            with pytest.raises(
                Unavailable, match=r"state\.db is missing or empty.*there are 1 container and 1 pod in"
            ) as told:
                await w.open()
            assert "docs/recovery.md" in (told.value.hint or "")
        assert disk(w, identifier).exists()
        assert (w.config.root / "pods" / other).exists()
        put(w, kept)
        await w.open()
        assert await states(w) == {"works": "running", "m": "created"}

    tell(story)


def test_one_begins_without_a_lost_state_by_moving_what_it_named(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/recovery.md has it."""
    monkeypatch.setattr(
        "hypercontainer.engine.directory.runs", lambda identity: True
    )  # fakes are no processes

    async def story(w: World) -> None:
        identifier = await running(w, "works")
        await w.engine.close()
        place = w.config.root / "set-aside"
        place.mkdir()
        for name in ("containers", "pods", "state.db"):
            (w.config.root / name).rename(place / name)
        await w.open()
        assert await states(w) == {}
        assert (await ill(w))[0].startswith("1 container in ")
        assert w.driver.machine(identifier[:12])
        await created(w, "more")
        await w.engine.system.prune(images=False)  # of containers that are known
        await w.engine.close()
        put(w, place / "state.db")
        await w.open()
        assert await states(w) == {"works": "running"}

    tell(story)


def test_a_new_state_is_begun_where_nothing_else_is(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.close()
        database(w).unlink()
        (w.config.root / "containers" / "half-made").mkdir()
        await w.open()
        assert await states(w) == {}

    tell(story)


def test_an_older_state_sets_newer_things_aside_and_the_right_one_brings_them_back(tell: Tell) -> None:
    async def story(w: World) -> None:
        await created(w, "old")
        await w.engine.close()
        older = copy(w)
        await w.open()
        data = Volume("data", NamedVolume("ledger", 64 << 20))
        new = await created(w, "new", volumes=(data,))
        disk(w, new).write_bytes(b"precious")
        named = (await pod(w, member("m"))).id
        await w.engine.close()
        right = w.tmp / "right.db"
        shutil.copy(database(w), right)

        put(w, older)
        await w.open()
        assert await states(w) == {"old": "created"}
        assert (aside(w), aside(w, "pods")) == ({new}, {named})
        assert [each for each in await ill(w) if "1 container and 1 pod in" in each]
        assert (await w.engine.system.info()).set_aside
        for prune in (lambda: w.engine.volumes.prune(), lambda: w.engine.system.prune(volumes=True)):
            with pytest.raises(Conflict, match="set aside"):
                await prune()
        assert await w.engine.volumes.inspect("ledger")
        await w.engine.close()

        put(w, right)
        await w.open()
        assert await states(w) == {"old": "created", "new": "created", "m": "created"}
        assert disk(w, new).read_bytes() == b"precious"
        assert aside(w) == aside(w, "pods") == set()
        assert await ill(w) == []
        await w.engine.volumes.prune()

    tell(story)


def test_a_vm_that_an_older_state_does_not_know_goes_on_and_is_taken_back(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hypercontainer.engine.directory.runs", lambda identity: True
    )  # fakes are no processes

    async def story(w: World) -> None:
        await w.engine.close()
        older = copy(w)
        await w.open()
        await running(w, "works")
        await w.engine.close()
        right = w.tmp / "right.db"
        shutil.copy(database(w), right)
        put(w, older)
        await w.open()
        assert await states(w) == {}
        assert [each for each in await ill(w) if each.startswith("VM works runs, with PID")]
        await w.engine.close()
        put(w, right)
        await w.open()
        assert await states(w) == {"works": "running"}
        await w.engine.containers.stop("works")
        assert len(w.driver.launched) == 1

    tell(story)


def test_a_vm_of_a_later_run_than_the_state_knows_is_ended(tell: Tell) -> None:
    """Else two would write to one disk."""

    async def story(w: World) -> None:
        identifier = await running(w, "works")
        await w.engine.close()
        older = copy(w)
        await w.open()
        await w.engine.containers.restart("works")
        await w.engine.close()
        put(w, older)
        await w.open()
        assert (await states(w))["works"] == "exited"
        with pytest.raises(KeyError):
            w.driver.machine(identifier[:12])

    tell(story)


def test_what_was_being_made_is_removed(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        def killed(*_: object) -> None:
            raise SystemExit

        with monkeypatch.context() as patched:
            patched.setattr(w.engine.real.state, "add", killed)
            patched.setattr("hypercontainer.engine.files.remove_tree", lambda path: None)
            with pytest.raises(SystemExit):
                await created(w, "unborn")
        assert len(list((w.config.root / "containers").iterdir())) == 1
        identifier = await created(w, "born")
        await w.engine.close()
        await w.open()
        assert [path.name for path in (w.config.root / "containers").iterdir()] == [identifier]
        assert aside(w) == set()

    tell(story)


# ------------------------------------------------------------------------------------- one record

NOT_JSON = b'{"id": "'


def without(key: str) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps({k: v for k, v in json.loads(body).items() if k != key}).encode()


def with_(**fields: object) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps({**json.loads(body), **fields}).encode()


DAMAGES = {
    "no JSON": lambda body: NOT_JSON,
    "half of a long one": lambda body: zstd.compress(body)[:40],
    "no UTF-8": lambda body: b"\xff\xfe",
    "deep": lambda body: b"[" * 100_000,
    "unknown state": with_(state="levitating"),
    "missing field": without("effective"),
    "another's": with_(id="0" * 64),
    "a path for an ID": with_(id="../../etc"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_of_a_container_costs_only_itself(tell: Tell, damage: str) -> None:
    async def story(w: World) -> None:
        await running(w, "well")
        sick = await created(w, "sick")
        disk(w, sick).write_bytes(b"precious")
        await w.engine.close()
        db = sqlite3.connect(database(w))
        (good,) = db.execute("SELECT body FROM containers WHERE name = 'sick'").fetchone()
        db.close()
        change(w, "UPDATE containers SET body = ? WHERE name = 'sick'", DAMAGES[damage](good))

        await w.open()
        assert await states(w) == {"well": "running"}
        assert aside(w) == {sick}
        assert aside(w, "records") == {f"containers-{sick}.json", f"pods-{sick}.json"}
        assert [each for each in await ill(w) if "1 container and 2 records in" in each]
        (record,) = (w.config.root / "set-aside/records").glob("containers-*")
        assert record.read_bytes() == DAMAGES[damage](good)
        await w.engine.close()

        await w.open()  # it stays as it is
        assert await states(w) == {"well": "running"}
        await w.engine.close()

        record.write_bytes(good)
        await w.open()
        assert await states(w) == {"well": "running", "sick": "created"}
        assert disk(w, sick).read_bytes() == b"precious"
        assert aside(w, "records") == aside(w) == set()

    tell(story)


@pytest.mark.parametrize("damage", [without("mac"), with_(vm={"pid": "none"}), lambda body: NOT_JSON])
def test_a_damaged_record_of_a_pod_costs_only_the_pod(tell: Tell, damage: Callable[[bytes], bytes]) -> None:
    async def story(w: World) -> None:
        await created(w, "well")
        identifier = (await pod(w, member("one"), member("two"))).id
        await w.engine.close()
        db = sqlite3.connect(database(w))
        (good,) = db.execute("SELECT body FROM pods WHERE id = ?", (identifier,)).fetchone()
        db.close()
        change(w, "UPDATE pods SET body = ? WHERE id = ?", damage(good), identifier)
        await w.open()
        assert await states(w) == {"well": "created"}
        assert len(aside(w, "records")) == 3
        taken = await created(w, "one")  # its name is free
        await w.engine.close()
        (w.config.root / "set-aside/records" / f"pods-{identifier}.json").write_bytes(good)
        await w.open()
        assert await states(w) == {"well": "created", "one": "created"}  # two cannot have one name
        await w.engine.containers.remove(taken)
        await w.engine.close()
        await w.open()
        assert await states(w) == {"well": "created", "one": "created", "two": "created"}
        assert [each.name for each in await w.engine.pods.find()] == ["p"]

    tell(story)


def test_damaged_services_and_objects_are_set_aside(tell: Tell) -> None:
    async def story(w: World) -> None:
        state = w.engine.real.state
        state.put_service(ServiceRecord(name="db", selector={}, ends=(ServiceEnd(port=5, container_port=5),)))
        state.put_object("ConfigMap", "settings/..", b'{"kind":')
        await w.engine.close()
        change(w, "UPDATE services SET body = ?", b"{}")
        await w.open()
        assert aside(w, "records") == {"services-db.json", "objects-ConfigMap-settings%2F...json"}
        assert (w.engine.real.state.services(), w.engine.real.state.objects("ConfigMap")) == ([], [])

    tell(story)


def test_a_kept_object_that_is_none_stops_no_manifest(tell: Tell) -> None:
    async def story(w: World) -> None:
        state = w.engine.real.state
        state.put_object("ConfigMap", "bad", b'{"kind": "ConfigMap", "metadata": {"name": "bad"}, "data": 5}')
        text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: good}, data: {a: b}}"
        for action in ("created", "unchanged"):
            (played,) = await w.engine.manifests.play(text, start=False)
            assert (played.name, played.action) == ("good", action)

    tell(story)


def test_every_table_has_its_records_looked_at(tell: Tell) -> None:
    async def story(w: World) -> None:
        db = sqlite3.connect(database(w))
        assert {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == set(
            KEYS
        )
        db.close()

    tell(story)


def test_a_file_that_is_no_database_says_what_to_do(tell: Tell) -> None:
    async def story(w: World) -> None:
        await created(w, "works")
        await w.engine.close()
        kept = copy(w)
        database(w).write_bytes(b"x" * 8192)
        with pytest.raises(Unavailable, match=r"state\.db.*not a database") as told:
            await w.open()
        assert "docs/recovery.md" in (told.value.hint or "")
        put(w, kept)
        await w.open()

    tell(story)


# ------------------------------------------------------------------------------------- images and volumes


def test_a_damaged_image_is_named_and_can_be_removed(tell: Tell) -> None:
    async def story(w: World) -> None:
        image = (await w.engine.images.inspect(IMAGE)).id
        await w.engine.close()
        db = sqlite3.connect(w.config.root / "images/images.db")
        with db:
            db.execute("UPDATE image SET config = ?", (NOT_JSON,))
        db.close()
        await w.open()
        assert len(await w.engine.images.find()) == 1
        assert await ill(w) == [f"the record of image {image} is damaged"]
        with pytest.raises(ImageError) as told:
            await w.engine.images.inspect(IMAGE)
        assert [each.call for each in told.value.remedies] == ["images.remove"]
        await w.engine.images.remove(IMAGE)
        await w.load()
        assert len(await w.engine.images.find()) == 1
        assert await ill(w) == []

    tell(story)


def test_layers_of_a_lost_record_of_images_are_set_aside_and_come_back(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.close()
        store = w.config.root / "images"
        right = w.tmp / "images.db"
        shutil.copy(store / "images.db", right)
        blobs = [path.name for path in (store / "blobs/sha256").iterdir()]
        (store / "images.db").write_bytes(b"")
        for _ in range(2):
            await w.open()
            assert await w.engine.images.find() == []
            assert {path.name for path in (store / "blobs.set-aside").iterdir()} == {
                f"sha256-{b}" for b in blobs
            }
            assert len((await w.engine.system.info()).set_aside) == 1
            await w.engine.close()
        for path in store.glob("images.db-*"):
            path.unlink()
        shutil.copy(right, store / "images.db")
        await w.open()
        assert [path.name for path in (store / "blobs/sha256").iterdir()] == blobs
        assert not (store / "blobs.set-aside").exists()
        await created(w, "works")

    tell(story)


def test_a_damaged_volume_is_named(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.volumes.create("ledger", size_bytes=64 << 20)
        (w.config.root / "volumes/ledger/volume.json").write_bytes(NOT_JSON)
        await w.engine.close()
        await w.open()
        assert await ill(w) == ["the record of volume ledger is damaged"]
        await w.engine.volumes.remove("ledger")
        with pytest.raises(NotFound):
            await w.engine.volumes.inspect("ledger")

    tell(story)
