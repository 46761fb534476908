"""QEMU as the kernel sees it: nobody, without privileges, limited, and with nothing open but what its guest needs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

import busybox_image
from audit import daemon_pid, kill_process, vm_record
from hyper import Hyper
from ordinary_user import ordinary_hyper
from passing import CGROUPS

pytestmark = pytest.mark.needs("qemu")

BUSYBOX = busybox_image.REFERENCE
MIB = 1 << 20
NO_CAPABILITIES = "0" * 16


def status(pid: int) -> dict[str, list[str]]:
    """``/proc/PID/status`` (proc(5)): name to words."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def variables(pid: int) -> set[str]:
    """The names in a process's environment."""
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return {word.partition("=")[0] for word in words if word}


def limit(identifier: str, controller: str, name_v1: str, name_v2: str) -> list[str]:
    """What a VM's cgroup says, in version 1 or 2."""
    one, two = CGROUPS / controller / "hyper" / identifier[:12] / name_v1, None
    for top in (CGROUPS, CGROUPS / "unified"):
        two = top / "hyper" / identifier[:12] / name_v2
        if two.exists():
            return two.read_text().split()
    return one.read_text().split()


def members(identifier: str, controller: str) -> set[int]:
    return {int(word) for word in limit(identifier, controller, "cgroup.procs", "cgroup.procs")}


def test_two_vms_are_two_users_without_any_privilege(hyper: Hyper) -> None:
    for name in ("a", "b"):
        hyper("run", "-d", "--name", name, "-m", "64m", "--cpus", "0.5", BUSYBOX, "sleep", "1000")
    pids = [hyper.vm_pid(name) for name in ("a", "b")]
    users = set()
    for pid in pids:
        found = status(pid)
        uids, gids = set(found["Uid"]), set(found["Gid"])
        assert len(uids) == len(gids) == 1
        assert "0" not in uids | gids
        users |= uids
        assert found["Groups"] == []
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert found[name] == [NO_CAPABILITIES], name
        assert (found["NoNewPrivs"], found["Seccomp"]) == (["1"], ["2"])
        assert variables(pid) <= {"MALLOC_ARENA_MAX", "LD_PRELOAD"}
        assert "Max core file size        0                    0 " in Path(f"/proc/{pid}/limits").read_text()
    assert len(users) == 2


def test_limits_are_set_and_the_vm_is_under_them(hyper: Hyper) -> None:
    limits = ("-m", "64m", "--cpus", "0.5", "--network", "user")
    identifier = hyper.out("run", "-d", *limits, BUSYBOX, "sleep", "1000")
    pids = {hyper.vm_pid(identifier), *(one["pid"] for one in vm_record(hyper, identifier)["helpers"])}
    assert len(pids) == 2  # and its network's
    for controller in ("memory", "cpu", "pids"):
        assert members(identifier, controller) == pids
    (memory,) = limit(identifier, "memory", "memory.limit_in_bytes", "memory.max")
    assert 64 * MIB < int(memory) < (64 + 320) * MIB
    quota = limit(identifier, "cpu", "cpu.cfs_quota_us", "cpu.max")[0]
    assert int(quota) == 50_000  # all that there is for the VM and what helps it
    (tasks,) = limit(identifier, "pids", "pids.max", "pids.max")
    assert int(tasks) <= 1024


def test_nothing_is_open_that_is_not_needed(hyper: Hyper) -> None:
    identifier = hyper.out("run", "-d", "-p", "127.0.0.1::80", BUSYBOX, "sleep", "1000")
    pid = hyper.vm_pid(identifier)
    vm = hyper.inspect(identifier)["VM"]
    own, kernel = hyper.root / "containers" / identifier / "disk.img", vm["Kernel"]
    words = hyper.run_dir / "pods" / identifier[:12] / "stderr"
    layers = f"{hyper.root}/layers/"
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith(("socket:", "anon_inode:", "/memfd:")) or target in (
            "/dev/null",
            "/dev/net/tun",  # its tap device
            str(words),
            str(own),
        ):
            continue
        flags = int(Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().split("flags:")[1].split()[0], 8)
        assert flags & os.O_ACCMODE == os.O_RDONLY, target
        assert target.startswith(layers) or target == kernel or target.endswith(".cpio"), target


def test_its_user_can_reach_nothing(hyper: Hyper) -> None:
    if os.geteuid() != 0:
        pytest.fail("needs root")
    identifier = hyper.out("run", "-d", BUSYBOX, "sleep", "1000")
    (uid,) = set(status(hyper.vm_pid(identifier))["Uid"])
    run_dir = hyper.run_dir / "pods" / identifier[:12]
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    others = (hyper.root / "containers" / identifier / "disk.img", run_dir / "qmp.sock", "/etc/shadow")
    for path in (*others, hyper.root / "state.db", hyper.run_dir / "hyper.sock"):
        assert Path(path).exists()
        for mode in ("-r", "-w"):
            as_it = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "test", mode, str(path)]
            assert subprocess.run(as_it).returncode == 1, path


class TakenOver:
    """A QEMU that does what we say: its control socket, which has one peer, once hyperd is dead."""

    def __init__(self, hyper: Hyper, name: str) -> None:
        self._control = socket.socket(socket.AF_UNIX)
        self._control.settimeout(60)
        self._control.connect(
            str(hyper.run_dir / "pods" / hyper.out("inspect", "-f", "{{.Id}}", name)[:12] / "qmp.sock")
        )
        kill_process(daemon_pid(hyper))
        self._lines = self._control.makefile("rwb", buffering=0)
        assert b"QMP" in self._lines.readline()
        assert self.order("qmp_capabilities") == ""

    def order(self, command: str, **arguments: object) -> str:
        """What QEMU says of its failure, "" where it has done it."""
        said = {"execute": command, "arguments": arguments}
        self._lines.write(json.dumps(said).encode() + b"\n")
        while "event" in (answer := json.loads(self._lines.readline())):
            pass
        return str(answer["error"]["desc"]) if "error" in answer else ""

    def open(self, path: Path | str, **options: object) -> str:
        return self.order(
            "blockdev-add", **{"driver": "file", "node-name": "n", "filename": str(path), **options}
        )

    def make(self, path: Path | str) -> str:
        return self.order("chardev-add", id="c", backend={"type": "file", "data": {"out": str(path)}})

    def connect(self, **address: object) -> str:
        backend = {"type": "socket", "data": {"addr": address_of(**address), "server": False}}
        return self.order("chardev-add", id="s", backend=backend)

    def close(self) -> None:
        self._lines.close()
        self._control.close()


def address_of(**data: object) -> dict[str, object]:
    return {"type": "unix" if "path" in data else "inet", "data": data}


FILES = ("/etc/passwd", "/proc/1/cmdline", "/proc/self/maps", "/bin/busybox")
MADE = ("/tmp/hyper-made", "/made", "/names/made", "/dev/shm/hyper-made")
REFUSALS = ("No such file", "Read-only", "denied", "Failed to", "not supported")


def refused(answer: str) -> bool:
    return any(word in answer for word in REFUSALS)


def attack(hyper: Hyper, home: Path) -> None:
    """In place of its guest we tell a QEMU what to do: it opens nothing of the host's, makes nothing, meets nobody."""
    hyper("run", "-d", "--name", "open", BUSYBOX, "sleep", "1000")
    hyper("run", "-d", "--name", "shut", "--network", "none", BUSYBOX, "sleep", "1000")
    abstract = f"hyper-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener, socket.create_server(("127.0.0.1", 0)) as server:
        listener.bind(f"\0{abstract}")
        listener.listen()
        for name in ("open", "shut"):
            with contextlib.closing(TakenOver(hyper, name)) as taken:
                for path in (*FILES, hyper.root / "state.db"):
                    assert refused(taken.open(path, **{"read-only": True})), path
                    assert refused(taken.open(path)), path
                for path in (*MADE, home / ".hyper-made"):
                    assert refused(taken.make(path)), path
                    assert not Path(path).exists()
                assert refused(taken.connect(path=str(hyper.run_dir / "hyper.sock")))
                assert refused(taken.connect(path=abstract, abstract=True))
                assert refused(taken.connect(host="127.0.0.1", port=str(server.getsockname()[1])))
            assert hyper.out("exec", name, "echo", "unharmed") == "unharmed"


def test_one_that_is_taken_over_opens_nothing_of_the_hosts(own_hyper: Hyper) -> None:
    attack(own_hyper, Path.home())


def test_nor_does_an_ordinary_users() -> None:
    with ordinary_hyper('[machine]\nhypervisor = "qemu"\n') as hyper:
        hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
        assert "a root of its own" in hyper("doctor", check=False).stdout.decode()
        attack(hyper, hyper.base / "home")
