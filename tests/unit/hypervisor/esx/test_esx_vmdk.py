"""Disks as streams: read by QEMU's tools, and by ourselves, and nothing else is."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.esx import vmdk
from hypercontainer.hypervisor.esx.vmdk import GRAIN

MIB = 1 << 20
GOLDEN = "38c21cee1c0d1ca39a6c481b55b57af9bfe7cbf5463a4f83b2885a57f1997fa1"
TABLE = 512 * GRAIN  # what one table of grains has


def stream(size: int, pieces: dict[int, bytes]) -> bytes:
    return b"".join(vmdk.write(vmdk.capacity_of(size), sorted(pieces.items())))


def disk(data: bytes) -> dict[int, bytes]:
    return dict(vmdk.read(io.BytesIO(data).read))


def test_it_is_the_same_bytes_each_time() -> None:
    made = stream(3 * MIB, {0: b"begin".ljust(GRAIN, b"\0"), 2 * MIB: b"\xff" * GRAIN})
    assert len(made) == 71680
    assert hashlib.sha256(made).hexdigest() == GOLDEN
    assert made[:4] == b"KDMV" and made[-512:] == bytes(512)


@pytest.mark.parametrize("size", [MIB, 5 * MIB + 512, TABLE, TABLE + MIB, 3 * TABLE])
def test_qemu_reads_what_is_written(tmp_path: Path, size: int) -> None:
    rng, capacity = random.Random(size), vmdk.capacity_of(size)
    pieces = {
        place * GRAIN: rng.randbytes(GRAIN)
        for place in rng.sample(range(size // GRAIN), min(20, size // GRAIN))
    }
    short = size % GRAIN
    if short:
        pieces[size - short] = b"e" * short
    pieces[0] = bytes(GRAIN)  # which is no grain at all
    (tmp_path / "disk.vmdk").write_bytes(stream(size, pieces))
    with (tmp_path / "disk.raw").open("wb") as file:
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
        file.truncate(capacity)
    compared = subprocess.run(
        ["qemu-img", "compare", "-f", "raw", "-F", "vmdk", tmp_path / "disk.raw", tmp_path / "disk.vmdk"],
        capture_output=True,
        text=True,
    )
    assert compared.returncode == 0, compared
    checked = subprocess.run(["qemu-img", "info", tmp_path / "disk.vmdk"], capture_output=True, text=True)
    assert "streamOptimized" in checked.stdout and f"({capacity} bytes)" in checked.stdout


def test_what_qemu_writes_is_read(tmp_path: Path) -> None:
    rng, raw = random.Random(7), tmp_path / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(2 * TABLE)
        for place in rng.sample(range(2 * TABLE // GRAIN), 30):
            file.seek(place * GRAIN)
            file.write(rng.randbytes(GRAIN))
    made = tmp_path / "disk.vmdk"
    convert: list[str | Path] = [
        "qemu-img",
        "convert",
        "-f",
        "raw",
        "-O",
        "vmdk",
        "-o",
        "subformat=streamOptimized",
        raw,
        made,
    ]
    subprocess.run(convert, check=True)
    content = bytearray(2 * TABLE)
    there = made.read_bytes()
    ended = there + bytes(-len(there) % 512) + bytes(512)  # QEMU writes no end
    for offset, data in disk(ended).items():
        content[offset : offset + len(data)] = data
    assert hashlib.sha256(content).digest() == hashlib.sha256(raw.read_bytes()).digest()


@given(st.dictionaries(st.integers(0, 1023), st.binary(min_size=1, max_size=300), max_size=8))
def test_what_is_written_is_read(places: dict[int, bytes]) -> None:
    pieces = {place * GRAIN: data.ljust(GRAIN, b"x") for place, data in places.items()}
    assert disk(stream(2 * TABLE, pieces)) == pieces


def damaged() -> Iterator[tuple[str, bytes]]:
    good = stream(MIB, {0: b"x" * GRAIN, GRAIN: random.Random(1).randbytes(GRAIN)})
    data = 128 * 512
    yield "no stream of compressed grains", b"COWD" + good[4:]
    yield "no stream of compressed grains", good[:8] + struct.pack("<I", 3) + good[12:]
    yield "a size that no disk has", good[:20] + struct.pack("<Q", 1 << 40) + good[28:]
    yield "a size that no disk has", good[:12] + struct.pack("<Q", 0) + good[20:]
    yield "does not say where it begins", good[:64] + struct.pack("<Q", 0) + good[72:]
    yield "a grain where there is none", good[:data] + struct.pack("<QI", 1 << 30, 10) + good[data + 12 :]
    yield "a grain where there is none", good[:data] + struct.pack("<QI", 0, 1 << 30) + good[data + 12 :]
    yield "is damaged", good[: data + 12] + b"\xff" * 20 + good[data + 32 :]
    yield "larger than it says", good[:data] + struct.pack("<QI", 0, 20) + good[data + 12 :]
    yield "a marker of kind", good[:data] + struct.pack("<QII", 1, 0, 9) + good[data + 16 :]
    yield "cut off", good[:-512]
    yield "cut off", good[: data + 100]
    yield "cut off", b""


@pytest.mark.parametrize(("words", "data"), [*damaged()])
def test_what_is_no_disk_is_refused(words: str, data: bytes) -> None:
    with pytest.raises(HypervisorError, match=words):
        disk(data)


def test_a_bomb_is_not_unpacked() -> None:
    packed = zlib.compress(bytes(64 * MIB))
    grain = struct.pack("<QI", 0, len(packed)) + packed
    bomb = stream(MIB, {})[: 128 * 512] + grain + bytes(-len(grain) % 512)
    with pytest.raises(HypervisorError, match="larger than it says"):
        disk(bomb)


@given(st.binary(max_size=4096))
def test_rubbish_is_refused_in_words(data: bytes) -> None:
    head = stream(MIB, {})[: 128 * 512]
    try:
        list(vmdk.read(io.BytesIO(head + data).read))
    except HypervisorError:
        return
