"""VDI files: taken by their header, refused where it is of a part of a disk."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import HyperError, InvalidArgument, NotSupported
from hypercontainer.volume.images import check
from hypercontainer.volume.sizes import MAX_BYTES
from hypercontainer.volume.vdi import HEADER_BYTES, vdi_size

MIB = 1 << 20
NONE = bytes(16)


def head(**changes: int | bytes) -> bytes:
    """One that is taken, with fields changed."""
    values: dict[str, int | bytes] = {"magic": 0xBEDA107F, "version": 0x10001, "length": 400, "kind": 1}
    values |= {"flags": 0, "map_at": 512, "data_at": 1024, "sector": 512, "size": 3 * MIB, "block": MIB}
    values |= {
        "extra": 0,
        "blocks": 3,
        "there": 0,
        "own": NONE,
        "snapshot": NONE,
        "link": NONE,
        "parent": NONE,
    }
    assert changes.keys() <= values.keys()
    return struct.pack("<64x5I256x2I12xI4xQ4I16s16s16s16s", *(values | changes).values())


@pytest.mark.parametrize(("options", "size"), [("static=off", 3 * MIB), ("static=on", MIB), ("", MIB + 512)])
def test_what_qemu_img_makes_is_taken(tmp_path: Path, options: str, size: int) -> None:
    path = tmp_path / "disk.vdi"
    more = ("-o", options) if options else ()
    subprocess.run(["qemu-img", "create", "-q", "-f", "vdi", *more, path, str(size)], check=True)
    taken = check(str(path), "vdi")
    assert (taken.path, taken.format, taken.size_bytes) == (path, "vdi", size)
    assert taken.file_bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"magic": 1}, InvalidArgument, "not a vdi"),
        ({"version": 0x10000}, NotSupported, "version 1.0"),
        ({"kind": 4}, NotSupported, "another disk"),
        ({"link": b"x" * 16}, NotSupported, "another disk"),
        ({"parent": b"x" * 16}, NotSupported, "another disk"),
        ({"sector": 4096}, NotSupported, "sectors of 4096"),
        ({"block": 2 * MIB}, NotSupported, "blocks of 2097152"),
        ({"size": 0}, InvalidArgument, "0 bytes"),
        ({"size": 513}, InvalidArgument, "513 bytes"),
        ({"size": MAX_BYTES + 512}, InvalidArgument, "bytes"),
        ({"size": 3 * MIB + 512}, InvalidArgument, "3 blocks for"),
        ({"blocks": 1 << 30}, InvalidArgument, "map of"),
        ({"map_at": 1}, InvalidArgument, "map of"),
        ({"data_at": 1}, InvalidArgument, "map of"),
        ({"map_at": 1 << 31}, InvalidArgument, "map of"),
    ],
)
def test_headers_that_are_refused(changes: dict[str, int | bytes], kind: type[HyperError], word: str) -> None:
    assert vdi_size("d", head(), MIB) == 3 * MIB
    with pytest.raises(kind, match=word):
        vdi_size("d", head(**changes), MIB)


@given(st.data())
def test_any_header_is_refused_in_words_or_has_a_sane_size(data: st.DataObject) -> None:
    changed = bytearray(head())
    for at in data.draw(st.lists(st.integers(0, HEADER_BYTES - 1), max_size=4)):
        changed[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(HEADER_BYTES - 3, HEADER_BYTES))
    try:
        size = vdi_size("d", bytes(changed[:cut]), MIB)
    except (InvalidArgument, NotSupported):
        return
    assert 0 < size <= MAX_BYTES
    assert changed[HEADER_BYTES - 32 : HEADER_BYTES] == 2 * NONE  # no other disk
