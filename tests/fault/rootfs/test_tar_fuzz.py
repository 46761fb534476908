"""Archives with flipped, cut and spliced bytes: an image or a LayerError, never anything else, and never for long."""

from __future__ import annotations

import io
import os
import random
import tempfile
import tracemalloc
from pathlib import Path

import layer_tar as lt
from hypercontainer.errors import DigestMismatch, LayerError
from hypercontainer.rootfs import LayerLimits, LayerStore

ROUNDS = int(os.environ.get("HYPER_FUZZ_ROUNDS", "400"))
LIMITS = LayerLimits(max_bytes=1 << 24, max_entries=10_000, max_image_bytes=1 << 30)
MAX_MEMORY_BYTES = 24 << 20
UNKNOWN = "sha256:" + "0" * 64


def seeds() -> list[bytes]:
    """The forms that a mutation should start from."""
    records = [
        (b"GNU.sparse.name", b"s"),
        (b"GNU.sparse.realsize", b"9000"),
        (b"GNU.sparse.map", b"0,5,8000,5"),
    ]
    one_point_oh = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), *records[:2]]
    pairs = lt.octal(0, 12) + lt.octal(5, 12) + lt.octal(600, 12) + lt.octal(5, 12)
    old = bytes(41) + pairs.ljust(96, b"\0") + b"\0" + lt.octal(1000, 12)
    return [
        lt.entry(b"dir/file", data=b"x" * 700, mode=0o4755, uid=1 << 31),
        lt.entry(b"l", lt.LINK, target=b"dir/file") + lt.entry(b"s", lt.SYMLINK, target=b"../dir"),
        lt.entry(
            b"long" * 40, data=b"y", pax={b"SCHILY.xattr.user.x": b"value", b"mtime": b"-1.5", b"uid": b"77"}
        ),
        lt.entry(b"x", pax={b"LIBARCHIVE.xattr.user.x": b"dmFsdWU"}),
        lt.header(b"././@LongLink", b"L", size=150, magic=lt.GNU)
        + lt.padded(b"n" * 150)
        + lt.header(b"n", magic=lt.GNU),
        lt.extended(records) + lt.header(b"s", size=10) + lt.padded(b"0123456789"),
        lt.extended(one_point_oh)
        + lt.header(b"s", size=517)
        + lt.padded(b"1\n0\n5\n".ljust(512, b"\0") + b"12345"),
        lt.header(b"old", b"S", size=10, magic=lt.GNU, rest=old) + lt.padded(b"0123456789"),
        lt.entry(b"d/.wh.x")
        + lt.entry(b"d/.wh..wh..opq")
        + lt.entry(b"c", lt.CHAR, device=(1, 3))
        + lt.entry(b"p", lt.FIFO),
        lt.extended([(b"gid", b"5")], kind=b"g") + lt.directory(b"d/"),
        bytes(512),
    ]


def mutated(random_: random.Random, archive: bytes) -> bytes:
    data = bytearray(archive)
    for _ in range(random_.randint(1, 3)):
        at = random_.randrange(len(data))
        match random_.randrange(6):
            case 0:
                data[at] = random_.randrange(256)
            case 1:
                data[at : at + random_.randint(1, 12)] = random_.choice(
                    (b"\xff" * 8, b"7" * 11, b"\x80" + bytes(7), b"-1", b" ")
                )
            case 2:
                del data[at : at + random_.choice((1, 16, 512))]
            case 3:
                data[at:at] = data[at : at + 512]
            case 4:
                kind_at = at - at % 512 + 156
                data[kind_at : kind_at + 1] = random_.choice("0123456xgLKSX\0").encode()
            case _:
                data[at] = random_.choice(b"0123456789=,\n /.")
        if not data:
            break
    # Most mutations are to get past the checksum.
    if random_.random() < 0.85:
        for start in range(0, len(data) - 511, 512):
            block = bytes(data[start : start + 512])
            if block[257:262] == b"ustar":
                data[start : start + 512] = lt.with_checksum(block)
    return bytes(data)


def test_mutated_archives() -> None:
    random_ = random.Random(20240229)
    forms = seeds()
    outcomes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = LayerStore(Path(folder), LIMITS)
        tracemalloc.start()
        try:
            for _ in range(ROUNDS):
                archive = mutated(random_, b"".join(random_.sample(forms, random_.randint(1, 3))) + lt.END)
                digest = lt.digest(archive)
                try:
                    store.convert(io.BytesIO(archive), diff_id=digest, compression="none")
                    lt.contents(store.root_disk([digest]))
                    outcome = "read"
                except LayerError as error:
                    assert error.layer == digest
                    outcome = "refused"
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
            assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
        finally:
            tracemalloc.stop()
    assert min(outcomes.values()) > ROUNDS // 10, outcomes  # both sides are reached


def test_random_bytes_behind_each_compression(tmp_path: Path) -> None:
    random_ = random.Random(7)
    store = LayerStore(tmp_path, LIMITS)
    for magic in (b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh9"):
        for _ in range(40):
            data = magic + random_.randbytes(random_.randrange(3000))
            try:
                store.convert(io.BytesIO(data), diff_id=UNKNOWN)
            except (LayerError, DigestMismatch):
                continue
            raise AssertionError("rubbish was taken for a layer")
