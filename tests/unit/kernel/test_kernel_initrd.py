"""The initrd is read back by a parser of its own, written from buffer-format.rst."""

from __future__ import annotations

import stat
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import Unavailable
from hypercontainer.kernel import Kernel, build_initrd
from hypercontainer.kernel.initrd import Entry, cpio


@dataclass(frozen=True)
class Parsed:
    mode: int
    data: bytes
    device: tuple[int, int]


def parse(archive: bytes) -> dict[str, Parsed]:
    """Every entry by name; fails on anything the kernel would not accept."""
    found: dict[str, Parsed] = {}
    inodes = set()
    position = 0
    while True:
        assert position % 4 == 0
        assert archive[position : position + 6] == b"070701"
        fields = [int(archive[at : at + 8], 16) for at in range(position + 6, position + 110, 8)]
        inode, mode, uid, gid, _links, mtime, size, _, _, major, minor, name_size, check = fields
        assert (uid, gid, mtime, check) == (0, 0, 0, 0)
        name = archive[position + 110 : position + 110 + name_size]
        assert name[-1:] == b"\0"
        start = position + 110 + name_size + 3 & ~3
        position = start + size + 3 & ~3
        text = name[:-1].decode()
        if text == "TRAILER!!!":
            assert position == len(archive)
            return found
        assert inode not in inodes, "two entries with one inode number are hard links"
        inodes.add(inode)
        assert text not in found
        found[text] = Parsed(mode, archive[start : start + size], (major, minor))


def kernel_with(*modules: Path, digest: str = "sha256:00") -> Kernel:
    return Kernel(Path("/vmlinuz"), "6.1.0", "debian", modules, False, digest)


@pytest.fixture
def hyperstart(tmp_path: Path) -> Path:
    path = tmp_path / "hyperstart"
    path.write_bytes(b"\x7fELF and more")
    return path


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,9}\Z"), st.binary(max_size=50), max_size=6))
def test_what_is_written_is_read_back(files: dict[str, bytes]) -> None:
    entries = [Entry(name, stat.S_IFREG | 0o640, data) for name, data in files.items()]
    parsed = parse(b"".join(cpio(entries)))
    assert {name: entry.data for name, entry in parsed.items()} == files
    assert all(entry.mode == stat.S_IFREG | 0o640 for entry in parsed.values())


def test_init_and_console_are_there(tmp_path: Path, hyperstart: Path) -> None:
    parsed = parse(build_initrd(hyperstart, kernel_with(), tmp_path).read_bytes())
    assert parsed["init"] == Parsed(stat.S_IFREG | 0o755, hyperstart.read_bytes(), (0, 0))
    assert parsed["dev/console"] == Parsed(stat.S_IFCHR | 0o600, b"", (5, 1))
    assert set(parsed) == {"dev", "proc", "sys", "dev/console", "init"}
    assert list(parsed).index("dev") < list(parsed).index("dev/console")


def test_modules_keep_their_order(tmp_path: Path, hyperstart: Path) -> None:
    modules = [tmp_path / name for name in ("zlib.ko", "a.ko", "m.ko")]
    for module in modules:
        module.write_text(f"content of {module.name}")
    parsed = parse(build_initrd(hyperstart, kernel_with(*modules), tmp_path).read_bytes())
    assert parsed["modules/order"].data == b"000-zlib.ko\n001-a.ko\n002-m.ko\n"
    assert parsed["modules/001-a.ko"].data == b"content of a.ko"
    assert [name for name in parsed if name.endswith(".ko")] == [
        "modules/000-zlib.ko",
        "modules/001-a.ko",
        "modules/002-m.ko",
    ]


def test_same_input_is_the_same_file_and_other_input_another(tmp_path: Path, hyperstart: Path) -> None:
    first = build_initrd(hyperstart, kernel_with(), tmp_path / "one")
    assert build_initrd(hyperstart, kernel_with(digest="sha256:11"), tmp_path / "one") == first, (
        "a kernel without modules leaves no trace in its initrd"
    )
    assert build_initrd(hyperstart, kernel_with(), tmp_path / "two").read_bytes() == first.read_bytes()
    hyperstart.write_bytes(b"another")
    assert build_initrd(hyperstart, kernel_with(), tmp_path / "one") != first

    module = tmp_path / "m.ko"
    module.write_bytes(b"m")
    names = {build_initrd(hyperstart, kernel_with(module, digest=d), tmp_path).name for d in ("a", "b")}
    assert len(names) == 2


def test_a_cached_initrd_is_not_written_again(tmp_path: Path, hyperstart: Path) -> None:
    path = build_initrd(hyperstart, kernel_with(), tmp_path)
    before = path.stat().st_ino
    assert build_initrd(hyperstart, kernel_with(), tmp_path).stat().st_ino == before


def test_many_at_once_leave_one_complete_file(tmp_path: Path, hyperstart: Path) -> None:
    hyperstart.write_bytes(bytes(1 << 20))
    threads = [
        threading.Thread(target=build_initrd, args=(hyperstart, kernel_with(), tmp_path)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [path] = (tmp_path / "initrd").iterdir()
    assert parse(path.read_bytes())["init"].data == bytes(1 << 20)


def test_a_missing_file_is_named_and_nothing_is_left(tmp_path: Path, hyperstart: Path) -> None:
    with pytest.raises(Unavailable, match="absent"):
        build_initrd(tmp_path / "absent", kernel_with(), tmp_path)
    with pytest.raises(Unavailable, match=r"gone\.ko"):
        build_initrd(hyperstart, kernel_with(tmp_path / "gone.ko"), tmp_path)
    assert not (tmp_path / "initrd").exists() or not list((tmp_path / "initrd").iterdir())
