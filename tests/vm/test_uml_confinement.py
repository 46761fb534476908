"""A VM of User Mode Linux is one process of the host with its children: what a guest has that owns its kernel."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from hyper import Hyper
from hypercontainer.hypervisor.uml import program
from hypercontainer.linux.syscalls import X32_BIT, X86_64
from soak import rounds
from taken_over import TRAPPED, TakenOver

pytestmark = [
    pytest.mark.needs("user mode linux"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root takes a VM's process over"),
]

BUSYBOX = busybox_image.REFERENCE
REFUSED = {-errno.EPERM, -errno.ENOSYS}
# What starts or ends something, where this test could not go on: allowed, and so not tried.
PLAIN = {X86_64[name] for name in program.PLAIN}
WITH = {X86_64[name] for name, _, _ in program.WITH} | {
    X86_64[name] for name in ("socketpair", "prlimit64", "seccomp")
}
PROBES = {
    335,
    336,
}  # uretprobe and uprobe, which pass every filter, and do nothing but for the kernel's own probes
CLONE_NEWUSER, CLONE_VM_VFORK = 0x10000000, 0x4100
F_DUPFD, TIOCSTI, PR_SET_DUMPABLE, MFD_HUGETLB, FALLOC_KEEP_SIZE = 0, 0x5412, 4, 4, 1


@pytest.fixture
def pid(hyper: Hyper) -> Iterator[int]:
    """The process of a VM with a network."""
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    yield hyper.vm_pid("c")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_is_nobody_with_no_way_to_be_more(pid: int) -> None:
    for one in (pid, *children(pid)):
        lines = Path(f"/proc/{one}/status").read_text().splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        assert len(set(status["Uid"])) == 1
        assert int(status["Uid"][0]) >= 500_000
        assert all(
            int(status[name][0], 16) == 0 for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")
        )
        assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
        assert status["Groups"] == []
        for space in ("net", "pid", "mnt", "ipc", "uts"):
            assert Path(f"/proc/{one}/ns/{space}").readlink() != Path(f"/proc/self/ns/{space}").readlink()


def test_its_root_has_itself_and_its_network_nothing(pid: int) -> None:
    root = Path(f"/proc/{pid}/root")
    assert sorted(entry.name for entry in root.iterdir()) == ["dev", "linux", "proc"]
    assert [entry.name for entry in (root / "dev").iterdir()] == ["fd"]
    assert [str(entry.relative_to(root)) for entry in (root / "proc").rglob("*") if entry.is_dir()] == [
        "proc/self",
        "proc/self/fd",
    ]
    with pytest.raises(OSError, match="Read-only"):
        (root / "new").touch()
    interfaces = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def test_what_it_has_open_is_what_it_was_handed(hyper: Hyper, pid: int) -> None:
    own = str(hyper.base)
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        kinds = ("socket:", "anon_inode:", "/memfd:", "/dev/null", "/dev/net/tun", own)
        assert target.startswith(kinds) or target.endswith((".cpio", ".erofs")), target


def test_every_call_but_those_that_it_needs_is_refused(pid: int) -> None:
    """And of those, what they were not meant for."""
    with TakenOver(pid) as taken:
        allowed = PLAIN | WITH
        others = [number for number in range(max(X86_64.values()) + 16) if number not in allowed | PROBES]
        answers = {number: taken.call(number, 0, 0, 0, 0, 0, 0) for number in others}
        assert {number: answer for number, answer in answers.items() if answer not in REFUSED} == {}
        assert len(answers) > 300
        assert taken.call(X86_64["open"], b"/etc/passwd", os.O_RDONLY) == -errno.EPERM
        assert taken.call(X86_64["socket"], socket.AF_INET, socket.SOCK_STREAM, 0) == -errno.EPERM
        assert taken.call(X86_64["getpid"] | X32_BIT) == -errno.EPERM
        misused = {
            "clone": (CLONE_NEWUSER | CLONE_VM_VFORK,),
            "execveat": (-100, b"/linux", 0, 0, 0),
            "newfstatat": (-100, b"/linux", 0, 0),
            "sendto": (0, b"x", 1, 0, b"address", 16),
            "fcntl": (0, F_DUPFD, 0),
            "ioctl": (0, TIOCSTI, b"x"),
            "prctl": (PR_SET_DUMPABLE, 1),
            "arch_prctl": (0x1003, 0),
            "madvise": (0, 4096, 14),
            "fallocate": (0, FALLOC_KEEP_SIZE, 0, 4096),
            "kill": (-1, signal.SIGTERM),
            "tgkill": (1, 1, signal.SIGKILL),
            "memfd_create": (b"x", MFD_HUGETLB),
            "socketpair": (socket.AF_INET, socket.SOCK_STREAM, 0, 0),
            "prlimit64": (0, 7, b"\xff" * 16, 0),
            "seccomp": (0, 0, 0),
        }
        assert {name for name, _, _ in program.WITH} <= misused.keys()
        for name, arguments in misused.items():
            assert taken.call(X86_64[name], *arguments) == -errno.EPERM, name


def test_one_with_a_directory_of_the_host_may_say_that_there_is_something_to_do(
    hyper: Hyper, tmp_path: Path
) -> None:
    hyper("run", "-d", "--name", "c", "-v", f"{tmp_path}:/s", BUSYBOX, "sleep", "1000")
    with TakenOver(hyper.vm_pid("c")) as taken:
        assert taken.call(X86_64["eventfd2"], 0, os.EFD_SEMAPHORE) == -errno.EPERM
        assert taken.call(X86_64["eventfd2"], 0, 0) > 2
        assert taken.call(X86_64["open"], b"/", os.O_RDONLY) == -errno.EPERM


def test_the_processes_that_run_the_guests_are_no_freer(pid: int) -> None:
    """Nor as free: they make seven calls, and those from one page alone."""
    stub = children(pid)[-1]
    with TakenOver(stub) as taken:
        for name in (
            "open",
            "socket",
            "ptrace",
            "process_vm_readv",
            "kill",
            "clone",
            "execve",
            "mount",
            "getpid",
        ):
            assert taken.call(X86_64[name], 0, 0, 0, 0, 0, 0) == TRAPPED, name


def test_it_is_in_its_own_cgroup_with_all_its_children(hyper: Hyper, pid: int) -> None:
    groups = {Path(f"/proc/{one}/cgroup").read_text() for one in (pid, *children(pid))}
    assert len(groups) == 1
    identifier = hyper.inspect("c")["Id"][:12]
    assert f"/hyper/{identifier}" in groups.pop()


def test_bombs_stay_in_the_vm(hyper: Hyper, pid: int) -> None:
    """Of processes, of memory and of time; the host is as it was, and the VM answers afterwards."""
    many = rounds(short=400, soak=3000)
    forks = f"i=0; while [ $i -lt {many} ]; do sleep 20 & i=$((i+1)); done"
    hyper("exec", "c", "sh", "-c", forks, check=False)
    hyper("exec", "c", "sh", "-c", "tail /dev/zero", check=False)
    hyper("exec", "-d", "c", "sh", "-c", "while :; do :; done")
    assert hyper.out("exec", "c", "echo", "still here") == "still here"
    assert hyper.vm_pid("c") == pid
