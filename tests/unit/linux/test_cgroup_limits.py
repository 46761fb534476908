"""Cgroups of both versions on directory trees that look like them, and on the real ones where they are ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hypercontainer.linux import cgroup as module
from hypercontainer.linux.cgroup import Cgroup, Cgroups, Mount, parse_mountinfo, parse_own, settings

MOUNTINFO = """\
30 25 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:16 - cgroup cgroup rw,cpu,cpuacct
36 30 0:32 /docker/abc /sys/fs/cgroup/odd\\040name rw master:17 - cgroup cgroup rw,memory
this is no mount
"""


def test_mounts() -> None:
    assert list(parse_mountinfo(MOUNTINFO)) == [
        Mount(Path("/sys/fs/cgroup/unified"), 2, frozenset()),
        Mount(Path("/sys/fs/cgroup/cpu,cpuacct"), 1, frozenset({"rw", "cpu", "cpuacct"})),
        Mount(Path("/sys/fs/cgroup/odd name"), 1, frozenset({"rw", "memory"}), "/docker/abc"),
    ]


def test_own_groups() -> None:
    text = "4:memory:/a/b:c\n1:cpu,cpuacct:/\n0::/user.slice\n"
    assert parse_own(text) == {"memory": "/a/b:c", "cpu": "/", "cpuacct": "/", "": "/user.slice"}


def test_settings_of_both_versions() -> None:
    every = frozenset({"memory", "cpu", "pids"})
    assert settings(1, every, memory_bytes=100, cpus=1.5, pids=9) == {
        "memory.limit_in_bytes": "100",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "150000",
        "pids.max": "9",
    }
    assert settings(2, every, memory_bytes=100, cpus=0.001, pids=9) == {
        "memory.max": "100",
        "cpu.max": "1000 100000",
        "pids.max": "9",
    }
    assert settings(2, frozenset({"memory"}), memory_bytes=None, cpus=1, pids=9) == {}


FILES = {
    1: ("cgroup.procs", "memory.limit_in_bytes", "cpu.cfs_period_us", "cpu.cfs_quota_us", "pids.max"),
    2: ("cgroup.procs", "cgroup.subtree_control", "memory.max", "cpu.max", "pids.max"),
}


class Tree:
    """A directory that makes the files of a cgroup with each directory and takes them away with it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.proc = root / "proc"
        self.mounts: list[str] = []
        self.own: list[str] = []
        mkdir = Path.mkdir

        def make(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            mkdir(path, mode, parents, exist_ok)
            for version in (1, 2):
                if path.is_relative_to(root / f"v{version}"):
                    for name in FILES[version]:
                        (path / name).touch()

        def remove(path: Path) -> None:
            if [entry for entry in path.iterdir() if entry.is_dir()]:
                raise OSError("not empty")
            shutil.rmtree(path)

        monkeypatch.setattr(Path, "mkdir", make)
        monkeypatch.setattr(Path, "rmdir", remove)
        mkdir(self.proc)

    def mount(self, version: int, controllers: str) -> Path:
        point = self.root / f"v{version}" / controllers.replace(" ", "-")
        point.mkdir(parents=True)
        if version == 2:
            (point / "cgroup.controllers").write_text(controllers)
            self.mounts.append(f"1 2 0:1 / {point} rw - cgroup2 cgroup2 rw")
        else:
            self.mounts.append(f"1 2 0:1 / {point} rw - cgroup cgroup rw,{controllers}")
        return point

    def detect(self) -> Cgroups:
        (self.proc / "mountinfo").write_text("\n".join(self.mounts))
        (self.proc / "cgroup").write_text("\n".join(self.own))
        return Cgroups.detect(self.proc)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    return Tree(tmp_path, monkeypatch)


def read(path: Path) -> str:
    return path.read_text().strip()


def test_version_1(tree: Tree) -> None:
    points = [tree.mount(1, name) for name in ("memory", "cpu", "pids")]
    cgroups = tree.detect()
    assert cgroups.not_limited == ()
    group = cgroups.create("a", memory_bytes=100, cpus=2, pids=7)
    assert group.paths == tuple(point / "hyper" / "a" for point in points)
    group.add(42)
    assert [read(path / "cgroup.procs") for path in group.paths] == ["42"] * 3
    assert read(group.paths[0] / "memory.limit_in_bytes") == "100"
    group.remove()
    group.remove()
    assert not any((point / "hyper").exists() for point in points)


def test_version_2_hands_controllers_down(tree: Tree) -> None:
    point = tree.mount(2, "cpu memory pids")
    cgroups = tree.detect()
    assert cgroups.not_limited == ()
    group = cgroups.create("a", memory_bytes=100, cpus=0.5, pids=7)
    assert group.paths == (point / "hyper" / "a",)
    assert read(group.paths[0] / "memory.max") == "100"
    assert read(group.paths[0] / "cpu.max") == "50000 100000"
    assert read(group.paths[0] / "pids.max") == "7"
    # The kernel keeps a list; the tree keeps what was written last.
    assert read(point / "hyper" / "cgroup.subtree_control").startswith("+pids")


@pytest.mark.parametrize(("version", "names"), [(1, "memory"), (1, "cpu,cpuacct"), (2, "memory cpu")])
def test_to_hasten_moves_leaves_us_where_we_are(tree: Tree, version: int, names: str) -> None:
    point = tree.mount(version, names)
    (point / "us").mkdir()
    tree.own = ["9:other:/nowhere", f"0:{names if version == 1 else ''}:/us"]
    tree.detect()
    module.hasten(tree.proc)
    assert read(point / "us/cgroup.procs") == str(os.getpid())
    assert read(point / "cgroup.procs") == ""


def test_to_hasten_moves_where_nothing_can_be_moved(tree: Tree) -> None:
    tree.mount(1, "memory")
    tree.own = ["0:memory:/gone", "0:cpu:/us"]
    tree.detect()
    module.hasten(tree.proc)
    own = Path("/proc/self/cgroup").read_text()
    module.hasten()
    assert Path("/proc/self/cgroup").read_text() == own


def test_a_hybrid_machine(tree: Tree) -> None:
    memory = tree.mount(1, "memory")
    unified = tree.mount(2, "cpu hugetlb")
    cgroups = tree.detect()
    assert [line.partition(":")[0] for line in cgroups.not_limited] == ["pids"]
    group = cgroups.create("a", memory_bytes=100, cpus=1, pids=7)
    assert set(group.paths) == {memory / "hyper" / "a", unified / "hyper" / "a"}


def test_a_machine_without_cgroups_says_what_is_not_limited(tree: Tree) -> None:
    cgroups = tree.detect()
    assert [line.partition(":")[0] for line in cgroups.not_limited] == ["memory", "cpu", "pids"]
    group = cgroups.create("a", memory_bytes=100, cpus=1, pids=1)
    assert group == Cgroup()
    group.add(1)
    group.remove()
    assert not group.oom_killed()


def test_a_delegated_group_is_used_where_the_top_is_not_ours(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = tree.mount(2, "memory")
    own = point / "user" / "hyperd.service"
    own.mkdir(parents=True)
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n")
    tree.own.append("0::/user/hyperd.service")
    write = module._write

    def refuse_top(path: Path, value: str) -> None:
        if path.parent == point:
            raise PermissionError(13, "Permission denied", str(path))
        write(path, value)

    monkeypatch.setattr(module, "_write", refuse_top)
    cgroups = tree.detect()
    assert not any(line.startswith("memory") for line in cgroups.not_limited)
    assert cgroups.create("a", memory_bytes=1).paths == (own / "hyper" / "a",)
    # We made room: a group with processes of its own hands nothing down.
    assert read(own / "hyperd" / "cgroup.procs") == str(os.getpid())


def test_a_limit_that_is_refused_leaves_no_group(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    point = tree.mount(1, "memory")
    cgroups = tree.detect()
    write = module._write

    def refuse(path: Path, value: str) -> None:
        if path.name == "memory.limit_in_bytes":
            raise OSError(22, "Invalid argument", str(path))
        write(path, value)

    monkeypatch.setattr(module, "_write", refuse)
    with pytest.raises(OSError, match="Invalid argument"):
        cgroups.create("a", memory_bytes=1)
    assert not (point / "hyper").exists()


@pytest.mark.parametrize(
    ("name", "text", "killed"),
    [
        ("memory.events", "oom 1\noom_kill 1\n", True),
        ("memory.events", "oom 1\noom_kill 0\n", False),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", True),
        ("memory.oom_control", "oom_kill_disable 1\n", False),
    ],
)
def test_whether_the_limit_killed(tmp_path: Path, name: str, text: str, killed: bool) -> None:
    (tmp_path / name).write_text(text)
    assert Cgroup((tmp_path,)).oom_killed() is killed


def test_the_machine_we_are_on() -> None:
    """Whatever can be limited here holds a process, and nothing is left of it."""
    cgroups = Cgroups.detect()
    group = cgroups.create(f"test-{os.getpid()}", memory_bytes=64 << 20, cpus=0.5, pids=10)
    assert len(group.paths) == len(cgroups.hierarchies)
    process = subprocess.Popen(["sleep", "60"])
    try:
        group.add(process.pid)
        for path in group.paths:
            assert str(process.pid) in (path / "cgroup.procs").read_text().split()
    finally:
        process.kill()
        process.wait()
        group.remove()
    assert not any(path.exists() for path in group.paths)
