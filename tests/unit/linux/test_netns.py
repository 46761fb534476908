"""A namespace that is kept: what is made in it, that it is found again, and that nothing is left of it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hypercontainer.linux import netns
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Identity, boot_id
from kept_space import DEADLINE_S, gone, holds, inside, kept_space
from private_host import entered
from until import until

USER = 12345
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF = 0x0002 | 0x1000 | 0x4000  # TAP, NO_PI, VNET_HDR

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "space"


@pytest.fixture
def space(folder: Path) -> Iterator[Namespace]:
    with kept_space(folder) as made:
        yield made


def test_a_socket_is_of_the_namespace(space: Namespace) -> None:
    with (
        space.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own,
    ):
        one.bind(("127.0.0.1", 0))
        own.bind(one.getsockname())  # which is free here
        with entered(space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as beside:
            beside.sendto(b"hello", one.getsockname())
        one.settimeout(DEADLINE_S)
        assert one.recv(10) == b"hello"
        assert not one.get_inheritable()
    with pytest.raises(OSError, match="Address family not supported") as caught:
        space.socket(99, socket.SOCK_DGRAM)
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_a_tap_device_lasts_until_nobody_has_it(space: Namespace) -> None:
    fd = netns.tap(space.control, "t0")
    assert not os.get_inheritable(fd)
    assert inside(space) == {"lo", "t0"}
    with pytest.raises(OSError, match="busy"):
        netns.tap(space.control, "t0")
    os.close(fd)
    assert inside(space) == {"lo", "t0"}
    space.drop("t0")
    until(lambda: inside(space) == {"lo"}, "the device is gone")
    again = netns.tap(space.control, "t0")
    space.drop("t0")
    assert inside(space) == {"lo", "t0"}
    os.close(again)
    until(lambda: inside(space) == {"lo"}, "the device is gone")


def test_one_that_lasts_is_the_next_ones_once_it_is_parted_from(space: Namespace) -> None:
    """Also while others that go keep its keeper busy."""
    fd = netns.tap(space.control, "lasts")
    fcntl.ioctl(fd, TUNSETPERSIST, 1)
    os.close(fd)
    others = [f"t{number}" for number in range(8)]
    for name in others:
        os.close(netns.tap(space.control, name))
    for name in others:
        space.drop(name)
    netns.part(space.control, "lasts")
    with netns.entered(space.pid), open("/dev/net/tun", "r+b", buffering=0) as tun:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"lasts", IFF))
        fcntl.ioctl(tun, TUNSETPERSIST, 0)
    with pytest.raises(FileNotFoundError):
        netns.part(space.control, "lasts")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("x" * 15, 0),
        ("x" * 16, errno.ENAMETOOLONG),
        ("lo", errno.EINVAL),
        ("", errno.EINVAL),
        ("a b", errno.EINVAL),
        ("a ", errno.EINVAL),
        ("a/b", errno.EINVAL),
        ("..", errno.EINVAL),
    ],
)
def test_names_of_tap_devices(space: Namespace, name: str, number: int) -> None:
    if number == 0:
        os.close(netns.tap(space.control, name))
        assert inside(space) == {"lo", name}
        return
    with pytest.raises(OSError) as caught:
        os.close(netns.tap(space.control, name))
    assert caught.value.errno == number
    assert inside(space) == {"lo"}
    holds(space, 0)


def test_settings_are_the_namespaces(space: Namespace) -> None:
    setting, own = (
        Path("/proc/sys/net/ipv4/ip_default_ttl"),
        Path("/proc/sys/net/ipv4/ip_default_ttl").read_text(),
    )
    space.set("ipv4/ip_default_ttl", 77)
    with entered(space):
        assert setting.read_text() == "77\n"
    assert setting.read_text() == own
    for name, number in [
        ("ipv4/no_such", errno.ENOENT),
        ("../kernel/hostname", errno.EINVAL),
        ("ipv4/../../kernel/hostname", errno.EINVAL),
        ("/proc/sys/kernel/hostname", errno.EINVAL),
        ("ipv4", errno.EISDIR),
        ("", errno.EINVAL),
    ]:
        with pytest.raises(OSError) as caught:
            space.set(name, 1)
        assert caught.value.errno == number, name
    with pytest.raises(OSError, match="Invalid argument"):
        space.set("ipv4/ip_default_ttl", "no number")  # and no value with a space in it
    with pytest.raises(OSError, match="Invalid argument"):
        space.set("ipv4/ip_default_ttl", "7777")


def test_what_is_kept_is_had_again(space: Namespace) -> None:
    assert space.take("pipe") is None
    space.drop("pipe")  # nothing happens
    reads, writes = os.pipe()
    space.keep("pipe", writes)
    os.close(writes)
    for data in (b"one", b"two"):
        again = space.take("pipe")
        assert again is not None
        assert not os.get_inheritable(again)
        os.write(again, data)
        os.close(again)
    assert os.read(reads, 10) == b"onetwo"
    space.drop("pipe")
    assert os.read(reads, 1) == b""  # nobody has it any more
    assert space.take("pipe") is None
    os.close(reads)


def test_what_is_kept_takes_the_place_of_what_had_its_name(space: Namespace) -> None:
    first, second = os.pipe(), os.pipe()
    space.keep("x", first[1])
    space.keep("x", second[1])
    os.close(first[1])
    os.close(second[1])
    assert os.read(first[0], 1) == b""
    again = space.take("x")
    assert again is not None
    os.write(again, b"second")
    assert os.read(second[0], 10) == b"second"
    holds(space, 1)
    for fd in (first[0], second[0], again):
        os.close(fd)


def test_it_is_found_again_by_who_did_not_make_it(space: Namespace) -> None:
    assert Namespace.find(space.folder) == space
    assert space.alive()


def test_where_none_was_made_none_is_found(folder: Path) -> None:
    assert Namespace.find(folder) is None
    assert not folder.exists()


def test_after_its_keeper_was_killed_it_is_not_found_and_nothing_is_left(folder: Path) -> None:
    space = Namespace.start(folder, user=False)
    pidfd = os.pidfd_open(space.pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)  # nobody has reaped it yet
    os.close(pidfd)
    assert not space.alive()
    with pytest.raises(ConnectionRefusedError):
        space.take("x")
    assert Namespace.find(folder) is None
    gone(space)
    space.end()  # nothing happens


@pytest.mark.parametrize("written", [None, b"", b"{", b'{"pid": 1}', b"[]", b"\xff"])
def test_a_keeper_that_nobody_has_written_down_ends(folder: Path, written: bytes | None) -> None:
    """As where hyperd was killed in between."""
    space = Namespace.start(folder, user=False)
    (folder / netns.KEEPER).unlink()
    if written is not None:
        (folder / netns.KEEPER).write_bytes(written)
    assert Namespace.find(folder) is None
    os.waitid(os.P_PID, space.pid, os.WEXITED)
    gone(space)


def test_another_process_of_its_number_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    other = Identity(os.getpid(), 1, boot_id())
    (folder / netns.KEEPER).write_bytes(msgspec.json.encode(other))
    assert Namespace.find(folder) is None
    assert not folder.exists()


def test_a_folder_that_is_there_is_not_taken(folder: Path) -> None:
    folder.mkdir()
    (folder / "something").touch()
    with pytest.raises(FileExistsError):
        Namespace.start(folder, user=False)
    assert os.listdir(folder) == ["something"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'netns: unshare: Operation not permitted' >&2; exit 1", "unshare: Operation not permitted"),
        ("exit 1", "."),
        ("exec sleep 60 3>&-", "."),
    ],
)
def test_a_keeper_that_cannot_begin_says_why_and_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    program = tmp_path / "netns"
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(netns, "PROGRAM", program)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=words):
        Namespace.start(folder, user=False)
    assert not folder.exists()
    assert set(os.listdir("/proc/self/fd")) == before
    pid = Path(tmp_path / "pid")
    assert not pid.exists() or not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_one_that_says_nothing_is_given_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "netns"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(netns, "PROGRAM", program)
    monkeypatch.setattr(netns, "DEADLINE_S", 0.2)
    with pytest.raises(OSError, match=r"."):
        Namespace.start(folder, user=False)
    assert not folder.exists()


AS_USER = """
import os, socket, struct, sys
from pathlib import Path
from hypercontainer.linux import netns
from hypercontainer.linux.netns import Namespace
os.setgroups([])
os.setgid({user})
os.setuid({user})
space = Namespace.start(Path(sys.argv[1]) / "space", user=True)
try:
    if os.access("/dev/net/tun", os.R_OK | os.W_OK):
        os.close(netns.tap(space.control, "t0"))
    space.set("ipv4/ip_forward", 1)
    with space.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 53))
    print(os.readlink(f"/proc/{{space.pid}}/ns/user") != os.readlink("/proc/self/ns/user"))
    print(Path(f"/proc/{{space.pid}}/uid_map").read_text().split())
finally:
    space.end()
print(os.listdir(sys.argv[1]))
"""


def test_an_ordinary_user_has_one_in_a_user_namespace(tmp_path: Path) -> None:
    limit = Path("/proc/sys/user/max_user_namespaces")
    if limit.exists() and limit.read_text().strip() == "0":
        pytest.skip("this machine gives ordinary users no namespaces")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    for parent in [home, *home.parents]:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o711)
    done = subprocess.run(
        [sys.executable, "-c", AS_USER.format(user=USER), str(home)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S * 2,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip(f"this machine gives ordinary users no namespaces: {done.stderr.splitlines()[-1]}")
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["True", f"['0', '{USER}', '1']", "[]"]
