"""The store: what is shared, verified, cached, removed, and what a failure leaves (nothing)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import pytest

import layer_tar as lt
from hypercontainer.errors import (
    DigestMismatch,
    ImageError,
    InvalidArgument,
    LayerError,
    NotFound,
    NotSupported,
    Unavailable,
)
from hypercontainer.rootfs import LayerStore, RootReader, chain_id

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LAYER = lt.tar(lt.directory(b"./"), lt.directory(b"d"), lt.entry(b"d/f", data=b"data" * 3000))
UPPER = lt.tar(lt.entry(b"d/g", data=b"more"))
DIFF_ID, UPPER_ID = lt.digest(LAYER), lt.digest(UPPER)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path: Path) -> LayerStore:
    return LayerStore(tmp_path)


COMPRESSED = {
    "none": LAYER,
    "gzip": gzip.compress(LAYER),
    "zstd": zstd.compress(LAYER),
    "xz": lzma.compress(LAYER),
    "bzip2": bz2.compress(LAYER),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("compression", COMPRESSED)
def test_compressions_by_name_and_by_their_first_bytes(
    store: LayerStore, compression: str, named: bool
) -> None:
    source = io.BytesIO(COMPRESSED[compression])
    image = store.convert(source, diff_id=DIFF_ID, compression=compression if named else "auto")
    assert image.tar_bytes == len(LAYER)
    assert lt.files(store.root_disk([DIFF_ID]))[b"/d/f"] == b"data" * 3000


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_members_that_follow_one_another_are_one_stream(store: LayerStore, compress: object) -> None:
    assert callable(compress)
    pieces = b"".join(compress(LAYER[at : at + 5000]) for at in range(0, len(LAYER), 5000))
    store.convert(io.BytesIO(pieces), diff_id=DIFF_ID)
    assert store.has(DIFF_ID)


def test_a_path_is_a_source_and_progress_counts_its_bytes(store: LayerStore, tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_bytes(COMPRESSED["gzip"])
    seen: list[int] = []
    store.convert(source, diff_id=DIFF_ID, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(COMPRESSED["gzip"])


def test_an_unknown_compression_is_said_to_be(store: LayerStore) -> None:
    with pytest.raises(NotSupported, match="lz4"):
        store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID, compression="lz4")


def test_equal_layers_give_equal_images(tmp_path: Path) -> None:
    images = []
    for name in ("a", "b"):
        store = LayerStore(tmp_path / name)
        images.append(store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID).path.read_bytes())
    assert images[0] == images[1]


def test_a_layer_is_made_once(store: LayerStore, tmp_path: Path) -> None:
    assert not store.has(DIFF_ID)
    first = store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID)
    second = store.convert(cast(BinaryIO, None), diff_id=DIFF_ID)  # would fail if it were read
    assert (first.path, first.size_bytes) == (second.path, second.size_bytes)
    assert first.size_bytes % 4096 == 0
    assert 0 < store.size_bytes(DIFF_ID) <= first.size_bytes
    assert everything(tmp_path) == [f"layers/sha256-{DIFF_ID[7:]}.erofs"]


def test_two_at_once_share_the_work(store: LayerStore) -> None:
    reading, go_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reading.set()
            assert go_on.wait(20)
            return super().read(size)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.convert, Slow(LAYER), diff_id=DIFF_ID)
        assert reading.wait(20)
        second = pool.submit(store.convert, cast(BinaryIO, None), diff_id=DIFF_ID)
        go_on.set()
        assert first.result(20).tar_bytes == len(LAYER)
        assert second.result(20).tar_bytes == 0


def test_after_a_failure_the_waiting_one_does_the_work(store: LayerStore) -> None:
    reading, go_on = threading.Event(), threading.Event()

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reading.set()
            assert go_on.wait(20)
            raise ConnectionResetError("the registry went away")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.convert, Failing(), diff_id=DIFF_ID)
        assert reading.wait(20)
        second = pool.submit(store.convert, io.BytesIO(LAYER), diff_id=DIFF_ID)
        go_on.set()
        with pytest.raises(ConnectionResetError):
            first.result(20)
        assert second.result(20).tar_bytes == len(LAYER)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (LAYER + b"more", DigestMismatch),
        (LAYER[:700], LayerError),
        (COMPRESSED["gzip"][:-20], LayerError),
        (COMPRESSED["gzip"][:-8] + bytes(8), LayerError),
        (COMPRESSED["zstd"][:-5], LayerError),
        (COMPRESSED["xz"][:-30], LayerError),
        (COMPRESSED["bzip2"][:-9], LayerError),
        (COMPRESSED["bzip2"][:20] + bytes(200), LayerError),
    ],
)
def test_a_failure_leaves_nothing_and_names_the_layer(
    store: LayerStore, tmp_path: Path, data: bytes, error: type[Exception]
) -> None:
    before = threading.active_count()  # other tests' things may have some
    with pytest.raises(error, match="sha256:5a5a"):
        store.convert(io.BytesIO(data), diff_id=DIFF_ID, layer="sha256:5a5a")
    assert everything(tmp_path) == []
    assert not store.has(DIFF_ID)
    assert threading.active_count() == before


def test_cancellation(store: LayerStore, tmp_path: Path) -> None:
    with pytest.raises(CancelledError):
        store.convert(io.BytesIO(LAYER * 500), diff_id=DIFF_ID, cancelled=lambda: True)
    assert everything(tmp_path) == []


def test_a_full_disk_is_unavailable_and_leaves_nothing(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Unavailable, match="No space left"):
        store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID)
    assert everything(tmp_path) == []


def test_what_a_killed_maker_left_is_started_over(store: LayerStore, tmp_path: Path) -> None:
    part = tmp_path / "layers" / f".sha256-{DIFF_ID[7:]}.erofs.part"
    part.write_bytes(b"half" * 100_000)
    image = store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID)
    assert image.size_bytes == image.path.stat().st_size
    assert lt.files(store.root_disk([DIFF_ID]))[b"/d/f"] == b"data" * 3000
    assert not part.exists()


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:../../etc/passwd", "sha512:" + "a" * 64, "sha256:" + "A" * 64]
)
def test_digests_are_checked_before_they_become_paths(store: LayerStore, digest: str) -> None:
    with pytest.raises(InvalidArgument):
        store.has(digest)


def test_root_disks_are_made_once(store: LayerStore, tmp_path: Path) -> None:
    for layer in (LAYER, UPPER):
        store.convert(io.BytesIO(layer), diff_id=lt.digest(layer))
    alone = store.root_disk([DIFF_ID])
    assert [extent.path.parent.name for extent in alone.extents] == ["layers"]
    assert alone.chain_id == DIFF_ID
    both = store.root_disk([DIFF_ID, UPPER_ID])
    assert [extent.path.parent.name for extent in both.extents] == ["images", "layers", "layers"]
    assert all(extent.size_bytes == extent.path.stat().st_size for extent in both.extents)
    made = both.extents[0].path.stat()
    assert store.root_disk([DIFF_ID, UPPER_ID]) == both
    assert both.extents[0].path.stat() == made
    assert both.extents[0].size_bytes == 8192, "metadata only"


def test_a_missing_layer_is_not_found(store: LayerStore) -> None:
    with pytest.raises(NotFound, match=DIFF_ID):
        store.root_disk([DIFF_ID])
    assert store.size_bytes(DIFF_ID) == 0


def test_chain_ids_are_those_of_the_specification() -> None:
    a, b, c = ("sha256:" + letter * 64 for letter in "abc")
    assert chain_id([a]) == a
    assert chain_id([a, b]) == lt.digest(f"{a} {b}".encode())
    assert chain_id([a, b, c]) == lt.digest(f"{chain_id([a, b])} {c}".encode())


def test_prune_keeps_what_is_needed_and_what_is_being_made(store: LayerStore, tmp_path: Path) -> None:
    other = lt.tar(lt.entry(b"other", data=os.urandom(50_000)))
    for layer in (LAYER, UPPER, other):
        store.convert(io.BytesIO(layer), diff_id=lt.digest(layer))
    kept = store.root_disk([DIFF_ID, UPPER_ID])
    dropped = store.root_disk([DIFF_ID, lt.digest(other)])
    abandoned = tmp_path / "layers" / ".sha256-abandoned.erofs.part"
    abandoned.write_bytes(bytes(4096))
    third = lt.tar(lt.entry(b"third"))
    freed: list[int] = []

    class Pruning(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if not freed:
                freed.append(store.prune([(DIFF_ID, UPPER_ID), (lt.digest(third),)]))
            return super().read(size)

    store.convert(Pruning(third), diff_id=lt.digest(third))
    assert freed[0] >= 50_000 + 4096
    assert store.has(lt.digest(third))
    assert all(extent.path.exists() for extent in kept.extents)
    assert not dropped.extents[0].path.exists()
    assert not store.has(lt.digest(other))
    assert not abandoned.exists()
    assert store.prune([]) > 0
    assert everything(tmp_path) == []


def test_images_are_private_and_read_only(store: LayerStore) -> None:
    path = store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID).path
    assert path.stat().st_mode & 0o777 == 0o400


def test_damaged_images_are_named(store: LayerStore) -> None:
    path = store.convert(io.BytesIO(LAYER), diff_id=DIFF_ID).path
    whole = path.read_bytes()
    path.chmod(0o600)
    for damage in (b"", whole[:1000], bytes(len(whole)), whole[:8192], whole[:-4096] + b"\xff" * 4096):
        path.write_bytes(damage)
        with pytest.raises(ImageError, match=f"{path.name}.*damaged"):
            lt.files(store.root_disk([DIFF_ID]))


def test_looking_up_follows_nothing(store: LayerStore) -> None:
    layer = lt.tar(
        lt.directory(b"./"),
        lt.directory(b"d"),
        lt.entry(b"d/f", data=b"abcdef"),
        lt.entry(b"l", lt.SYMLINK, target=b"d"),
    )
    store.convert(io.BytesIO(layer), diff_id=lt.digest(layer))
    with RootReader(store.root_disk([lt.digest(layer)]).extents) as reader:
        file = reader.lookup(b"/d/./f")
        assert file is not None
        assert reader.read(file, 2, 3) == b"cde"
        assert reader.read(file, 5, 100) == b"f"
        assert reader.read(file, 100, 5) == b""
        assert [reader.lookup(path) for path in (b"l/f", b"d/../d/f", b"nothing", b"d/f/g")] == [None] * 4
        assert reader.lookup(b"l") is not None
        assert [name for name, _ in reader.entries(reader.root())] == [b"d", b"l"]
