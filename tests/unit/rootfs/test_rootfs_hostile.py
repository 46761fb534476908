"""What many or damaged layers, and little room, do to the store: bounded, mended, broken off."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace

import pytest

import layer_tar as lt
from hypercontainer.errors import ImageError, LayerError, Unavailable
from hypercontainer.rootfs import LayerLimits, LayerStore
from hypercontainer.rootfs import union as union_module

LAYER = lt.tar(lt.directory(b"./"), lt.directory(b"d"), lt.entry(b"d/f", data=b"data" * 3000))
UPPER = lt.tar(lt.entry(b"d/g", data=b"more"))
DIFF_ID, UPPER_ID = lt.digest(LAYER), lt.digest(UPPER)


def converted(folder: Path, *layers: bytes, limits: LayerLimits | None = None) -> LayerStore:
    made = LayerStore(folder, limits or LayerLimits())
    for layer in layers:
        made.convert(io.BytesIO(layer), diff_id=lt.digest(layer))
    return made


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def damaged(path: Path, damage: Callable[[bytes], bytes]) -> None:
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(damage(whole))


DAMAGES = {
    "empty": lambda whole: b"",
    "short": lambda whole: whole[:-4096],
    "long": lambda whole: whole + bytes(4096),
    "zeros": lambda whole: bytes(len(whole)),
    "another's": lambda whole: whole[:1100] + bytes(36) + whole[1136:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_layer_is_named_and_bringing_it_again_mends_it(tmp_path: Path, damage: str) -> None:
    store = converted(tmp_path, LAYER, UPPER)
    whole = lt.files(store.root_disk([DIFF_ID, UPPER_ID]))
    path = store.root_disk([DIFF_ID]).extents[0].path
    damaged(path, DAMAGES[damage])
    with pytest.raises(ImageError, match=f"{path.name}.*damaged.*pull or load the image again"):
        store.root_disk([DIFF_ID, UPPER_ID])
    store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID)
    assert lt.files(store.root_disk([DIFF_ID, UPPER_ID])) == whole
    assert path.stat().st_mode & 0o777 == 0o400


def test_damage_that_is_only_seen_in_a_merge_is_mended_as_well(tmp_path: Path) -> None:
    store = converted(tmp_path, LAYER, UPPER)
    path = store.root_disk([DIFF_ID]).extents[0].path
    damaged(path, lambda whole: whole[:-4096] + b"\xff" * 4096)
    with pytest.raises(ImageError, match="pull or load the image again"):
        store.root_disk([DIFF_ID, UPPER_ID])
    store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID)
    assert lt.files(store.root_disk([DIFF_ID, UPPER_ID]))[b"/d/g"] == b"more"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_tree_of_an_image_is_made_anew(tmp_path: Path, damage: str) -> None:
    store = converted(tmp_path, LAYER, UPPER)
    disk = store.root_disk([DIFF_ID, UPPER_ID])
    whole = lt.files(disk)
    damaged(disk.extents[0].path, DAMAGES[damage])
    assert lt.files(store.root_disk([DIFF_ID, UPPER_ID])) == whole


def test_a_layer_named_again_and_again_is_applied_once(tmp_path: Path) -> None:
    limits = LayerLimits(max_image_entries=20)
    store = converted(tmp_path, LAYER, UPPER, limits=limits)
    assert lt.files(store.root_disk([DIFF_ID] * 500 + [UPPER_ID] * 500))[b"/d/g"] == b"more"
    with pytest.raises(LayerError, match="the image has more entries than 20"):
        store.root_disk([DIFF_ID, UPPER_ID] * 10)


def test_an_images_entries_and_bytes_are_bounded_together(tmp_path: Path) -> None:
    layers = [lt.tar(*[lt.entry(b"%d-%d" % (number, index)) for index in range(40)]) for number in range(3)]
    store = converted(tmp_path, *layers, limits=LayerLimits(max_image_entries=200))
    chain = [lt.digest(layer) for layer in layers]
    store.root_disk(chain[:2])
    with pytest.raises(LayerError, match="more entries than 200"):
        store.root_disk(chain)
    size = sum((tmp_path / "layers" / f"{each.replace(':', '-')}.erofs").stat().st_size for each in chain)
    small = LayerStore(tmp_path, LayerLimits(max_image_bytes=size - 1))
    with pytest.raises(LayerError, match=f"more than {size - 1} bytes"):
        small.root_disk(chain)


def test_a_merge_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = lt.tar(*[lt.entry(b"%05d" % index) for index in range(5000)])
    store = converted(tmp_path, many, UPPER)
    before = everything(tmp_path)
    chain = [lt.digest(many), UPPER_ID]

    def written(*_: object) -> None:
        raise AssertionError("it went on to the end")

    with monkeypatch.context() as patched:
        patched.setattr(union_module, "write_merged", written)
        with pytest.raises(CancelledError):
            store.root_disk(chain, cancelled=lambda: True)
    turns = iter([False, False])
    with pytest.raises(CancelledError):  # and while the tree is written
        store.root_disk(chain, cancelled=lambda: next(turns, True))
    assert everything(tmp_path) == before
    assert len(lt.files(store.root_disk(chain))) == 5003


def test_zeros_take_no_room(tmp_path: Path) -> None:
    zeros, end = bytes(16 << 20), b"end" * 1000
    layer = lt.tar(lt.entry(b"zeros", data=zeros + end), lt.entry(b"both", data=end + zeros + end))
    store = converted(tmp_path, layer)
    assert store.size_bytes(lt.digest(layer)) < 1 << 20
    found = lt.files(store.root_disk([lt.digest(layer)]))
    assert found[b"/zeros"] == zeros + end
    assert found[b"/both"] == end + zeros + end


def test_some_room_is_left_for_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fstatvfs

    def little(fd: int) -> object:
        found = real(fd)
        return SimpleNamespace(f_bavail=1000, f_frsize=4096, f_blocks=found.f_blocks)

    monkeypatch.setattr(os, "fstatvfs", little)
    store = LayerStore(tmp_path)
    with pytest.raises(Unavailable, match="MiB are left, which are kept free") as caught:
        store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID)
    assert [remedy.call for remedy in caught.value.remedies] == ["system.prune"]
    assert everything(tmp_path) == []
