"""Files and directories of the host: nobody shares what they could not use themselves."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hypercontainer.contract.volumes import HostPath, NetworkDisk
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound, Unavailable
from hypercontainer.linux.users import User, as_user, peer
from hypercontainer.volume.host import resolve
from hypercontainer.volume.images import check
from hypercontainer.volume.network import credentials

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as other users")
USER = User(12_345, 12_345)
MEMBER = User(12_345, 12_345, (777,))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that anybody may enter, which pytest's own are not."""
    with TemporaryDirectory() as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        yield path


def made(path: Path, mode: int, uid: int = 0, gid: int = 0) -> Path:
    if path.name.startswith("d"):
        path.mkdir()
    else:
        path.write_bytes(bytes(512))
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def test_what_is_found_is_named_by_where_it_is(tmp_path: Path) -> None:
    folder = made(tmp_path / "dir", 0o755, os.geteuid(), os.getegid())
    (tmp_path / "link").symlink_to(tmp_path / "dir")
    file = made(folder / "file", 0o644, os.geteuid(), os.getegid())
    assert resolve(HostPath(str(tmp_path / "link"))) == folder
    assert resolve(HostPath(f"{tmp_path}/link/../link/file")) == file
    assert resolve(HostPath(str(folder), "directory")) == folder
    assert resolve(HostPath(str(file), "file")) == file


@pytest.mark.parametrize("path", ["", "dir", "./dir", "/a\0b", "/" + "a/" * 3000])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(InvalidArgument, match="absolute"):
        resolve(HostPath(path))


def test_what_is_there_is_what_is_expected(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    for expect in ("", "directory", "file"):
        with pytest.raises(NotFound, match="folder"):
            resolve(HostPath(str(folder), expect))
    with pytest.raises(InvalidArgument, match="expected"):
        resolve(HostPath(str(folder), "Directory"))
    folder.mkdir()
    file.touch()
    for expect in ("file", "file-or-create"):
        with pytest.raises(Conflict, match="a directory, not a file"):
            resolve(HostPath(str(folder), expect))
    for expect in ("directory", "directory-or-create"):
        with pytest.raises(Conflict, match="a file, not a directory"):
            resolve(HostPath(str(file), expect))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidArgument, match="neither"):
        resolve(HostPath(str(tmp_path / "fifo")))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Unavailable, match="loop"):
        resolve(HostPath(str(tmp_path / "loop")))


def test_what_is_missing_is_made_where_it_is_said(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        folder = resolve(HostPath(str(tmp_path / "a/b"), "directory-or-create"))
        file = resolve(HostPath(str(tmp_path / "a/file"), "file-or-create"))
        with pytest.raises(NotFound):
            resolve(HostPath(str(tmp_path / "none/file"), "file-or-create"))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (folder.parent, folder, file)] == [0o755, 0o755, 0o644]
    (folder / "kept").touch()
    assert resolve(HostPath(str(folder), "directory-or-create")) == folder
    assert (folder / "kept").exists()


@as_root
def test_what_is_made_belongs_to_who_asks_and_only_where_they_may(place: Path) -> None:
    home = made(place / "dir-home", 0o700, USER.uid, USER.gid)
    folder = resolve(HostPath(str(home / "a/b"), "directory-or-create"), user=USER)
    file = resolve(HostPath(str(home / "a/c"), "file-or-create"), user=USER)
    for path in (folder.parent, folder, file):
        assert (path.stat().st_uid, path.stat().st_gid) == (USER.uid, USER.gid)
    for expect in ("directory-or-create", "file-or-create"):
        with pytest.raises(InvalidArgument, match="may not"):
            resolve(HostPath(str(place / "theirs"), expect), user=USER)
    assert not (place / "theirs").exists()


@as_root
def test_nobody_shares_what_they_may_not_use(place: Path) -> None:
    closed = made(place / "dir-closed", 0o700)
    inside = made(closed / "dir-inside", 0o777)
    others = made(place / "dir-others", 0o755)
    group = made(place / "dir-group", 0o770, 0, 777)
    secret, readable = made(place / "secret", 0o600), made(place / "readable", 0o644)
    for path in (closed, inside, secret, group):
        for write in (False, True):
            with pytest.raises(InvalidArgument, match="may not"):
                resolve(HostPath(str(path)), user=USER, write=write)
        resolve(HostPath(str(path)), user=User(0, 0), write=True)
        resolve(HostPath(str(path)), user=None, write=True)
    for path in (others, readable):
        resolve(HostPath(str(path)), user=USER, write=False)
        with pytest.raises(InvalidArgument, match="may not read and write"):
            resolve(HostPath(str(path)), user=USER, write=True)
    resolve(HostPath(str(group)), user=MEMBER, write=True)
    (place / "link").symlink_to(inside)
    with pytest.raises(InvalidArgument, match="may not"):
        resolve(HostPath(str(place / "link")), user=USER, write=False)
    only_list = made(place / "dir-list", 0o754)
    with pytest.raises(InvalidArgument, match="may not"):
        resolve(HostPath(str(only_list)), user=USER, write=False)


@as_root
def test_nobodys_disk_is_opened_for_somebody_else(place: Path) -> None:
    secret, readable = made(place / "secret", 0o600), made(place / "readable", 0o644)
    with pytest.raises(InvalidArgument, match="may not"):
        check(str(secret), "raw", write=False, user=USER)
    with pytest.raises(InvalidArgument, match="may not read and write"):
        check(str(readable), "raw", user=USER)
    assert check(str(readable), "raw", write=False, user=USER).size_bytes == 512
    assert check(str(secret), "raw").size_bytes == 512


@as_root
def test_acting_as_somebody_is_one_threads_business(place: Path) -> None:
    threads = threading.active_count()
    groups = os.getgroups()
    made(place / "secret", 0o600)

    def ids() -> str:
        text = Path("/proc/thread-self/status").read_text()
        return "\n".join(
            line for line in text.splitlines() if line.startswith(("Uid", "Gid", "Groups", "CapEff"))
        )

    before = ids()
    inside = as_user(MEMBER, ids)
    assert "Groups:\t777" in inside
    assert "Uid:\t0\t0\t0\t12345" in inside
    assert ids() == before
    assert os.getgroups() == groups
    with pytest.raises(PermissionError):
        as_user(USER, (place / "secret").read_bytes)
    assert (place / "secret").read_bytes()
    assert threading.active_count() == threads


def test_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer(ours) == User(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def test_hyperds_and_the_kernels_own_are_nobodys(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "volumes").mkdir(parents=True)
    beside = tmp_path / "beside"
    beside.mkdir()
    (tmp_path / "link").symlink_to(root / "volumes")
    (tmp_path / "run").symlink_to(root)
    for path in (root, root / "volumes", tmp_path / "link", tmp_path, tmp_path.parent):
        with pytest.raises(InvalidArgument, match="hyperd's own"):
            resolve(HostPath(str(path)), forbidden=(tmp_path / "run",))
    assert resolve(HostPath(str(beside)), forbidden=(root,)) == beside
    for path in (
        Path("/proc"),
        Path("/proc/self/cwd/../../proc"),
        Path("/sys/kernel"),
        Path("/dev/shm"),
        Path("/"),
    ):
        with pytest.raises(HyperError):
            resolve(HostPath(str(path)), write=False)


def test_what_hyperd_has_open_is_no_way_round(tmp_path: Path) -> None:
    for path in (tmp_path / "file", tmp_path / "dir"):
        made(path, 0o755, os.geteuid(), os.getegid())
        fd = os.open(path, os.O_RDONLY)
        try:
            (tmp_path / f"link-{path.name}").symlink_to(f"/proc/self/fd/{fd}")
            for way in (f"/proc/self/fd/{fd}", str(tmp_path / f"link-{path.name}")):
                with pytest.raises(Unavailable, match="symbolic links"):
                    resolve(HostPath(way))
        finally:
            os.close(fd)


@as_root
def test_what_is_secret_is_read_with_the_rights_of_who_asks(place: Path) -> None:
    word = made(place / "word", 0o640, 0, 777)
    word.write_bytes(b"a word")
    disk = NetworkDisk("iscsi://h/", user="u", password_file=str(word))
    assert credentials(disk, MEMBER) == (("password", b"a word"),)
    with pytest.raises(InvalidArgument, match="whoever asks for it may not read it"):
        credentials(disk, USER)
    hidden = made(place / "dir", 0o700)
    (hidden / "ca-cert.pem").touch()
    with pytest.raises(InvalidArgument, match="may not read"):
        credentials(NetworkDisk("nbds://h/", tls_certificates=str(hidden)), USER)
