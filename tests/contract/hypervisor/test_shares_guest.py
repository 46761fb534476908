"""What a guest sees of a share, what it may do to it, and what it cannot do to the host."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.spec import P9, SHARED_FILE, VIRTIOFS, ShareSpec
from hypercontainer.linux.users import User
from hypercontainer.suite.linux import undisturbed

pytestmark = pytest.mark.vm
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as other users")

Run = Callable[[Callable[[Any], Awaitable[None]]], None]
Linux = Callable[..., dict[str, Any]]
Guest = Callable[..., str]
USER = User(12_345, 12_345)
MOUNT = {VIRTIOFS: "-t virtiofs", P9: "-t 9p -o trans=virtio,version=9p2000.L,cache=mmap"}
BEGIN, WAITING, END = "guest begins", "guest waits", "guest ends"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that anybody may enter, which pytest's own are not."""
    with TemporaryDirectory() as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        yield path


@pytest.fixture
def guest(run_sharing: Run, linux: Linux) -> Guest:
    """Runs a script in a guest's share, as root; what it said.  ``meanwhile`` is called once it waits."""

    def run(
        share: Path,
        script: str,
        *,
        read_only: bool = False,
        user: User | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> str:
        said: list[str] = []

        async def test(harness: Any) -> None:
            in_share = (
                f"mount {MOUNT[harness.filesystem]} share /mnt && cd /mnt && echo '{BEGIN}'\n( {script}\n) 2>&1\n"
                f"cd /; umount /mnt; echo '{END}'"
            )
            share_spec = ShareSpec("share", share, read_only, user)
            vm = await harness.launch(shares=(share_spec,), **linux(in_share, harness.accelerator))
            assert vm.record.shares == harness.filesystem
            if meanwhile is not None:
                async with asyncio.timeout(20):
                    while WAITING not in vm.console_tail():
                        await asyncio.sleep(0.01)
                meanwhile()
            ended = await vm.wait()
            assert ended.reason is ExitReason.GUEST_SHUTDOWN, ended
            said.append(undisturbed(ended.console).replace("\r\n", "\n"))

        run_sharing(test)
        assert f"{BEGIN}\n" in said[0], said[0]
        assert f"{END}\n" in said[0], said[0]
        return said[0].split(f"{BEGIN}\n")[1].split(f"{END}\n")[0]

    return run


def owner(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def test_files_go_both_ways(guest: Guest, place: Path) -> None:
    (place / "a").write_text("from the host\n")
    (place / "sub").mkdir()
    script = (
        "cat a; echo more >> a; mkdir -p new/dir; echo x > new/dir/file; mv new/dir/file sub/moved; ln a hard; "
        "ln -s a soft; rm sub/moved; chmod 640 a; dd if=/dev/zero of=big bs=1M count=8 2>/dev/null; sync; ls -1"
    )
    assert guest(place, script).split("\n") == ["from the host", "a", "big", "hard", "new", "soft", "sub", ""]
    assert (place / "a").read_text() == "from the host\nmore\n"
    assert (place / "a").stat().st_nlink == 2
    assert stat.S_IMODE((place / "a").stat().st_mode) == 0o640
    assert os.readlink(place / "soft") == "a"
    assert (place / "big").stat().st_size == 8 << 20
    assert (place / "new/dir").is_dir()
    assert not list((place / "sub").iterdir())


@as_root
def test_roots_share_keeps_owners(guest: Guest, place: Path) -> None:
    place.chmod(0o777)
    said = guest(
        place, "echo x > a; chown 5:6 a; su user -c 'echo x > b'; mkdir c; chown 7 c; stat -c %u:%g a b c"
    )
    assert said == "5:6\n99:98\n7:0\n"
    assert [owner(place / name) for name in "abc"] == [(5, 6), (99, 98), (7, 0)]


@as_root
def test_a_users_share_is_all_that_users(guest: Guest, place: Path) -> None:
    """Whoever a guest's process is: on the host it is the user who shares."""
    home = place / "home"
    home.mkdir()
    os.chown(home, USER.uid, USER.gid)
    (home / "theirs").mkdir()
    (home / "secret").write_text("of root\n")
    (home / "secret").chmod(0o600)
    (home / "readable").write_text("of root\n")
    script = (
        "cat secret; cat readable; echo x > readable; echo x > theirs/file; chmod 777 theirs . secret; "
        "echo x > a; su user -c 'echo x > b'; chown 5 a; chown 0:0 a && chmod 600 a && echo done; stat -c %u:%g a b"
    )
    said = guest(home, script, user=USER)
    assert said.count("can't open 'secret': Permission denied") == 1
    assert said.count("of root") == 1
    assert said.count("Permission denied") == 3
    assert said.count("Operation not permitted") == 3  # two modes of what is not theirs, an owner
    assert said.endswith("done\n0:0\n0:0\n")
    assert [owner(home / name) for name in "ab"] == [(USER.uid, USER.gid)] * 2
    assert owner(home / "secret") == (0, 0)
    assert (home / "readable").read_text() == "of root\n"
    assert not list((home / "theirs").iterdir())


def test_links_out_of_a_share_lead_nowhere(guest: Guest, place: Path) -> None:
    """To the guest they are links like any other, which it follows among its own files."""
    share = place / "share"
    share.mkdir()
    (place / "outside").write_text("of the host\n")
    (share / "absolute").symlink_to(place / "outside")
    (share / "relative").symlink_to("../outside")
    (share / "far").symlink_to("../../../../../../../../etc/hostname")
    (share / "up").symlink_to("..")
    (share / "fds").symlink_to("/proc/self/fd")
    (share / "inside").symlink_to("/etc/inside")
    script = (
        "cat absolute relative far; cat inside; ls up/ | grep outside; cat ../outside; cat up/outside; "
        "echo x > absolute; echo x > relative; echo x > ../made; ls fds/ > /dev/null && echo own; "
        "ln -s ../outside mine; cat mine; rm -r up; mkdir up; echo fine > up/file; cat up/file"
    )
    said = guest(share, script)
    assert "of the host" not in said
    assert said.count("No such file or directory") >= 4
    assert "inside\n" in said
    assert said.endswith("fine\n")
    assert (place / "outside").read_text() == "of the host\n"
    assert sorted(path.name for path in place.iterdir()) == ["outside", "share"]


def test_nothing_harmful_is_made_on_the_host(guest: Guest, place: Path) -> None:
    script = (
        "mknod c c 1 3; mknod b b 254 0; cp /bin/busybox suid; chmod 4755 suid; chmod 2755 suid; chmod 6755 suid; "
        "mknod p p && echo fifo; mkdir d; chmod 1777 d && echo sticky; stat -c %a suid"
    )
    said = guest(place, script)
    assert said.count("Operation not permitted") == 5
    assert said.endswith("fifo\nsticky\n755\n")
    assert not (place / "c").exists()
    assert not (place / "b").exists()
    assert stat.S_IMODE((place / "suid").stat().st_mode) == 0o755


def test_a_read_only_share_stays_as_it_is(guest: Guest, place: Path) -> None:
    (place / "a").write_text("as it was\n")
    (place / "a").chmod(0o666)
    before = (place / "a").stat()
    script = (
        "cat a; mount -o remount,rw /mnt; echo x > a; echo x > b; rm a; mv a c; chmod 600 a; chown 5 a; touch a; "
        "ln a d; mkdir e; truncate -s 0 a"
    )
    said = guest(place, script, read_only=True)
    assert said.startswith("as it was\n")
    assert said.count("Read-only file system") == 10
    assert [path.name for path in place.iterdir()] == ["a"]
    after = (place / "a").stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
    )


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_is_shared_alone(guest: Guest, place: Path, read_only: bool) -> None:
    (place / "beside").write_text("not shared\n")
    (place / "it").write_text("shared\n")
    script = f"ls -1a; cat {SHARED_FILE}; echo more >> {SHARED_FILE}; rm {SHARED_FILE}; echo x > other; ls -1"
    said = guest(place / "it", script, read_only=read_only)
    assert said.startswith(f".\n..\n{SHARED_FILE}\nshared\n")
    assert said.endswith(f"\n{SHARED_FILE}\n")
    assert "beside" not in said
    assert (place / "it").read_text() == ("shared\n" if read_only else "shared\nmore\n")
    assert sorted(path.name for path in place.iterdir()) == ["beside", "it"]


def test_what_the_host_changes_is_seen(guest: Guest, place: Path) -> None:
    """Also while the guest runs: it asks anew after a second."""
    script = f"ls -1; echo {WAITING}; until [ -e b ]; do sleep 0.1; done; cat b"

    def change() -> None:
        (place / "a").write_text("new\n")
        (place / "a").rename(place / "b")  # never there and still empty

    assert guest(place, script, meanwhile=change) == f"{WAITING}\nnew\n"
