"""Kernels and initrds that users name: whose rights count, what is taken for one, what is made of it."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.engine.sandbox import boot_files
from hypercontainer.engine.sandbox.boot_files import BootFiles
from hypercontainer.errors import InvalidArgument, NotFound, Unavailable
from hypercontainer.linux.users import User
from stories import Tell

STRANGER = User(12345, 12345)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as others")


@pytest.fixture
def store(tmp_path: Path) -> BootFiles:
    return BootFiles(tmp_path / "boot")


@pytest.fixture
def open_place(tmp_path: Path) -> Path:
    """Which everybody can get to."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | stat.S_IXOTH)
    return tmp_path


@as_root
def test_it_is_opened_with_the_rights_of_who_asks(store: BootFiles, open_place: Path) -> None:
    file = open_place / "secret"
    file.write_bytes(b"initrd")
    file.chmod(0o600)
    with pytest.raises(InvalidArgument, match="may not read it") as told:
        store.copy("initrd", str(file), STRANGER)
    assert told.value.field == "initrd"
    with pytest.raises(InvalidArgument):
        store.check("initrd", str(file), STRANGER)
    file.chmod(0o644)
    assert store.copy("initrd", str(file), STRANGER).read_bytes() == b"initrd"
    with pytest.raises(NotFound):  # nothing of ours by way of /proc
        store.copy("initrd", f"/proc/self/fd/{os.open(file, os.O_RDONLY)}0000", STRANGER)


@pytest.mark.parametrize("field", ["kernel", "initrd"])
def test_only_regular_files_of_a_size_are_opened(store: BootFiles, tmp_path: Path, field: str) -> None:
    fifo, huge, empty = tmp_path / "fifo", tmp_path / "huge", tmp_path / "empty"
    os.mkfifo(fifo)  # opening it would wait for a writer
    empty.touch()
    with huge.open("wb") as file:
        file.truncate(3 << 30)
    for path in (fifo, huge, empty, tmp_path, Path("/dev/zero"), Path("/proc/self/fd/0")):
        for act in (store.check, store.copy):
            with pytest.raises(InvalidArgument, match=str(path)):
                act(field, str(path), None)
    for words in ("relative", "", "/a\0b"):
        with pytest.raises(InvalidArgument, match="absolute path"):
            store.check(field, words, None)
    with pytest.raises(NotFound, match=f"{field} /nonexistent"):
        store.check(field, "/nonexistent", None)
    assert not (tmp_path / "boot").exists()


def test_a_copy_is_what_the_file_was(store: BootFiles, tmp_path: Path) -> None:
    file, link = tmp_path / "initrd", tmp_path / "link"
    file.write_bytes(b"one")
    link.symlink_to(file)
    first = store.copy("initrd", str(link), None)
    assert store.copy("initrd", str(file), None) == first
    file.unlink()
    os.mkfifo(file)
    assert first.read_bytes() == b"one"
    file.unlink()
    file.write_bytes(b"two")
    assert store.copy("initrd", str(file), None).read_bytes() == b"two"
    first.unlink()
    file.write_bytes(b"one")
    assert store.copy("initrd", str(file), None).read_bytes() == b"one"


def test_of_copies_the_last_ones_stay(
    store: BootFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_files, "KEPT", 3)
    file = tmp_path / "initrd"
    for number in range(6):
        file.write_bytes(b"%d" % number)
        made = store.copy("initrd", str(file), None)
        os.utime(made, (number, number))
    assert {path.read_bytes() for path in (tmp_path / "boot").iterdir()} == {b"3", b"4", b"5"}


def test_none_goes_that_is_about_to_be_opened(
    store: BootFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_files, "KEPT", 3)
    made = []
    for number in range(6):
        file = tmp_path / f"initrd{number}"
        file.write_bytes(b"%d" % number)
        made.append(store.copy("initrd", str(file), None))
    assert [path.read_bytes() for path in made] == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_a_slow_file_holds_up_nobody(
    store: BootFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_files, "KEPT", 1)
    slow, fast = tmp_path / "slow", tmp_path / "fast"
    begun, over = threading.Event(), threading.Event()
    real = os.pread

    def pread(fd: int, size: int, at: int) -> bytes:
        if os.path.samestat(os.fstat(fd), slow.stat()):
            begun.set()
            assert over.wait(10), "everybody waits for it"
        return real(fd, size, at)

    monkeypatch.setattr(os, "pread", pread)
    slow.write_bytes(b"slow")
    fast.write_bytes(b"fast")
    with ThreadPoolExecutor() as pool:
        copying = pool.submit(store.copy, "initrd", str(slow), None)
        assert begun.wait(10)
        for path in (tmp_path / "boot").iterdir():
            os.utime(path, (0, 0))  # it has said nothing for long
        assert store.copy("initrd", str(fast), None).read_bytes() == b"fast"
        over.set()
        assert copying.result().read_bytes() == b"slow"


def test_some_room_is_left_for_what_runs(
    store: BootFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fstatvfs

    def little(fd: int) -> object:
        found = real(fd)
        return SimpleNamespace(f_bavail=1000, f_frsize=4096, f_blocks=found.f_blocks)

    monkeypatch.setattr(os, "fstatvfs", little)
    file = tmp_path / "initrd"
    file.write_bytes(b"bytes")
    with pytest.raises(Unavailable, match="MiB are left, which are kept free"):
        store.copy("initrd", str(file), None)
    assert list((tmp_path / "boot").iterdir()) == []


@as_root
def test_a_stranger_gets_no_vm_of_what_they_may_not_read(tell: Tell) -> None:
    async def story(w: World) -> None:
        secret = w.tmp / "secret"
        secret.write_bytes(b"\x7fELF")
        secret.chmod(0o600)
        for field in ("kernel", "initrd"):
            more: Any = {"accelerator": "tcg", field: str(secret)}
            with pytest.raises(InvalidArgument, match="secret"):
                await w.engine.containers.create(
                    ContainerSpec(image=IMAGE, command=("true",), **more), asked_by=STRANGER.uid
                )
            pod = PodSpec(name="p", containers=(ContainerSpec(image=IMAGE, command=("true",)),), **more)
            with pytest.raises(InvalidArgument, match="secret"):
                await w.engine.pods.create(pod, asked_by=STRANGER.uid)
        assert list((w.config.root / "containers").iterdir()) == []

    tell(story)


def test_a_vm_has_copies_of_its_boot_files(tell: Tell) -> None:
    async def story(w: World) -> None:
        initrd = w.tmp / "initrd"
        initrd.write_bytes(b"files")
        more: Any = {**w.spec_defaults, "initrd": str(initrd)}
        await w.engine.containers.create(
            ContainerSpec(image=IMAGE, name="c", command=("cat",), stdin_open=True, **more)
        )
        await w.engine.containers.start("c")
        (spec,) = w.driver.launched
        assert spec.initrd is not None
        assert (spec.initrd.parent, spec.initrd.read_bytes()) == (w.config.root / "cache/boot", b"files")
        assert spec.kernel.parent == w.config.root / "cache/boot"
        assert (await w.engine.containers.inspect("c")).vm.kernel == w.spec_defaults["kernel"]

        initrd.unlink()
        os.mkfifo(initrd)
        await w.engine.containers.stop("c")
        with pytest.raises(InvalidArgument, match="not a regular file"):
            await w.engine.containers.start("c")

    tell(story)
