"""Snapshots on disk: what is read is what was written, or an error; a folder is whole or not there."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
import signal
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercontainer.hypervisor import snapshot
from hypercontainer.hypervisor.qemu import pvh
from hypercontainer.hypervisor.snapshot import CHUNK_BYTES, Snapshot, SnapshotDamaged

PAGE = 4096
STATE = b"the devices' state" * 1000


@contextlib.contextmanager
def made(pieces: dict[int, bytes], size: int, state: bytes = STATE) -> Iterator[Snapshot]:
    """Memory of ``size`` bytes with ``pieces`` in it, at their offsets."""
    memory_fd, state_fd = snapshot.memory_file("memory", size), snapshot.memory_file("state")
    for offset, piece in pieces.items():
        os.pwrite(memory_fd, piece, offset)
    os.write(state_fd, state)
    saved = snapshot.sealed(memory_fd, state_fd)
    try:
        yield saved
    finally:
        saved.close()


def content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that was written: its first and its last chunk are not zero, and one in the middle."""
    pieces = {0: b"first", 5 * CHUNK_BYTES + PAGE: b"middle" * PAGE, 16 * CHUNK_BYTES - 4: b"last"}
    with made(pieces, 16 * CHUNK_BYTES) as saved:
        snapshot.write(saved, tmp_path / "templates" / "key")
    return tmp_path / "templates" / "key"


chunks = st.dictionaries(st.integers(0, 40), st.sampled_from([b"x", b"y" * PAGE, b"z" * CHUNK_BYTES]))


@given(chunks=chunks, more=st.integers(0, CHUNK_BYTES // PAGE), state=st.binary(max_size=3 * PAGE))
@settings(max_examples=60)
def test_what_was_written_is_read(chunks: dict[int, bytes], more: int, state: bytes) -> None:
    """Any chunks may be other than zero; the last one may be short."""
    size = 41 * CHUNK_BYTES + more * PAGE
    pieces = {number * CHUNK_BYTES: piece for number, piece in chunks.items()}
    with tempfile.TemporaryDirectory() as base, made(pieces, size, state) as saved:
        snapshot.write(saved, Path(base, "key"))
        again = snapshot.read(Path(base, "key"))
        try:
            assert content(again.memory_fd) == content(saved.memory_fd)
            assert content(again.state_fd) == state
            written = Path(base, "key", "memory").stat().st_blocks * 512
            assert written <= len(chunks) * CHUNK_BYTES + 16 * PAGE  # sparse on disk
            assert os.fstat(again.memory_fd).st_blocks * 512 <= len(chunks) * CHUNK_BYTES  # and in memory
        finally:
            again.close()
        assert [entry.name for entry in Path(base).iterdir()] == ["key"]


def test_what_is_read_is_sealed_and_private(folder: Path) -> None:
    before = descriptors()
    saved = snapshot.read(folder)
    for fd in (saved.memory_fd, saved.state_fd):
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.truncate(fd, 0)
        assert not os.get_inheritable(fd)
    saved.close()
    assert descriptors() == before
    assert {entry.name: entry.stat().st_mode & 0o077 for entry in (folder, folder.parent)} == {
        "key": 0,
        "templates": 0,
    }
    assert sorted(entry.name for entry in folder.iterdir()) == ["digest.json", "memory", "state"]


def test_holes_that_a_file_system_has_lost_change_nothing(folder: Path) -> None:
    """A copy of the folder may have blocks of zeros where there were holes."""
    memory = folder / "memory"
    blocks = memory.stat().st_blocks
    memory.write_bytes(memory.read_bytes())
    assert memory.stat().st_blocks > blocks
    snapshot.read(folder).close()


def flip(offset: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))

    return damage


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace_by_a_link(path: Path) -> None:
    other = path.with_name("elsewhere")
    path.rename(other)
    path.symlink_to(other)


def move_a_chunk(path: Path) -> None:
    """Its bytes are all there, in another place."""
    data = path.read_bytes()
    first, second = data[: 2 * CHUNK_BYTES][:CHUNK_BYTES], data[CHUNK_BYTES : 2 * CHUNK_BYTES]
    path.write_bytes(second + first + data[2 * CHUNK_BYTES :])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("memory", flip(0)),
        ("memory", flip(-1)),
        ("memory", flip(5 * CHUNK_BYTES + PAGE + 1)),
        ("memory", flip(9 * CHUNK_BYTES)),  # in a hole
        ("memory", move_a_chunk),
        *[("state", flip(offset)) for offset in (0, len(STATE) // 2, -1)],
        *[(name, change) for name in ("memory", "state") for change in (shorten, lengthen, empty)],
        *[(name, Path.unlink) for name in ("memory", "state", "digest.json")],
        ("digest.json", empty),
        ("digest.json", shorten),
        *[("digest.json", flip(offset)) for offset in range(0, 180, 7)],
    ],
)
def test_damage_is_found(folder: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(folder / name)
    before = descriptors()
    with pytest.raises(SnapshotDamaged, match=str(folder)):
        snapshot.read(folder)
    assert descriptors() == before


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"\0" * 4096,
        b"{" * 100_000,
        b'{"memory_bytes":-1,"memory":"","state_bytes":0,"state":""}',
        b'{"memory_bytes":1e300,"memory":"","state_bytes":0,"state":""}',
        b'{"memory_bytes":9223372036854775808,"memory":"","state_bytes":0,"state":""}',
        b'{"memory_bytes":0,"memory":"","state_bytes":0,"state":"","more":1}',
    ],
)
def test_digests_that_are_none(folder: Path, text: bytes) -> None:
    (folder / "digest.json").write_bytes(text)
    with pytest.raises(SnapshotDamaged):
        snapshot.read(folder)


@given(text=st.binary(max_size=300))
@settings(max_examples=200)
def test_no_bytes_pass_for_digests(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as base:
        Path(base, "digest.json").write_bytes(text)
        with pytest.raises(SnapshotDamaged):
            snapshot.read(Path(base))


def test_a_link_in_place_of_a_file_is_not_followed(folder: Path) -> None:
    replace_by_a_link(folder / "memory")
    with pytest.raises((SnapshotDamaged, OSError)):
        snapshot.read(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        snapshot.read(tmp_path / "nosuch")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SnapshotDamaged):
        snapshot.read(tmp_path / "empty")


def test_what_is_there_stays(folder: Path) -> None:
    before = {entry.name: (entry.stat().st_ino, entry.read_bytes()) for entry in folder.iterdir()}
    with made({0: b"another"}, CHUNK_BYTES) as other:
        snapshot.write(other, folder)
    assert {entry.name: (entry.stat().st_ino, entry.read_bytes()) for entry in folder.iterdir()} == before
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_many_that_write_one_folder_leave_one(tmp_path: Path) -> None:
    with made({0: b"same"}, 4 * CHUNK_BYTES) as saved:
        barrier, failed = threading.Barrier(8), []

        def one() -> None:
            barrier.wait()
            try:
                snapshot.write(saved, tmp_path / "key")
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed
    snapshot.read(tmp_path / "key").close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("most_bytes", [0, 100, CHUNK_BYTES, 5 * CHUNK_BYTES + 100, len(STATE) - 1])
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, most_bytes: int) -> None:
    """As on a full disk, at any place: a file may not be larger than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = descriptors()
    # Less memory than state, or the state's own limit would never be met.
    size = CHUNK_BYTES if most_bytes == len(STATE) - 1 else 16 * CHUNK_BYTES
    with made({0: b"x", size - 1: b"y"}, size, STATE * 10) as saved:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
            with pytest.raises(OSError) as caught:
                snapshot.write(saved, tmp_path / "key")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
    assert descriptors() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small file system")
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    point = tmp_path / "full"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", point], check=True)
    try:
        with made({0: b"x" * 2 * 2**20}, 4 * 2**20) as saved, pytest.raises(OSError) as caught:
            snapshot.write(saved, point / "key")
        assert caught.value.errno == errno.ENOSPC
        assert list(point.iterdir()) == []
        with made({0: b"x"}, 4 * 2**20) as saved:
            snapshot.write(saved, point / "key")
    finally:
        subprocess.run(["umount", point], check=True)


def test_remove(folder: Path) -> None:
    snapshot.remove(folder)
    assert list(folder.parent.iterdir()) == []
    snapshot.remove(folder)
    assert list(folder.parent.iterdir()) == []
    snapshot.remove(folder.parent / "no" / "such")
    assert list(folder.parent.iterdir()) == []


def test_a_removed_one_that_is_open_stays_whole(folder: Path) -> None:
    saved = snapshot.read(folder)
    before = content(saved.memory_fd)
    snapshot.remove(folder)
    assert content(saved.memory_fd) == before
    saved.close()


def test_a_file_that_is_mapped_to_write_is_not_sealed() -> None:
    memory_fd, state_fd = snapshot.memory_file("memory", PAGE), snapshot.memory_file("state")
    try:
        with mmap.mmap(memory_fd, PAGE), pytest.raises(OSError) as caught:
            snapshot.sealed(memory_fd, state_fd)
        assert caught.value.errno == errno.EBUSY
    finally:
        os.close(memory_fd)
        os.close(state_fd)


# ---------------------------------------------------------------------------- what a clone is started with


def test_the_smallest_kernel_is_an_elf_file_with_a_pvh_entry(tmp_path: Path) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(pvh.SMALLEST)
    shown = subprocess.run(["readelf", "-hlnW", path], check=True, capture_output=True, text=True)
    assert shown.stderr == ""
    assert "EXEC (Executable file)" in shown.stdout
    assert "Advanced Micro Devices X86-64" in shown.stdout
    assert "LOAD" in shown.stdout
    assert "NOTE" in shown.stdout
    (note,) = [line.split() for line in shown.stdout.splitlines() if line.strip().startswith("Xen")]
    assert note[1] == "0x00000008"
    assert "0x00000012" in shown.stdout  # 18: XEN_ELFNOTE_PHYS32_ENTRY
    (entry,) = struct.unpack("<Q", pvh.SMALLEST[-8:])
    assert f"Entry point address: 0x{entry:x}" in " ".join(shown.stdout.split())
