"""qcow2 files: taken by their header, refused where another file would be opened."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import HyperError, InvalidArgument, NotSupported
from hypercontainer.volume.images import check
from hypercontainer.volume.qcow2 import HEADER_BYTES, qcow2_size
from hypercontainer.volume.sizes import MAX_BYTES

MIB = 1 << 20


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def head(**changes: int) -> bytes:
    """A version 3 header that is taken, with fields changed."""
    names = "magic version backing backing_size cluster_bits size crypt l1_entries l1_at refcounts refcount_clusters"
    more = "snapshots snapshots_at incompatible compatible autoclear refcount_order length"
    values = (0x514649FB, 3, 0, 0, 16, MIB, 0, 1, 0x30000, 0x10000, 1, 0, 0, 0, 0, 0, 4, 112)
    fields = dict(zip(f"{names} {more}".split(), values, strict=True))
    assert changes.keys() <= fields.keys()
    return struct.pack(">IIQIIQIIQQIIQQQQII", *(fields | changes).values())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ("compat=0.10", MIB),
        ("compat=1.1", 10 << 30),
        ("compat=1.1,lazy_refcounts=on", 3 * 512),
        ("cluster_size=512", 5 * MIB),
        ("cluster_size=2M", 1 << 40),
        ("compression_type=zstd", MIB),
        ("extended_l2=on,cluster_size=128k", MIB),
        ("refcount_bits=1", MIB),
        ("preallocation=metadata", 8 * MIB),
    ],
)
def test_what_qemu_img_makes_is_taken(tmp_path: Path, options: str, size: int) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, size)
    taken = check(str(path), "qcow2", write=True)
    assert (taken.path, taken.format, taken.size_bytes) == (path, "qcow2", size)
    assert taken.file_bytes == path.stat().st_size


def test_a_file_that_names_another_is_refused(tmp_path: Path) -> None:
    base, path = tmp_path / "base", tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "raw", base, MIB)
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path)
    with pytest.raises(NotSupported, match="backing file"):
        check(str(path), "qcow2", write=False)
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={base}", path, MIB)
    with pytest.raises(NotSupported, match="another file"):
        check(str(path), "qcow2", write=False)


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    # Not LUKS's, which measures first how long it takes over a key, and fails at that on a machine at work.
    secret = ("--object", "secret,id=s,data=word", "-o", "encrypt.format=aes,encrypt.key-secret=s")
    qemu_img("create", "-q", "-f", "qcow2", *secret, path, MIB)
    with pytest.raises(NotSupported, match="encrypted"):
        check(str(path), "qcow2", write=False)


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"magic": 1}, InvalidArgument, "not a qcow2"),
        ({"version": 1}, NotSupported, "version 1"),
        ({"version": 4}, NotSupported, "version 4"),
        ({"backing": 112}, NotSupported, "backing"),
        ({"crypt": 1}, NotSupported, "encrypted"),
        ({"crypt": 2}, NotSupported, "encrypted"),
        ({"incompatible": 2}, InvalidArgument, "corrupt"),
        ({"incompatible": 4}, NotSupported, "another file"),
        ({"incompatible": 1 << 5}, NotSupported, "0x20"),
        ({"incompatible": 1 << 63}, NotSupported, "0x8000000000000000"),
        ({"cluster_bits": 8}, InvalidArgument, "clusters"),
        ({"cluster_bits": 22}, InvalidArgument, "clusters"),
        ({"cluster_bits": 0xFFFFFFFF}, InvalidArgument, "clusters"),
        ({"size": 0}, InvalidArgument, "0 bytes"),
        ({"size": 513}, InvalidArgument, "513 bytes"),
        ({"size": MAX_BYTES + 512}, InvalidArgument, "bytes"),
        ({"l1_entries": 0xFFFFFFFF}, InvalidArgument, "table"),
        ({"l1_at": 1}, InvalidArgument, "table"),
        ({"snapshots": 65_537}, InvalidArgument, "snapshots"),
        ({"refcount_order": 7}, InvalidArgument, "refcount"),
        ({"length": 0}, InvalidArgument, "header"),
        ({"length": 1 << 31}, InvalidArgument, "header"),
    ],
)
def test_headers_that_are_refused(changes: dict[str, int], kind: type[HyperError], word: str) -> None:
    assert qcow2_size("d", head(), MIB) == MIB
    with pytest.raises(kind, match=word):
        qcow2_size("d", head(**changes), MIB)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises((InvalidArgument, NotSupported)):
        qcow2_size("d", data, len(data))


@given(st.data())
def test_a_changed_header_is_refused_or_has_a_sane_size(data: st.DataObject) -> None:
    changed = bytearray(head())
    for at in data.draw(st.lists(st.integers(4, HEADER_BYTES - 1), max_size=4)):
        changed[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, HEADER_BYTES))
    try:
        size = qcow2_size("d", bytes(changed[:cut]), MIB)
    except (InvalidArgument, NotSupported):
        return
    assert 0 < size <= MAX_BYTES
    assert size % 512 == 0
    assert changed[8:16] == bytes(8)  # no backing file
