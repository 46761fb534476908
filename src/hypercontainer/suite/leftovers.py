"""Looking at what others make and remove meanwhile: processes, cgroups, files of a hyperd that runs.

A listing is old when its entries are read.  What has gone in between was not there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def listed(directory: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(directory)
    return []


def content(path: Path) -> bytes:
    """Of a file; nothing where it has gone (a process's: ESRCH, too)."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return path.read_bytes()
    return b""


def processes() -> Iterator[Path]:
    """The folder of each in proc(5)."""
    return (Path("/proc", name) for name in os.listdir("/proc") if name.isdigit())


def of_user(uid: int) -> set[int]:
    """Processes of a user that have not ended."""
    found = set()
    for entry in processes():
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_uid == uid and state(entry) not in ("", "Z"):
                found.add(int(entry.name))
    return found


def state(entry: Path) -> str:
    """The letter of proc(5), of a process's folder; none where it has gone."""
    return content(entry / "stat").decode().rpartition(")")[2][1:2]


def children(pid: int | str = "self") -> set[int]:
    """Of all threads of a process; zombies too."""
    tasks = Path(f"/proc/{pid}/task")
    return {int(child) for task in listed(tasks) for child in content(tasks / task / "children").split()}


def groups() -> set[Path]:
    """The cgroups of VMs, in each hierarchy."""
    parents = [place / "hyper" for place in (CGROUPS, *(CGROUPS / name for name in listed(CGROUPS)))]
    return {parent / name for parent in parents for name in listed(parent) if (parent / name).is_dir()}


def small_files(place: Path, size: int) -> Iterator[Path]:
    """The files below ``place`` that are smaller."""
    for folder, _, names in os.walk(place):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_size < size:
                    yield path


def descriptors() -> list[str]:
    """What this process has open."""
    links = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            links.append(os.readlink(entry).partition(":")[0])
    return sorted(links)
