"""A layer's tree from its table of contents is the one that its tar gives; hostile tables are refused."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stargz
from hypercontainer.errors import LayerError
from hypercontainer.rootfs import LayerLimits, LayerStore
from hypercontainer.rootfs.limits import Tally, refusal_named
from hypercontainer.rootfs.table import MAX_PIECE_BYTES, Table, Unfit
from hypercontainer.rootfs.tree import BLOCK_SIZE, Data, Directory, FarLink, Inode

ITEMS = [
    stargz.folder("./"),
    stargz.folder("bin", 0o755),
    stargz.Item("bin/tool", b"tool" * 3000, mode=0o4755, uid=7, gid=8),
    stargz.link("bin/link", "tool"),
    stargz.Item("bin/hard", kind=tarfile.LNKTYPE, target="bin/tool"),
    stargz.Item("far", kind=tarfile.LNKTYPE, target="below/file"),
    stargz.Item("deep/er/empty"),
    stargz.Item("noted", b"x", xattrs={"user.note": b"kept", "trusted.overlay.opaque": b"y"}),
    stargz.Item("etc/.wh.gone"),
    stargz.Item("var/.wh..wh..opq"),
    stargz.Item("pipe", kind=tarfile.FIFOTYPE),
    stargz.Item(".no.prefetch.landmark", b"\x0f"),
    stargz.Item("large", bytes(range(256)) * 100),
]
FORMATS = {"stargz": stargz.stargz, "chunked": stargz.chunked}


def table_of(made: stargz.Made, limits: LayerLimits = LayerLimits()) -> Table:  # noqa: B008 - it is frozen
    return Table(json.dumps(made.table).encode(), len(made.blob), limits)


def described(root: Inode) -> Iterator[tuple[object, ...]]:
    """All of a tree but where its data is."""
    stack = [(b"", root)]
    while stack:
        path, inode = stack.pop()
        body: object = inode.body
        if isinstance(body, Directory):
            stack += [(path + b"/" + name, child) for name, child in body.children.items()]
            body = (body.opaque, body.implicit)
        elif isinstance(body, Data):
            body = body.size
        elif isinstance(body, FarLink):
            body = body.target
        yield path, inode.mode, inode.uid, inode.gid, inode.mtime_ns, inode.xattrs, body


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_tree_is_that_of_the_tar(tmp_path: Path, fmt: str) -> None:
    made = FORMATS[fmt](ITEMS, chunk=4096)
    plain = stargz.plain([item for item in ITEMS if "landmark" not in item.name])
    store = LayerStore(tmp_path)
    diff_id = f"sha256:{hashlib.sha256(plain.tar).hexdigest()}"
    store.convert(io.BytesIO(plain.tar), diff_id=diff_id)
    path, source = store.source(diff_id)
    expected = sorted(described(source.tree(0, Tally("", 1000))), key=str)
    assert sorted(described(table_of(made).tree(0)), key=str) == expected
    assert path.exists()


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_byte_is_in_one_piece(fmt: str) -> None:
    made = FORMATS[fmt](ITEMS, chunk=5000)
    table = table_of(made)
    data = bytearray(table.data_bytes)
    for index in range(len(table.pieces)):
        piece = table.pieces[index]
        packed = made.blob[piece.start : piece.end]
        if fmt == "stargz":
            unpacked = zlib.decompressobj(31).decompress(packed)
        else:
            unpacked = stargz.unzstd(packed)
        got = unpacked[piece.skip : piece.skip + piece.size]
        assert hashlib.sha256(got).digest() == piece.digest
        data[piece.at : piece.at + piece.size] = got
        assert index in table.pieces.between(piece.at, piece.at + 1)
    tree = table.tree(5)
    assert isinstance(tree.body, Directory)
    large = tree.body.children[b"large"].body
    assert isinstance(large, Data)
    start = (large.block - 5) * BLOCK_SIZE
    assert bytes(data[start : start + large.size]) == ITEMS[-1].data


def changed(name: str, /, **fields: Any) -> bytes:
    """The table with this entry otherwise."""
    table = copy.deepcopy(stargz.stargz(ITEMS, chunk=4096).table)
    next(entry for entry in table["entries"] if entry["name"] == name).update(fields)
    return json.dumps(table).encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "cannot be read"),
        (b'{"version": 2, "entries": []}', "version 2"),
        (changed("large", chunkDigest="", digest=""), "no digest"),
        (changed("large", chunkDigest="md5:00"), "no digest"),
        (changed("large", size=1 << 40), "pieces"),
        (changed("large", chunkSize=1), "not in order"),
        (changed("large", chunkOffset=7), "not in order"),
        (changed("large", offset=1 << 50), "beyond its end"),
        (changed("large", size=-1), "cannot be read"),
        (changed("noted", size=MAX_PIECE_BYTES + 1), "at most"),
        (changed("noted", innerOffset=MAX_PIECE_BYTES + 1), "at most"),
        (changed("noted", type="socket"), "is a 'socket'"),
        (changed("noted", name="no\ufffdted"), "no UTF-8"),
        (changed("noted", xattrs={"user.a": "!"}), "no base64"),
        (changed("noted", modtime="yesterday"), "no time"),
        (changed("noted", modtime="2024-13-01T00:00:00Z"), "no time"),
    ],
)
def test_what_cannot_be_had_in_pieces_is_said(raw: bytes, said: str) -> None:
    with pytest.raises(Unfit, match=said):
        Table(raw, 1 << 20, LayerLimits())


@pytest.mark.parametrize(
    ("raw", "limits", "said"),
    [
        (changed("noted", name="../out"), LayerLimits(), "leaves the root"),
        (changed("noted", name="bin/tool/x"), LayerLimits(), "not a directory"),
        (changed("noted", uid=1 << 40), LayerLimits(), "32 bits"),
        (changed("large"), LayerLimits(max_entries=5), "more than 5 entries"),
        (changed("large"), LayerLimits(max_image_bytes=8192), "larger than 8192"),
        (changed("large"), LayerLimits(max_metadata_bytes=20), "20 bytes"),
    ],
)
def test_what_no_layer_may_have_is_refused(raw: bytes, limits: LayerLimits, said: str) -> None:
    with pytest.raises(LayerError, match=said), refusal_named("layer"):
        Table(raw, 1 << 20, limits).tree(0)


def test_a_time_with_a_fraction_and_a_zone() -> None:
    table = Table(changed("noted", modtime="2023-11-14T23:13:20.5+01:00"), 1 << 20, LayerLimits())
    tree = table.tree(0)
    assert isinstance(tree.body, Directory)
    assert tree.body.children[b"noted"].mtime_ns == 1_700_000_000_500_000_000


def test_what_its_maker_found_to_be_needed_first() -> None:
    made = stargz.stargz([ITEMS[2], stargz.Item(".prefetch.landmark", b"\x0f"), ITEMS[-1]])
    table = table_of(made)
    assert table.prefetch_end == next(
        entry["offset"] for entry in made.table["entries"] if entry["name"] == ".prefetch.landmark"
    )
    tree = table.tree(0)
    assert isinstance(tree.body, Directory)
    assert set(tree.body.children) == {b"bin", b"large"}


def test_zeros_are_in_no_piece() -> None:
    made = stargz.chunked([stargz.Item("a", bytes(8192))], chunk=4096)
    for entry in made.table["entries"]:
        entry |= {"chunkType": "zeros", "chunkDigest": ""}
    table = table_of(made)
    assert (len(table.pieces), table.data_bytes) == (0, 8192)
