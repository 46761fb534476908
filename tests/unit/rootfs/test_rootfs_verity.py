"""Disks that their guest checks: dm-verity's tree as `veritysetup` has it, and what is noticed of files that change."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

import layer_tar as lt
from hypercontainer.errors import NotFound
from hypercontainer.rootfs import LayerStore, RootDisk, chain_id, hashes, verity

BASE = lt.tar(lt.directory(b"./"), lt.directory(b"d"), lt.entry(b"d/f", data=os.urandom(700_000)))
UPPER = lt.tar(lt.entry(b"d/g", data=b"more"), lt.entry(b".wh.gone"))
BASE_ID, UPPER_ID = lt.digest(BASE), lt.digest(UPPER)
DIFF_IDS = (BASE_ID, UPPER_ID)


def converted(folder: Path, *, hashed: bool = True) -> LayerStore:
    store = LayerStore(folder, verity=hashed)
    for tar, diff_id in ((BASE, BASE_ID), (UPPER, UPPER_ID)):
        store.convert(io.BytesIO(tar), diff_id=diff_id)
    return store


def checked(store: LayerStore) -> hashes.Verity:
    found = store.root_disk(DIFF_IDS).verity
    assert found is not None
    return found


def layer(folder: Path, diff_id: str, suffix: str = "erofs") -> Path:
    return folder / "layers" / f"{diff_id.replace(':', '-')}.{suffix}"


def chain(folder: Path, suffix: str) -> Path:
    return folder / "images" / f"{chain_id(DIFF_IDS).replace(':', '-')}.{suffix}"


def change(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def veritysetup(verb: str, data: Path, tree: Path, *more: str) -> str:
    words = ["veritysetup", verb, "--no-superblock", "--salt=-", "--hash=sha256", str(data), str(tree), *more]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_the_tree_of_an_image_is_what_veritysetup_takes(tmp_path: Path) -> None:
    disk = converted(tmp_path / "store").root_disk(DIFF_IDS)
    assert disk.verity is not None and len(disk.extents) == 3
    data = tmp_path / "data"
    data.write_bytes(b"".join(extent.path.read_bytes() for extent in disk.extents))
    veritysetup("verify", data, disk.verity.tree.path, disk.verity.root_hash)
    change(data, 5 * 4096)
    with pytest.raises(subprocess.CalledProcessError):
        veritysetup("verify", data, disk.verity.tree.path, disk.verity.root_hash)


@pytest.mark.parametrize("blocks", [2, 127, 128, 129, 16384, 16385])
def test_trees_of_one_level_and_of_several(tmp_path: Path, blocks: int) -> None:
    """Most of it is a hole; the leaves come in pieces that end anywhere."""
    data, made = tmp_path / "data", bytearray(verity.tree_bytes(blocks * 4096))
    with data.open("wb") as file:
        file.truncate(blocks * 4096)
        file.seek(blocks * 4096 - 5000)
        file.write(os.urandom(3000))

    def write(at: int, piece: bytes) -> None:
        made[at : at + len(piece)] = piece

    with data.open("rb") as written:
        leaves = b"".join(verity.leaves_of(written.fileno(), 0, blocks * 4096))
    pieces = (leaves[at : at + 1000] for at in range(0, len(leaves), 1000))
    root_hash = verity.build(blocks * 4096, pieces, write)
    said = veritysetup("format", data, tmp_path / "tree")
    assert root_hash in said
    assert made == (tmp_path / "tree").read_bytes()


def test_leaves_are_made_with_a_layer_or_when_they_are_needed(tmp_path: Path) -> None:
    """Also of a sparse file's holes; a store of before has none yet."""
    made, before = converted(tmp_path / "made"), converted(tmp_path / "before", hashed=False)
    assert layer(tmp_path / "made", BASE_ID, "leaves").exists()
    assert before.root_disk(DIFF_IDS).verity is None
    assert not layer(tmp_path / "before", BASE_ID, "leaves").exists()
    later = checked(LayerStore(tmp_path / "before", verity=True))
    assert later.root_hash == checked(made).root_hash
    assert later.tree.path.read_bytes() == checked(made).tree.path.read_bytes()
    sparse = lt.tar(lt.entry(b"s", data=bytes(3 << 20) + b"x" + bytes(3 << 20)))
    image = made.convert(io.BytesIO(sparse), diff_id=lt.digest(sparse))
    expected = verity.leaves(image.path.read_bytes())
    assert layer(tmp_path / "made", lt.digest(sparse), "leaves").read_bytes() == expected


def test_a_layer_that_has_changed_is_missing_until_it_is_converted_anew(tmp_path: Path) -> None:
    store = converted(tmp_path)
    before = checked(store)
    assert store.examine(DIFF_IDS) == ""
    change(layer(tmp_path, BASE_ID), 3 * 4096 + 7)
    assert checked(store) == before, "what its guest is told is not made of the file"
    assert store.examine(DIFF_IDS) == f"layer {BASE_ID}: block 3 is not what was converted"
    assert not store.has(BASE_ID) and store.has(UPPER_ID)
    with pytest.raises(NotFound, match=BASE_ID):
        store.root_disk(DIFF_IDS)
    converted(tmp_path)
    assert checked(store) == before
    assert store.examine(DIFF_IDS) == ""


def test_a_layer_that_was_replaced_with_its_leaves(tmp_path: Path) -> None:
    store = converted(tmp_path)
    before = checked(store)
    path, leaves = layer(tmp_path, BASE_ID), layer(tmp_path, BASE_ID, "leaves")
    change(path, 3 * 4096)
    leaves.chmod(0o600)
    leaves.write_bytes(verity.leaves(path.read_bytes()))
    assert checked(store) == before
    assert "not those that it was made of" in store.examine(DIFF_IDS)
    assert not store.has(BASE_ID) and not store.has(UPPER_ID)
    converted(tmp_path)
    assert checked(store) == before


def test_a_tree_that_has_changed_is_made_anew(tmp_path: Path) -> None:
    store = converted(tmp_path)
    before, tree = checked(store), checked(store).tree.path.read_bytes()
    change(before.tree.path, 5000)
    assert store.examine(DIFF_IDS) == ""
    assert checked(store) == before
    assert before.tree.path.read_bytes() == tree


def test_a_merged_tree_that_has_changed_is_made_anew(tmp_path: Path) -> None:
    store = converted(tmp_path)
    before = checked(store)
    change(chain(tmp_path, "erofs"), 4096 + 100)
    assert store.examine(DIFF_IDS) == "the merged tree of its layers: block 1 is not what was converted"
    assert checked(store) == before
    assert store.examine(DIFF_IDS) == ""


@pytest.mark.parametrize("suffix", ["root", "tree", "leaves"])
@pytest.mark.parametrize("content", [b"", b"short", bytes(1 << 20)])
def test_files_of_hashes_that_are_none(tmp_path: Path, suffix: str, content: bytes) -> None:
    store = converted(tmp_path)
    before = checked(store)
    path = chain(tmp_path, suffix)
    path.chmod(0o600)
    path.write_bytes(content)
    chain(tmp_path, "root").unlink(missing_ok=True)
    assert checked(store) == before


def test_a_layer_that_becomes_another_has_other_trees(tmp_path: Path) -> None:
    """As by a release that lays files out in another way."""
    store = converted(tmp_path)
    before = checked(store)
    leaves = layer(tmp_path, BASE_ID, "leaves")
    change(leaves, 0)
    chain(tmp_path, "root").unlink()
    assert checked(store).root_hash != before.root_hash
    layer(tmp_path, BASE_ID).unlink()
    converted(tmp_path)
    assert checked(store) == before


def test_what_nobody_needs_goes_with_its_hashes(tmp_path: Path) -> None:
    store = converted(tmp_path)
    checked(store)
    assert store.prune([DIFF_IDS]) == 0
    assert store.prune([]) > 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_disks_that_are_too_large_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "MAX_BYTES", 1 << 19)
    disk: RootDisk = converted(tmp_path).root_disk(DIFF_IDS)
    assert disk.verity is None
    assert layer(tmp_path, BASE_ID, "leaves").stat().st_size == 0
