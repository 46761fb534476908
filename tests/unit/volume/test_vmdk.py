"""VMDK files: one that is all of its disk is taken, and none that names another file."""

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
from hypercontainer.volume.vmdk import HEADER_BYTES, vmdk_size

MIB = 1 << 20
TEXT = b"""# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicSparse"
RW 2048 SPARSE "disk.vmdk"
"""


def head(text: bytes = TEXT, **changes: int | bytes) -> bytes:
    """One that is taken, with fields changed."""
    values: dict[str, int | bytes] = {
        "magic": b"KDMV",
        "version": 1,
        "flags": 3,
        "sectors": 2048,
        "grain": 128,
    }
    values |= {"text_at": 1, "text_sectors": 20, "entries": 512, "again": 21, "tables_at": 26, "over": 128}
    assert changes.keys() <= values.keys()
    packed = struct.pack("<4s2I4QI3Q", *(values | changes).values()) + b"\0\n \r\n\0\0"
    return packed.ljust(512, b"\0") + text.ljust(20 * 512, b"\0")


def size(data: bytes, *, write: bool = True) -> int:
    return vmdk_size("d", data, data[:512], write=write)


def made(path: Path, kind: str, *more: str) -> str:
    options = ["-o", f"subformat={kind}", *more]
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", *options, path, str(3 * MIB)], check=True)
    return str(path)


def test_one_file_of_qemu_img_is_taken(tmp_path: Path) -> None:
    taken = check(made(tmp_path / "disk.vmdk", "monolithicSparse"), "vmdk")
    assert (taken.format, taken.size_bytes) == ("vmdk", 3 * MIB)


def test_a_compressed_one_is_read(tmp_path: Path) -> None:
    raw, path = tmp_path / "raw", tmp_path / "disk.vmdk"
    raw.write_bytes(b"word" * (MIB // 2))
    words = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run([*words, raw, path], check=True)
    assert check(str(path), "vmdk", write=False).size_bytes == 2 * MIB
    with pytest.raises(NotSupported, match="can only be read") as caught:
        check(str(path), "vmdk", write=True)
    assert "mount it read-only" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_what_names_other_files_is_refused(tmp_path: Path, kind: str) -> None:
    made(tmp_path / "disk.vmdk", kind)
    for path in tmp_path.iterdir():
        with pytest.raises((NotSupported, InvalidArgument)) as caught:
            check(str(path), "vmdk", write=False)
        assert "several files" in caught.value.message or "not a vmdk file" in caught.value.message


def test_one_with_a_parent_is_refused(tmp_path: Path) -> None:
    base = made(tmp_path / "base.vmdk", "monolithicSparse")
    words = ["qemu-img", "create", "-q", "-f", "vmdk", "-b", base, "-F", "vmdk", f"{tmp_path}/disk.vmdk"]
    subprocess.run(words, check=True)
    with pytest.raises(NotSupported, match="another disk"):
        check(str(tmp_path / "disk.vmdk"), "vmdk", write=False)


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"magic": b"COWD"}, InvalidArgument, "not a vmdk"),
        ({"version": 0}, NotSupported, "version 0"),
        ({"version": 4}, NotSupported, "version 4"),
        ({"version": 3}, NotSupported, "can only be read"),
        ({"sectors": 0}, InvalidArgument, "0 bytes"),  # QEMU takes its text's files then
        ({"sectors": (MAX_BYTES >> 9) + 1}, InvalidArgument, "bytes"),
        ({"sectors": (1 << 64) - 1}, InvalidArgument, "bytes"),
        ({"grain": 0}, InvalidArgument, "grains of 0"),
        ({"grain": 3}, InvalidArgument, "grains of 3"),
        ({"grain": 4096}, InvalidArgument, "grains of 4096"),
        ({"entries": 1 << 31}, InvalidArgument, "grains"),
        ({"text_at": 0}, NotSupported, "several files"),
        ({"text_at": 2}, NotSupported, "several files"),
        ({"text_sectors": 0}, NotSupported, "several files"),
        ({"text_sectors": 1 << 40}, NotSupported, "several files"),
        ({"flags": 1 << 16}, InvalidArgument, "do not agree"),
    ],
)
def test_headers_that_are_refused(changes: dict[str, int | bytes], kind: type[HyperError], word: str) -> None:
    assert size(head()) == MIB
    with pytest.raises(kind, match=word):
        size(head(TEXT, **changes))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (b"monolithicSparse", b"monolithicFlat", "several files"),
        (b"monolithicSparse", b"vmfs", "several files"),
        (b"createType", b"xreateType", "several files"),
        (b"RW 2048", b'RW 1 FLAT "/etc/shadow" 0\nRW 2048', "several files"),
        (b"parentCID=ffffffff", b"parentCID=12345678", "another disk"),
        (b"parentCID=ffffffff", b'parentFileNameHint="/etc/shadow"', "another disk"),
    ],
)
def test_texts_that_are_refused(old: bytes, new: bytes, word: str) -> None:
    with pytest.raises(NotSupported, match=word):
        size(head(TEXT.replace(old, new)))


def test_both_ends_say_the_same() -> None:
    data = head(tables_at=(1 << 64) - 1)
    assert size(data) == MIB
    with pytest.raises(InvalidArgument, match="different headers"):
        vmdk_size("d", data, head(sectors=4096)[:512], write=True)
    with pytest.raises(InvalidArgument, match="too short"):
        vmdk_size("d", data, b"", write=True)


@given(st.data())
def test_any_file_is_refused_in_words_or_has_a_sane_size(data: st.DataObject) -> None:
    changed = bytearray(head())
    for at in data.draw(st.lists(st.integers(0, 800), max_size=4)):
        changed[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from((0, 70, 511, 600, len(changed))))
    try:
        found = size(bytes(changed[:cut]), write=False)
    except (InvalidArgument, NotSupported):
        return
    assert 0 < found <= MAX_BYTES
    assert len(changed) <= HEADER_BYTES
