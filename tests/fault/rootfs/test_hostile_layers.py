"""Layers that mean harm: refused with an error that names layer and entry, or harmless; nothing is left of them."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import layer_tar as lt
from hypercontainer.errors import LayerError
from hypercontainer.rootfs import LayerLimits, LayerStore

LAYER = "sha256:" + "5a" * 32
MIB = 1 << 20


def refused(
    folder: Path, data: bytes, entry: str | None, why: str, limits: LayerLimits | None = None
) -> None:
    store = LayerStore(folder / "store", limits or LayerLimits())
    with pytest.raises(LayerError, match=why) as caught:
        store.convert(io.BytesIO(data), diff_id=lt.digest(data), compression="auto", layer=LAYER)
    assert caught.value.layer == LAYER
    assert LAYER in str(caught.value)
    if entry is not None:
        assert caught.value.entry == entry
        assert entry in str(caught.value)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def bad_checksum() -> bytes:
    head = bytearray(lt.header(b"f"))
    head[0] ^= 1
    return bytes(head)


GNU_SPARSE = [(b"GNU.sparse.name", b"f"), (b"GNU.sparse.realsize", b"100")]


def sparse(numbers: bytes, size: int = 100, stored: int = 0) -> bytes:
    records = [
        (b"GNU.sparse.name", b"f"),
        (b"GNU.sparse.realsize", b"%d" % size),
        (b"GNU.sparse.map", numbers),
    ]
    return lt.extended(records) + lt.header(b"x", size=stored) + lt.padded(bytes(stored))


def sparse_1_0(start: bytes) -> bytes:
    records = [*GNU_SPARSE, (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")]
    return lt.extended(records) + lt.header(b"x", size=len(start)) + lt.padded(start)


REFUSED = {
    "a name that leaves the root": (lt.entry(b"../../etc/passwd"), "../../etc/passwd", "leaves the root"),
    "one that leaves it later": (lt.entry(b"a/../../b"), "a/../../b", "leaves the root"),
    "a hard link that leaves it": (
        lt.entry(b"l", lt.LINK, target=b"../../etc/shadow"),
        "l",
        "leaves the root",
    ),
    "a hard link to the root": (lt.entry(b"l", lt.LINK, target=b"/."), "l", "hard link to the root"),
    "an absolute one that leaves it": (lt.entry(b"/../x"), "/../x", "leaves the root"),
    "a whiteout of the parent": (lt.entry(b"d/.wh..."), "d/.wh...", "whiteout of no file"),
    "a whiteout of nothing": (lt.entry(b"d/.wh."), "d/.wh.", "whiteout of no file"),
    "a name of 256 bytes": (lt.entry(b"n" * 256), "n" * 100 + "..." + "n" * 100, "longer than 255"),
    "a file as parent": (lt.entry(b"f") + lt.entry(b"f/g"), "f/g", "not a directory"),
    "a link to itself as parent": (
        lt.entry(b"l", lt.SYMLINK, target=b"l") + lt.entry(b"l/f"),
        "l/f",
        "more than 40 symbolic links",
    ),
    "a root that is a file": (lt.entry(b"."), ".", "the root is not a directory"),
    "an owner beyond 32 bits": (lt.entry(b"f", uid=1 << 32), "f", "does not fit 32 bits"),
    "an owner below zero": (lt.entry(b"f", gid=-1), "f", "does not fit 32 bits"),
    "an owner of many digits": (lt.entry(b"f", pax={b"uid": b"9" * 5000}), None, "uid is not a number"),
    "a time that is none": (lt.entry(b"f", pax={b"mtime": b"yesterday"}), None, "mtime"),
    "a device out of range": (lt.entry(b"dev/x", lt.CHAR, device=(5000, 0)), "dev/x", "out of range"),
    "a size below zero": (lt.header(b"f", size=-1), "f", "size of -1"),
    "a size beyond everything": (lt.header(b"f", size=(1 << 90)), "f", "beyond"),
    "a pax size beyond everything": (lt.entry(b"f", pax={b"size": b"9" * 19}), "f", "beyond"),
    "a link to nowhere": (lt.entry(b"l", lt.SYMLINK), "l", "target of 0 bytes"),
    "a link longer than a page": (lt.entry(b"l", lt.SYMLINK, target=b"t" * 4096), "l", "target of 4096"),
    "a NUL in a name": (lt.entry(b"f", pax={b"path": b"a\0b"}), None, "NUL"),
    "a NUL in a target": (lt.entry(b"l", lt.SYMLINK, pax={b"linkpath": b"a\0b"}), "l", "NUL"),
    "an unknown type": (lt.header(b"volume", b"V"), "volume", "unknown entry type"),
    "a header that is no number": (
        lt.with_checksum(lt.header(b"f")[:100] + b"0o0644_\0" + lt.header(b"f")[108:]),
        "f",
        "mode is not a number",
    ),
    "a wrong checksum": (lt.entry(b"before") + bad_checksum(), "before", "checksum"),
    "a lone zero block": (bytes(512) + lt.entry(b"f"), "", "zeros"),
    "an xattr too large": (
        lt.entry(b"f", pax={b"SCHILY.xattr.user.x": bytes(65536)}),
        "f",
        "65536 bytes, at most 65535",
    ),
    "xattrs too large together": (
        lt.entry(b"f", pax={b"SCHILY.xattr.user.%d" % number: bytes(60_000) for number in range(5)}),
        "f",
        "xattrs take",
    ),
    "an xattr's name too long": (
        lt.entry(b"f", pax={b"SCHILY.xattr.user." + b"n" * 256: b""}),
        "f",
        "xattr name",
    ),
    "an xattr that is not base64": (lt.entry(b"f", pax={b"LIBARCHIVE.xattr.user.x": b"!!"}), "f", "base64"),
    "an extended header of a gibibyte": (lt.header(b"x", b"x", size=1 << 30), None, "extended header of"),
    "one that is negative": (lt.header(b"x", b"L", size=-512), None, "extended header of -512"),
    "records that overlap": (
        lt.header(b"x", b"x", size=12) + lt.padded(b"99 path=abc\n"),
        None,
        "malformed extended header",
    ),
    "a record of no length": (lt.header(b"x", b"x", size=9) + lt.padded(b"0 path=a\n"), None, "malformed"),
    "a sparse map out of order": (sparse(b"50,1,10,1", stored=2), "f", "out of order"),
    "one that overlaps": (sparse(b"0,10,5,10", stored=20), "f", "out of order"),
    "one beyond the file": (sparse(b"90,20", stored=20), "f", "ends at 110"),
    "one of a wrong sum": (sparse(b"0,10", stored=5), "f", "has 10 bytes"),
    "one of an odd count": (sparse(b"0,10,5", stored=15), None, "incomplete"),
    "one of no numbers": (sparse(b"a,b"), None, "something else than a number"),
    "a sparse file of an exbibyte": (sparse(b"0,1", size=1 << 60, stored=1), "f", "in a file of"),
    "a sparse map of many": (sparse_1_0(b"99999999\n".ljust(512)), None, "99999999 segments"),
    "one without an end": (sparse_1_0(b"1" * 2000), None, "too long|cut off"),
    "one that is cut off": (sparse_1_0(b"100\n1\n"), None, "cut off"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(tmp_path: Path, what: str) -> None:
    data, entry, why = REFUSED[what]
    refused(tmp_path, data + lt.END, entry, why)


@pytest.mark.parametrize("length", [1, 511, 512, 520, 1000, 1024, 1025, 1535])
def test_archives_that_end_early(tmp_path: Path, length: int) -> None:
    archive = lt.entry(b"f", data=b"x" * 600, pax={b"path": b"long/name"})
    refused(tmp_path, archive[:length], None, "archive ends")


def test_truncated_data_names_its_entry(tmp_path: Path) -> None:
    refused(
        tmp_path, lt.entry(b"a") + lt.entry(b"big", data=bytes(100_000))[:5000], "big", "ends in the middle"
    )


@pytest.mark.parametrize("cut", [11, 100, -4])
def test_truncated_gzip(tmp_path: Path, cut: int) -> None:
    refused(
        tmp_path, gzip.compress(lt.tar(lt.entry(b"f", data=bytes(range(256)) * 400)))[:cut], None, "damaged"
    )


def test_gzip_with_rubbish_in_it(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(lt.tar(lt.entry(b"f", data=bytes(range(256)) * 400))))
    data[len(data) // 2] ^= 0xFF
    refused(tmp_path, bytes(data), None, "damaged|checksum|archive|header|number")


class Bomb(io.RawIOBase):
    """A gzip of a tar with one file of ``size`` zeros, made while it is read."""

    def __init__(self, name: bytes, size: int) -> None:
        self._pieces = self._compressed(name, size)
        self._left = b""

    @staticmethod
    def _compressed(name: bytes, size: int) -> Iterator[bytes]:
        compressor = zlib.compressobj(1, wbits=31)
        yield compressor.compress(lt.entry(b"small", data=b"x") + lt.header(name, size=size))
        for _ in range(size // MIB):
            yield compressor.compress(bytes(MIB))
        yield compressor.flush()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = piece
        data, self._left = self._left[:size], self._left[size:]
        return data


def test_a_bomb_of_ten_gigabytes_is_refused_at_its_header(tmp_path: Path) -> None:
    store = LayerStore(tmp_path, LayerLimits(max_bytes=8 << 30))
    started = time.monotonic()
    with pytest.raises(LayerError, match="beyond 8589934592 bytes") as caught:
        store.convert(Bomb(b"zeros", 10 << 30), diff_id=LAYER, layer=LAYER)
    assert (caught.value.layer, caught.value.entry) == (LAYER, "zeros")
    assert time.monotonic() - started < 5


def test_a_bomb_behind_the_archive_is_bounded_too(tmp_path: Path) -> None:
    data = gzip.compress(lt.tar(lt.entry(b"f")) + bytes(20 * MIB))
    refused(tmp_path, data, None, "more than 10485760 bytes", LayerLimits(max_bytes=10 * MIB))


def test_a_sparse_bomb_is_bounded_by_the_image(tmp_path: Path) -> None:
    size = 1 << 44
    bomb = sparse(b",".join(b"%d,1" % (index << 32) for index in range(4096)), size=size, stored=4096)
    refused(tmp_path, lt.tar(bomb), "f", "disk image would be larger", LayerLimits(max_image_bytes=1 << 40))


def test_entries_are_bounded_with_the_directories_that_they_imply(tmp_path: Path) -> None:
    refused(
        tmp_path,
        lt.tar(*[lt.entry(b"f%d" % index) for index in range(11)]),
        "f10",
        "10 entries",
        LayerLimits(max_entries=10),
    )
    refused(tmp_path, lt.tar(lt.entry(b"d/" * 20 + b"f")), None, "10 entries", LayerLimits(max_entries=10))


def test_metadata_is_bounded(tmp_path: Path) -> None:
    pax = {b"SCHILY.xattr.user.x": bytes(60_000)}
    refused(
        tmp_path,
        lt.tar(*[lt.entry(b"f%d" % index, pax=pax) for index in range(9)]),
        "f8",
        "take more",
        LayerLimits(max_metadata_bytes=500_000),
    )


def test_thousands_of_nested_directories(tmp_path: Path) -> None:
    deep = b"d/" * 2000 + b"f"
    found = lt.files(
        lt.root_disk(tmp_path / "deep", lt.tar(lt.entry(deep, data=b"1")), lt.tar(lt.entry(deep, data=b"2")))
    )
    assert len(found) == 2002
    assert found[b"/" + deep] == b"2"
    refused(
        tmp_path / "deeper",
        lt.tar(lt.entry(b"d/" * 10_000 + b"f")),
        None,
        "path of 20001 bytes, at most 4096",
    )


def test_links_lead_no_deeper_than_paths(tmp_path: Path) -> None:
    step = b"a/" * 2000
    entries = [lt.entry(b"l", lt.SYMLINK, target=step), lt.entry(step + b"l", lt.SYMLINK, target=step)]
    # Each link is made at the end of the one before, and passed through by the last entry.
    entries.append(lt.entry(b"l/l/x/y"))
    entries += [lt.entry(b"l/l/l", lt.SYMLINK, target=step), lt.entry(b"l/l/l/f")]
    refused(tmp_path, lt.tar(*entries), "l/l/l/f", "more than 4096")


def test_links_through_long_links_are_no_way_to_make_work(tmp_path: Path) -> None:
    target = b"d/../" * 800 + b"l"  # 1600 parts, and on to the next link
    links = [lt.entry(b"l%d" % index, lt.SYMLINK, target=target + b"%d" % (index + 1)) for index in range(39)]
    way = [lt.directory(b"d"), lt.directory(b"l39"), *links]
    refused(tmp_path / "one", lt.tar(*way, lt.entry(b"l0/f")), "l0/f", "more than 4096")
    many = [lt.entry(b"l38/%d/f" % index) for index in range(50)]
    refused(tmp_path / "many", lt.tar(*way, *many), None, "ways to its", LayerLimits(max_steps=40_000))
    lt.root_disk(tmp_path / "few", lt.tar(*way, *many))


MEASURED = """
import io, resource, sys
from pathlib import Path
from test_hostile_layers import Bomb, LAYER
from hypercontainer.errors import DigestMismatch
from hypercontainer.rootfs import LayerStore

store = LayerStore(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    store.convert(Bomb(b"zeros", 400 << 20), diff_id=LAYER)
except DigestMismatch:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_follow_the_data(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(lt.__file__).parent)])
    argv = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True
    )
    assert int(done.stdout) < 30 * 1024, "KiB more than before"


def test_duplicates_and_repeated_marks_are_reproduced(tmp_path: Path) -> None:
    entries = [lt.entry(b"f", data=b"%d" % index) for index in range(500)]
    entries += (
        [lt.entry(b"d/.wh..wh..opq")] * 500 + [lt.entry(b".wh.f2")] * 500 + [lt.directory(b"d", 0o700)] * 500
    )
    found = lt.files(lt.root_disk(tmp_path, lt.tar(lt.entry(b"d/low"), lt.entry(b"f2")), lt.tar(*entries)))
    assert found == {b"": None, b"/d": None, b"/f": b"499"}
