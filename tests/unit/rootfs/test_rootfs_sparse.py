"""Sparse files, in all four forms that tar has for them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import layer_tar as lt
from hypercontainer.rootfs import RootReader
from hypercontainer.rootfs.tree import HOLE, Data

MIB = 1 << 20


def old_gnu(name: bytes, segments: list[tuple[int, bytes]], size: int) -> bytes:
    pairs = [lt.octal(offset, 12) + lt.octal(len(data), 12) for offset, data in segments]
    data = b"".join(data for _, data in segments)
    rest = bytes(41) + b"".join(pairs[:4]).ljust(96, b"\0") + bytes([len(pairs) > 4]) + lt.octal(size, 12)
    blocks, pairs = lt.header(name, b"S", size=len(data), magic=lt.GNU, rest=rest), pairs[4:]
    while pairs:
        blocks += (b"".join(pairs[:21]).ljust(504, b"\0") + bytes([len(pairs) > 21])).ljust(512, b"\0")
        pairs = pairs[21:]
    return blocks + lt.padded(data)


def pax_form(form: str, name: bytes, segments: list[tuple[int, bytes]], size: int) -> bytes:
    data = b"".join(data for _, data in segments)
    numbers = [number for offset, piece in segments or [(size, b"")] for number in (offset, len(piece))]
    records = [(b"GNU.sparse.name", name), (b"GNU.sparse.realsize", b"%d" % size)]
    if form == "0.0":
        records += [
            (b"GNU.sparse.numbytes" if index % 2 else b"GNU.sparse.offset", b"%d" % number)
            for index, number in enumerate(numbers)
        ]
    elif form == "0.1":
        records.append((b"GNU.sparse.map", b",".join(b"%d" % number for number in numbers)))
    else:
        records += [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")]
        data = lt.padded(b"".join(b"%d\n" % number for number in (len(numbers) // 2, *numbers))) + data
    return lt.extended(records) + lt.header(b"GNUSparseFile.0/f", size=len(data)) + lt.padded(data)


SEGMENTS = [(0, b"start"), (4096, b"b" * 4096), (3 * MIB + 100, b"c" * 9000), (5 * MIB - 4, b"tail")]
MANY = [(index * 70_000, b"%05d" % index) for index in range(60)]
SHAPES = {
    "some": (SEGMENTS, 5 * MIB),
    "many": (MANY, 60 * 70_000),
    "hole at the end": ([(4096, b"x")], 9 * MIB + 1),
    "no data": ([], 8 * MIB),
    "nothing": ([], 0),
    "an empty last segment": ([(10, b"x"), (MIB, b"")], MIB),
    "more than a chunk a block": ([(17 * MIB + 5, b"y" * 20_000), (40 * MIB, b"z")], 50 * MIB),
}


@pytest.mark.parametrize("form", ["old", "0.0", "0.1", "1.0"])
@pytest.mark.parametrize("shape", SHAPES)
def test_content(tmp_path: Path, form: str, shape: str) -> None:
    segments, size = SHAPES[shape]
    expected = bytearray(size)
    for offset, data in segments:
        expected[offset : offset + len(data)] = data
    sparse = old_gnu(b"f", segments, size) if form == "old" else pax_form(form, b"f", segments, size)
    disk = lt.root_disk(
        tmp_path, lt.tar(lt.entry(b"before", data=b"1"), sparse, lt.entry(b"after", data=b"2"))
    )
    found = lt.files(disk)
    assert found[b"/f"] == bytes(expected)
    assert (found[b"/before"], found[b"/after"]) == (b"1", b"2")


@pytest.mark.parametrize(
    "option", ["--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0", "--format=gnu"]
)
def test_what_gnu_tar_writes(tmp_path: Path, option: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "f").open("wb") as file:
        for offset in range(0, 40 * MIB, 3 * MIB):
            file.seek(offset)
            file.write(os.urandom(70_000))
        file.truncate(50 * MIB)
    form = [] if "format" in option else ["--format=posix"]
    made = subprocess.run(
        ["tar", "-C", source, *form, "-S", option, "-c", "f"], capture_output=True, check=True
    ).stdout
    assert len(made) < 5 * MIB, "tar made no sparse entry"
    assert lt.files(lt.root_disk(tmp_path / "store", made))[b"/f"] == (source / "f").read_bytes()


def test_a_terabyte_with_two_bytes(tmp_path: Path) -> None:
    size = 1 << 40
    disk = lt.root_disk(tmp_path, lt.tar(pax_form("1.0", b"lastlog", [(0, b"a"), (size - 1, b"z")], size)))
    with RootReader(disk.extents) as reader:
        inode = reader.lookup(b"lastlog")
        assert inode is not None
        assert isinstance(inode.body, Data)
        assert reader.read(inode, size - 2, 10) == b"\0z"
        assert reader.read(inode, 0, 3) == b"a\0\0"
        assert inode.body.chunks is not None
        assert sum(block != HOLE for block in inode.body.chunks) == 2
    assert sum(extent.path.stat().st_blocks * 512 for extent in disk.extents) < MIB
