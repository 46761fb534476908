"""Memory, CPU and process limits by cgroup, version 1, version 2, both, or neither.

One group for each VM, ``hyper/<id>``, in every hierarchy that carries a wanted controller.  Where those are depends
on who we are: root uses the top of a hierarchy, anybody else the group that was delegated to us (version 2; systemd
does it with ``Delegate=yes``).  What cannot be limited on a machine is said in ``Cgroups.not_limited`` instead of
being an error.  Sources: cgroups(7), the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

CONTROLLERS = ("memory", "cpu", "pids")
PARENT = "hyper"
CPU_PERIOD_US = 100_000
# The kernel's smallest quota (admin-guide/scheduler/sched-bwc).
_MIN_QUOTA_US = 1_000
# The leaf that this process moves to where its own group is to have children (version 2: no inner processes).
_OWN_LEAF = "hyperd"
_CREATE_ATTEMPTS = 8


@dataclass(frozen=True)
class Mount:
    """One mounted hierarchy.  ``root`` is the group that the mount shows as its top."""

    point: Path
    version: int
    controllers: frozenset[str]
    root: str = "/"


@dataclass(frozen=True)
class Hierarchy:
    """Where groups can be made, and for what."""

    parent: Path
    version: int
    controllers: frozenset[str]


@dataclass(frozen=True)
class Cgroup:
    """The groups of one VM, by path, so that a later process can hold them again."""

    paths: tuple[Path, ...] = ()

    def add(self, pid: int) -> None:
        """Moves a process with all its threads here.  Memory it has already is charged where it was."""
        for path in self.paths:
            _write(path / "cgroup.procs", str(pid))

    def oom_killed(self) -> bool:
        """Whether the kernel killed a process here because of the memory limit."""
        for path in self.paths:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    for line in (path / name).read_text().splitlines():
                        key, _, value = line.partition(" ")
                        if key == "oom_kill" and value != "0":
                            return True
        return False

    def remove(self) -> None:
        """Removes the groups, whose processes have ended, and their parents when these are empty."""
        for path in self.paths:
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()
            with contextlib.suppress(OSError):
                path.parent.rmdir()


@dataclass(frozen=True)
class Cgroups:
    """What this machine lets us limit."""

    hierarchies: tuple[Hierarchy, ...] = ()
    not_limited: tuple[str, ...] = field(default=())

    @classmethod
    def detect(cls, proc: Path = Path("/proc/self")) -> Self:
        """Tries every controller by making a group; leaves nothing behind."""
        mounts = _read_mounts(proc)
        own = _read_own(proc)
        found: dict[Path, Hierarchy] = {}
        missing: list[str] = []
        for controller in CONTROLLERS:
            mount = _carrier(mounts, controller)
            if mount is None:
                missing.append(f"{controller}: no cgroup hierarchy has this controller")
                continue
            try:
                parent = _usable_parent(mount, own, controller)
            except OSError as error:
                missing.append(f"{controller}: {error.strerror or error}: {error.filename or mount.point}")
                continue
            known = found[parent].controllers if parent in found else frozenset()
            found[parent] = Hierarchy(parent, mount.version, known | {controller})
        return cls(tuple(found.values()), tuple(missing))

    def named(self, name: str) -> Cgroup:
        """The group with this name, which need not exist."""
        return Cgroup(tuple(hierarchy.parent / name for hierarchy in self.hierarchies))

    def create(
        self,
        name: str,
        *,
        memory_bytes: int | None = None,
        cpus: float | None = None,
        pids: int | None = None,
    ) -> Cgroup:
        """A new group with these limits; raises ``OSError``, and then there is none."""
        group = self.named(name)
        made: list[Path] = []
        try:
            for hierarchy, path in zip(self.hierarchies, group.paths, strict=True):
                _make(path, hierarchy.controllers if hierarchy.version == 2 else frozenset())
                made.append(path)
                for file, value in settings(
                    hierarchy.version, hierarchy.controllers, memory_bytes=memory_bytes, cpus=cpus, pids=pids
                ).items():
                    _write(path / file, value)
        except OSError:
            Cgroup(tuple(made)).remove()
            raise
        return group


@functools.cache
def here() -> Cgroups:
    """What this process may limit, found out once."""
    return Cgroups.detect()


def hasten(proc: Path = Path("/proc/self")) -> None:
    """Has processes moved at once for a while: who moves the first has to wait until every CPU has passed a quiescent
    state, 6 to 10 ms, and whoever is soon after it has not (kernel/cgroup/cgroup.c: cgroup_threadgroup_rwsem,
    kernel/rcu/sync.c).  This moves our process to where it is.  Blocks for that time; fails silently."""
    own = _read_own(proc)
    for mount in _read_mounts(proc):
        names = {""} if mount.version == 2 else mount.controllers
        path = next((own[name] for name in names if name in own), "")
        if path.startswith(mount.root):
            group = mount.point / os.path.relpath(path, mount.root)
            with contextlib.suppress(OSError):
                _write(group / "cgroup.procs", str(os.getpid()))
                return


def settings(
    version: int,
    controllers: frozenset[str],
    *,
    memory_bytes: int | None,
    cpus: float | None,
    pids: int | None,
) -> Mapping[str, str]:
    """The files to write in a group, in order."""
    quota = None if cpus is None else max(_MIN_QUOTA_US, round(cpus * CPU_PERIOD_US))
    wanted: dict[str, str] = {}
    if memory_bytes is not None and "memory" in controllers:
        wanted["memory.limit_in_bytes" if version == 1 else "memory.max"] = str(memory_bytes)
    if quota is not None and "cpu" in controllers:
        if version == 1:
            wanted["cpu.cfs_period_us"] = str(CPU_PERIOD_US)
            wanted["cpu.cfs_quota_us"] = str(quota)
        else:
            wanted["cpu.max"] = f"{quota} {CPU_PERIOD_US}"
    if pids is not None and "pids" in controllers:
        wanted["pids.max"] = str(pids)
    return wanted


def parse_mountinfo(text: str) -> Iterator[Mount]:
    """The cgroup mounts of ``/proc/PID/mountinfo`` (proc(5)); version 2 tells its controllers elsewhere."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) < 5 or len(right) < 3 or right[0] not in ("cgroup", "cgroup2"):
            continue
        version = 1 if right[0] == "cgroup" else 2
        options = frozenset(right[2].split(",")) if version == 1 else frozenset()
        yield Mount(Path(_unescape(left[4])), version, options, _unescape(left[3]))


def parse_own(text: str) -> dict[str, str]:
    """``/proc/PID/cgroup``: controller (``""`` is version 2) to the path of our group."""
    own: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            own[name] = path
    return own


def _unescape(text: str) -> str:
    """mountinfo's octal escapes."""
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, plain)
    return text


def _read_mounts(proc: Path) -> list[Mount]:
    mounts: list[Mount] = []
    with contextlib.suppress(OSError):
        for mount in parse_mountinfo((proc / "mountinfo").read_text()):
            if mount.version == 2:
                with contextlib.suppress(OSError):
                    names = frozenset((mount.point / "cgroup.controllers").read_text().split())
                    mounts.append(Mount(mount.point, 2, names, mount.root))
            else:
                mounts.append(mount)
    return mounts


def _read_own(proc: Path) -> dict[str, str]:
    try:
        return parse_own((proc / "cgroup").read_text())
    except OSError:
        return {}


def _carrier(mounts: list[Mount], controller: str) -> Mount | None:
    """A controller is in one hierarchy at a time, though that can be mounted more than once."""
    return next((mount for mount in mounts if controller in mount.controllers), None)


def _usable_parent(mount: Mount, own: Mapping[str, str], controller: str) -> Path:
    """The ``hyper`` group below which groups with ``controller`` can be made; ``OSError`` says why not."""
    tops = [mount.point]
    path = own.get("" if mount.version == 2 else controller, "/")
    if path != "/":
        tops.append(mount.point / os.path.relpath(path, mount.root))
    problem = OSError(f"no group under {mount.point} is ours")
    for top in tops:
        try:
            if mount.version == 1:
                return _tried(top / PARENT, frozenset())
            group = _with_controller(top, controller, own_group=top != mount.point)
            return _tried(group / PARENT, frozenset({controller}))
        except OSError as error:
            problem = error
    raise problem


def _with_controller(group: Path, controller: str, *, own_group: bool) -> Path:
    """``group``, giving ``controller`` to its children (version 2)."""
    if own_group and group.name == _OWN_LEAF:
        group = group.parent  # where an earlier run moved this process to make room
    if controller in (group / "cgroup.subtree_control").read_text().split():
        return group
    if own_group and (group / "cgroup.procs").read_text().split() == [str(os.getpid())]:
        leaf = group / _OWN_LEAF
        leaf.mkdir(exist_ok=True)
        _write(leaf / "cgroup.procs", str(os.getpid()))
    _write(group / "cgroup.subtree_control", f"+{controller}")
    return group


def _tried(parent: Path, controllers: frozenset[str]) -> Path:
    """``parent``, after a group below it was made and removed again."""
    probe = parent / f"probe-{os.getpid()}"
    _make(probe, controllers)
    Cgroup((probe,)).remove()
    return parent


def _make(path: Path, controllers: frozenset[str]) -> None:
    """Makes a group whose parent hands ``controllers`` (version 2) down to it.

    The parent is made if need be; another process may remove it meanwhile, because it is empty.
    """
    for attempt in range(_CREATE_ATTEMPTS):
        path.parent.mkdir(exist_ok=True)
        try:
            if controllers:
                handed_down = (path.parent / "cgroup.subtree_control").read_text().split()
                for controller in sorted(controllers.difference(handed_down)):
                    _write(path.parent / "cgroup.subtree_control", f"+{controller}")
            path.mkdir()
        except FileNotFoundError:
            if attempt == _CREATE_ATTEMPTS - 1:
                raise
        else:
            return


def _write(path: Path, value: str) -> None:
    """One write(2), as the files of a cgroup want it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, f"cannot write {value!r}: {error.strerror}", str(path)) from error
    finally:
        os.close(fd)
