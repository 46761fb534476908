from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Unavailable
from hypercontainer.image.importing import Making
from hypercontainer.image.model import Image, PruneReport, RegistriesConfig, Removed
from hypercontainer.image.store import ImageStore


@pytest.fixture
def add(store: ImageStore, made: Any) -> Any:
    def add(content: bytes, *tags: str, **run: Any) -> Image:
        (image,) = store.load(io.BytesIO(made.docker_archive([content], list(tags), **run)))
        return image

    return add


def pruned(report: PruneReport) -> list[str]:
    return [line for gone in report.removed for line in lines(list(gone))]


def lines(removed: list[Removed]) -> list[str]:
    return [f"-{line.untagged}" if line.untagged else f"x{line.deleted}" for line in removed]


def test_every_name_leads_to_the_image(store: ImageStore, add: Any) -> None:
    image = add(b"a", "app:1", "localhost/x")
    for name in (
        "app:1",
        "docker.io/library/app:1",
        "localhost/x",
        image.id,
        image.id[7:],
        image.short_id,
        image.id[:15],
    ):
        assert store.get(name).id == image.id, name
    for name in ("app", "app:2", "sha256:" + "0" * 64, "fffffffff0", "nothing/like/this"):
        with pytest.raises(NotFound):
            store.get(name)
    with pytest.raises(InvalidArgument):
        store.get("BAD NAME")


def test_a_tag_that_looks_like_an_id_wins_over_the_id(store: ImageStore, add: Any) -> None:
    first = add(b"a", "app:1")
    second = add(b"b", f"{first.id[7:11]}:latest")
    assert store.get(first.id[7:11]).id == second.id
    assert store.get(first.id[7:15]).id == first.id


def test_ambiguous_beginnings_are_refused(store: ImageStore, add: Any) -> None:
    images = [add(str(number).encode(), f"app:{number}") for number in range(17)]
    heads = [image.id[7] for image in images]
    twice = next(head for head in heads if heads.count(head) > 1)
    with pytest.raises(Conflict, match="beginning of several"):
        store.get(twice)
    with pytest.raises(Conflict):
        store.remove(twice, force=True)
    assert len(store.list()) == 17


def test_retagging_leaves_the_old_image_dangling_and_prune_takes_it(store: ImageStore, add: Any) -> None:
    old = add(b"old", "app:1")
    new = add(b"new", "app:1")
    assert store.get("app:1").id == new.id
    assert store.get(old.id).dangling
    assert [image.id for image in store.list()] == [new.id, old.id]
    report = store.prune()
    assert pruned(report) == [f"x{old.id}"]
    assert report.reclaimed_bytes == 3
    assert [image.id for image in store.list()] == [new.id]


def test_when_it_got_a_name_is_known(store: ImageStore, add: Any) -> None:
    image = add(b"a", "app:1")
    first = image.tagged
    assert first.endswith("Z")
    store.tag("app:1", "app:2")
    second = store.get("app:1").tagged
    assert second >= first
    store.remove("app:2")
    assert store.get("app:1").tagged == second
    assert add(b"a").tagged == second


def test_rmi_untags_until_the_last_name(store: ImageStore, add: Any) -> None:
    image = add(b"a", "app:1", "app:2", "other:1")
    _, blob = store.layer_blob(image, 0)
    assert lines(store.remove("app:1")) == ["-docker.io/library/app:1"]
    with pytest.raises(Conflict, match="several repositories"):
        store.remove(image.id)
    assert lines(store.remove("other:1")) == ["-docker.io/library/other:1"]
    assert blob.exists()
    assert lines(store.remove(image.short_id)) == ["-docker.io/library/app:2", f"x{image.id}"]
    assert not blob.exists()
    with pytest.raises(NotFound):
        store.remove("app:2")


def test_forced_rmi_by_id_takes_all_names(store: ImageStore, add: Any) -> None:
    image = add(b"a", "app:1", "other:1")
    removed = lines(store.remove(image.id, force=True))
    assert removed == ["-docker.io/library/app:1", "-docker.io/library/other:1", f"x{image.id}"]


def test_an_image_in_use_is_kept(store: ImageStore, add: Any) -> None:
    image = add(b"a", "app:1")
    with pytest.raises(Conflict, match="used by container web"):
        store.remove("app:1", in_use=lambda image_id: ["web"] if image_id == image.id else [])
    assert lines(store.remove("app:1", force=True, in_use=lambda _: ["web"])) == ["-docker.io/library/app:1"]
    assert store.get(image.id).dangling
    assert store.prune(in_use=lambda image_id: ["web"] if image_id == image.id else []).removed == ()
    assert pruned(store.prune(all_unused=True)) == [f"x{image.id}"]


def test_shared_layers_stay(store: ImageStore, add: Any) -> None:
    first, second = add(b"same", "a:1"), add(b"same", "b:1", Cmd=["x"])
    assert first.layers == second.layers
    store.remove("a:1")
    _, path = store.layer_blob(second, 0)
    assert path.read_bytes() == b"same"
    assert store.disk_usage().layers == 1


def test_prune_all_honours_what_matches(store: ImageStore, add: Any) -> None:
    add(b"a", "keep:1")
    add(b"b", "drop:1")
    report = store.prune(all_unused=True, matches=lambda image: "drop" in image.references[0])
    assert pruned(report)[0] == "-docker.io/library/drop:1"
    assert len(store.list()) == 1


def test_nothing_is_deleted_under_an_operation(store: ImageStore, add: Any, made: Any) -> None:
    image = add(b"a", "app:1")
    _, blob = store.layer_blob(image, 0)
    seen = []

    def prepare(_layer: Any, _path: Path) -> None:
        store.remove("app:1")
        seen.append(blob.exists())

    store.load(io.BytesIO(made.docker_archive([b"b"], ["other:1"])), prepare=prepare)
    assert seen == [True]
    assert not blob.exists()


def test_a_second_store_on_the_same_folder_sees_everything(
    store: ImageStore, add: Any, tmp_path: Path
) -> None:
    other = ImageStore(tmp_path / "store")
    image = add(b"a", "app:1")
    assert other.get("app:1") == image
    other.tag("app:1", "app:2")
    assert store.get("app:2").references == ("docker.io/library/app:1", "docker.io/library/app:2")
    other.close()


def test_parts_of_killed_work_go_at_the_next_start_and_whole_blobs_when_one_asks_for_it(
    store: ImageStore, add: Any, tmp_path: Path
) -> None:
    image = add(b"a", "app:1")
    root = tmp_path / "store"
    (root / "staging" / "tmpx").mkdir()
    (root / "staging" / "tmpx" / "1").write_bytes(b"half")
    stale, fresh = root / "blobs" / "sha256" / ("0" * 64), root / "partial" / ("sha256-" + "1" * 64)
    stale.write_bytes(b"nobody's")
    fresh.write_bytes(b"resumable")
    os.utime(stale, (0, 0))
    other = ImageStore(root)
    assert not (root / "staging" / "tmpx").exists()
    assert fresh.exists()
    assert stale.exists()  # a lost record of images must not cost their layers
    assert other.layer_blob(image, 0)[1].exists()
    assert other.disk_usage().reclaimable_bytes == len(b"resumable" + b"nobody's")
    other.prune()
    assert not fresh.exists()
    assert not stale.exists()
    other.close()


def test_a_damaged_blob_is_noticed(store: ImageStore, add: Any) -> None:
    image = add(b"abc", "app:1")
    _, path = store.layer_blob(image, 0)
    path.write_bytes(b"a")
    with pytest.raises(NotFound, match="is not in the image store"):
        store.layer_blob(image, 0)
    with pytest.raises(NotFound):
        store.save(["app:1"], io.BytesIO())


def test_a_store_of_a_newer_version_and_a_broken_one_are_refused(tmp_path: Path) -> None:
    import sqlite3

    ImageStore(tmp_path / "s").close()
    db = sqlite3.connect(tmp_path / "s" / "images.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Unavailable, match="newer version"):
        ImageStore(tmp_path / "s")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "images.db").write_bytes(b"not a database" * 100)
    with pytest.raises(Unavailable, match="image store"):
        ImageStore(tmp_path / "b")


def test_the_store_is_for_its_owner_alone(store: ImageStore, tmp_path: Path, add: Any) -> None:
    image = add(b"a", "app:1")
    for path in [tmp_path / "store", tmp_path / "store" / "blobs", store.layer_blob(image, 0)[1]]:
        assert path.stat().st_mode & 0o077 == 0


def test_threads_use_one_store(store: ImageStore, made: Any) -> None:
    archives = [made.docker_archive([b"%d" % n], [f"app:{n}"]) for n in range(8)]
    threads = [threading.Thread(target=lambda a=a: store.load(io.BytesIO(a))) for a in archives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list()) == 8


def test_bad_arguments(store: ImageStore, add: Any) -> None:
    add(b"a", "app:1")
    for call in (
        lambda: store.save(["app:1"], io.BytesIO(), format="zip"),
        lambda: store.save([], io.BytesIO()),
        lambda: store.tag("app:1", "x@sha256:" + "0" * 64),
        lambda: store.push("x@sha256:" + "0" * 64),
        lambda: store.import_(io.BytesIO(), reference="x", making=Making(["RUN x"])),
    ):
        with pytest.raises(InvalidArgument):
            call()
    with pytest.raises(NotFound):
        store.push("nothing:1")


def test_history_is_newest_first_with_sizes_of_layers_that_are_not_empty(
    store: ImageStore, made: Any
) -> None:
    import json

    document = json.loads(made.config([b"aa", b"b"]))
    document["history"] = [
        {"created_by": "ADD", "created": "2024-01-01T00:00:00Z"},
        {"created_by": "CMD", "empty_layer": True},
        {"created_by": "RUN", "created": "yesterday", "comment": "c"},
    ]
    manifest = json.dumps([{"Config": "c", "RepoTags": ["x"], "Layers": ["0", "1"]}]).encode()
    store.load(
        io.BytesIO(
            made.tar({"0": b"aa", "1": b"b", "c": json.dumps(document).encode(), "manifest.json": manifest})
        )
    )
    steps = store.history("x", {made.digest(b"aa"): 2, made.digest(b"b"): 1}.__getitem__)
    assert [(s.created_by, s.size_bytes, s.created) for s in steps] == [
        ("RUN", 1, ""),
        ("CMD", 0, ""),
        ("ADD", 2, "2024-01-01T00:00:00Z"),
    ]
    assert steps[0].references == ("docker.io/library/x:latest",)
    assert [s.image for s in steps[1:]] == ["", ""]


def test_the_default_configuration_reads_the_environment() -> None:
    assert RegistriesConfig().environ is os.environ
