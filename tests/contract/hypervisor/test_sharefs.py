"""The server of volumes that several VMs write to: two guests, by hand and without VMs, on one directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import fuse_guest
from fuse_guest import GETLK, INTERRUPT, ROOT, SETLK, SETLKW, FuseError, FuseGuest, guest_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's files have other owners")
READS, WRITES, FREE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def one(place: Path, tmp_path: Path) -> Iterator[FuseGuest]:
    with guest_of(place, tmp_path) as guest:
        yield guest


@pytest.fixture
def two(place: Path, tmp_path: Path) -> Iterator[FuseGuest]:
    with guest_of(place, tmp_path) as guest:
        yield guest


@contextlib.contextmanager
def refused(*numbers: int) -> Iterator[None]:
    with pytest.raises(FuseError) as caught:
        yield
    assert caught.value.errno in numbers


def test_what_one_writes_the_other_reads(one: FuseGuest, two: FuseGuest) -> None:
    made, ours = one.create("f")
    found = two.lookup("f")
    theirs = two.open(found.node)
    for number in range(50):
        text = f"{number:08}".encode()
        assert one.write(made.node, ours, text) == len(text)
        assert two.read(found.node, theirs) == text
    assert two.lookup("f").size == 8


def test_appending_is_at_the_end_that_there_is(one: FuseGuest, two: FuseGuest, place: Path) -> None:
    """Both believe it to be where it was."""
    made, ours = one.create("log")
    found = two.lookup("log")
    theirs = two.open(found.node)
    for _ in range(20):
        one.write(made.node, ours, b"one\n", 0, os.O_APPEND)
        two.write(found.node, theirs, b"two\n", 0, os.O_APPEND)
    assert (place / "log").read_text() == "one\ntwo\n" * 20


@as_root
def test_owners_and_modes_are_the_files_own(one: FuseGuest, place: Path) -> None:
    place.chmod(0o2775)
    os.chown(place, 0, 50)
    made, _ = one.create("f", mode=0o640, uid=1000, gid=1000)
    assert (made.uid, made.gid, stat.S_IMODE(made.mode)) == (1000, 50, 0o640)  # the directory's group
    valid = 1 << 0 | 1 << 1 | 1 << 2  # mode, uid, gid
    wish = struct.pack("<IIQQQQQQIIIIIIII", valid, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0o4755, 0, 70, 71, 0)
    changed = fuse_guest.attributes(one.ask(fuse_guest.SETATTR, made.node, wish))
    assert (changed.uid, changed.gid, stat.S_IMODE(changed.mode)) == (70, 71, 0o4755)
    device = struct.pack("<4I", stat.S_IFCHR | 0o666, 0x103, 0, 0) + b"null\0"
    with refused(errno.EPERM):
        one.ask(fuse_guest.MKNOD, ROOT, device)
    one.ask(
        fuse_guest.MKNOD, ROOT, struct.pack("<4I", stat.S_IFIFO | 0o600, 0, 0, 0) + b"pipe\0", uid=5, gid=6
    )
    assert stat.S_ISFIFO((place / "pipe").stat().st_mode)
    assert (place / "pipe").stat().st_uid == 5


def test_renaming_replaces_at_once(one: FuseGuest, two: FuseGuest, place: Path) -> None:
    (place / "a").write_text("a")
    for number in range(30):
        _, handle = one.create(f"new{number}")
        one.write(one.lookup(f"new{number}").node, handle, b"%d" % number)
        one.rename(f"new{number}", "a")
        found = two.lookup("a")
        assert two.read(found.node, two.open(found.node, os.O_RDONLY)) == b"%d" % number
    (place / "b").write_text("b")
    one.rename("a", "b", 2)  # RENAME_EXCHANGE
    assert (place / "a").read_text() == "b"
    with refused(errno.EEXIST):
        two.rename("a", "b", 1)  # RENAME_NOREPLACE
    with refused(errno.EINVAL):
        two.rename("a", "b", 4)  # RENAME_WHITEOUT


def test_who_is_slower_makes_no_other_file(one: FuseGuest, two: FuseGuest) -> None:
    one.create("f")
    with refused(errno.EEXIST):
        two.create("f", flags=os.O_RDWR | os.O_EXCL)
    with refused(errno.ESTALE):  # its guest looks whether that user may open it
        two.create("f", uid=1000, gid=1000)
    two.create("f")


def test_locks_hold_between_guests(one: FuseGuest, two: FuseGuest) -> None:
    made, ours = one.create("f")
    node, handle = two.lookup("f").node, two.open(two.lookup("f").node)
    one.answer(one.lock(SETLK, made.node, ours, WRITES, to=99))
    with refused(errno.EAGAIN):
        two.answer(two.lock(SETLK, node, handle, WRITES, at=50))
    two.answer(two.lock(SETLK, node, handle, WRITES, at=100))
    told = two.answer(two.lock(GETLK, node, handle, READS))
    assert struct.unpack("<QQII", told)[:3] == (0, 99, WRITES)
    one.answer(one.lock(SETLK, made.node, ours, FREE, to=99))
    two.answer(two.lock(SETLK, node, handle, WRITES))
    # An owner who closes the file has no lock on it any more.
    two.ask(fuse_guest.FLUSH, node, struct.pack("<QIIQ", handle, 0, 0, 1))
    one.answer(one.lock(SETLK, made.node, ours, WRITES))
    # Two owners of one guest keep each other away as well.
    with refused(errno.EAGAIN):
        one.answer(one.lock(SETLK, made.node, ours, WRITES, owner=2))


@pytest.mark.parametrize("whole", [False, True], ids=["fcntl", "flock"])
def test_who_waits_for_a_lock_holds_up_nobody(one: FuseGuest, two: FuseGuest, whole: bool) -> None:
    made, ours = one.create("f")
    node, handle = two.lookup("f").node, two.open(two.lookup("f").node)
    one.answer(one.lock(SETLK, made.node, ours, WRITES, whole=whole))
    waiting = {two.lock(SETLKW, node, handle, WRITES, owner=7, whole=whole): (handle, 7)}
    if not whole:  # of flock it is the open file that has one
        other = two.open(node)
        waiting[two.lock(SETLKW, node, other, WRITES, owner=8)] = (other, 8)
    assert all(two.waits(each) for each in waiting)
    assert two.lookup("f").node == node
    one.answer(one.lock(SETLK, made.node, ours, FREE, whole=whole))
    # Which of the two has it is the host's to say: each waits in a thread of its own.
    held, owner = waiting.pop(two.first(waiting))
    for rest in waiting:
        assert two.waits(rest)
        two.answer(two.lock(SETLK, node, held, FREE, owner=owner))
        two.answer(rest)


@pytest.mark.parametrize("whole", [False, True], ids=["fcntl", "flock"])
def test_who_waits_for_a_lock_can_be_ended(one: FuseGuest, two: FuseGuest, whole: bool) -> None:
    made, ours = one.create("f")
    node, handle = two.lookup("f").node, two.open(two.lookup("f").node)
    one.answer(one.lock(SETLK, made.node, ours, WRITES, whole=whole))
    for _ in range(20):
        waiting = two.lock(SETLKW, node, handle, WRITES, whole=whole)
        two.submit(INTERRUPT, 0, struct.pack("<Q", waiting))
        with refused(errno.EINTR):
            two.answer(waiting)
    one.answer(one.lock(SETLK, made.node, ours, FREE, whole=whole))
    two.answer(two.lock(SETLK, node, handle, WRITES, whole=whole))


def test_locks_go_with_the_guest(place: Path, tmp_path: Path, two: FuseGuest) -> None:
    with guest_of(place, tmp_path) as one:
        made, ours = one.create("f")
        one.answer(one.lock(SETLK, made.node, ours, WRITES))
        node, handle = two.lookup("f").node, two.open(two.lookup("f").node)
        waiting = two.lock(SETLKW, node, handle, WRITES)
        assert two.waits(waiting)
    two.answer(waiting)


def test_no_name_and_no_link_leads_out(one: FuseGuest, place: Path) -> None:
    (place / "out").symlink_to("/proc/self/fd")
    (place / "up").symlink_to("..")
    for name in ("..", ".", "a/b", "../x", ""):
        with refused(errno.EINVAL):
            one.lookup(name)
    out = one.lookup("out")
    assert stat.S_ISLNK(out.mode)
    assert one.ask(fuse_guest.READLINK, out.node) == b"/proc/self/fd"
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_TRUNC):
        with refused(errno.ELOOP):
            one.open(out.node, flags)
    with refused(errno.EINVAL):
        one.lookup("x", out.node)
    os.mkfifo(place / "pipe")
    with refused(errno.ENXIO):
        one.open(one.lookup("pipe").node, os.O_RDONLY)
    with refused(errno.EOPNOTSUPP):
        one.ask(fuse_guest.SETXATTR, ROOT, struct.pack("<II", 1, 0) + b"security.capability\0x")


def test_what_is_only_read_stays_as_it_is(place: Path, tmp_path: Path) -> None:
    (place / "f").write_text("x")
    with guest_of(place, tmp_path, read_only=True) as guest:
        with refused(errno.EROFS):
            guest.create("g")
        found = guest.lookup("f")
        with refused(errno.EROFS):
            guest.open(found.node)
        handle = guest.open(found.node, os.O_RDONLY)
        assert guest.read(found.node, handle) == b"x"
        guest.answer(guest.lock(SETLK, found.node, handle, READS))


def test_nonsense_is_refused_and_ends_nobody_else(one: FuseGuest, two: FuseGuest, place: Path) -> None:
    """Seeded; a server may end, by which its VM does, but answers or ends."""
    made, handle = one.create("f")
    dice = random.Random(14)
    for _ in range(3000):
        code = dice.choice([*range(1, 52), 4096])
        node = dice.choice([0, ROOT, made.node, 2, 77, 2**64 - 1])
        arguments = bytearray(dice.randbytes(dice.choice([0, 1, 8, 16, 40, 64, 200])))
        if len(arguments) >= 8 and dice.random() < 0.5:
            struct.pack_into("<Q", arguments, 0, dice.choice([0, 1, handle, 2, 9]))
        if code in (
            INTERRUPT,
            fuse_guest.FORGET,
            42,
            38,
            SETLKW,
        ):  # who answers nothing, or begins anew, or waits
            continue
        with contextlib.suppress(FuseError):
            one.ask(code, node, bytes(arguments), room=dice.choice([0, 16, 160, 4096]))
    assert stat.S_ISDIR(fuse_guest.attributes(two.ask(fuse_guest.GETATTR, ROOT, bytes(16))).mode)
    assert {path.parent for path in place.rglob("*")} <= {place, *(p for p in place.rglob("*") if p.is_dir())}
