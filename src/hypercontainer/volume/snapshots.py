"""Snapshots of a volume: copies of its disk, beside it.

    NAME/snapshots/SNAPSHOT.img    its disk as it was, made at the file's time
    NAME/snapshots/.new-*          being made, or being put in the disk's place

A snapshot has its name only once it is whole and on disk, and a disk is replaced by a whole one; so ``kill -9`` at any
moment leaves a good volume, and what was half-made is swept when the store is opened.  On a file system that can, a
copy shares what is on the disk with the volume until one of them is written to; else it takes what the volume takes.
Functions block, and raise ``OSError`` where nothing else is said.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Remedy, Unavailable
from hypercontainer.linux import disk, sparse

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
SNAPSHOTS_MAX = 64  # of a volume
FOLDER, SUFFIX = "snapshots", ".img"
_NEW = ".new-"


@dataclass(frozen=True)
class Kept:
    name: str
    path: Path
    stat: os.stat_result


def kept(folder: Path) -> list[Kept]:
    """Of the volume in ``folder``, the oldest first."""
    try:
        entries = list(os.scandir(folder / FOLDER))
    except FileNotFoundError:
        return []
    found = []
    for entry in entries:
        name = entry.name.removesuffix(SUFFIX)
        if name != entry.name and NAME.fullmatch(name) and entry.is_file(follow_symlinks=False):
            found.append(Kept(name, Path(entry.path), entry.stat()))
    return sorted(found, key=lambda each: (each.stat.st_mtime_ns, each.name))


def find(folder: Path, name: str) -> Path:
    """NotFound."""
    path = folder / FOLDER / f"{name}{SUFFIX}"
    if not NAME.fullmatch(name) or not path.is_file():
        volume = folder.name
        remedy = Remedy("volumes.snapshots", volume, aim="to see them")
        raise NotFound(f"volume {volume} has no snapshot {name}", remedies=[remedy])
    return path


def check_new(folder: Path, name: str | None) -> str:
    """The name, or one by the time of day; InvalidArgument, Conflict, Unavailable."""
    present = {each.name for each in kept(folder)}
    if name is None:
        name = wanted = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        number = 1
        while name in present:
            number += 1
            name = f"{wanted}-{number}"
    if not NAME.fullmatch(name):
        raise InvalidArgument(
            f"snapshot name {name!r}: a letter or digit, then up to 127 of these and '_', '.', '-'"
        )
    volume = folder.name
    remedy = Remedy("volumes.remove_snapshot", volume)
    if name in present:
        raise Conflict(f"volume {volume} has a snapshot {name} already", remedies=[remedy])
    if len(present) >= SNAPSHOTS_MAX:
        raise Unavailable(
            f"volume {volume} has {SNAPSHOTS_MAX} snapshots, and takes no more", remedies=[remedy]
        )
    return name


def copy(source: Path, folder: Path) -> Path:
    """A new file for the volume in ``folder`` with all of ``source``, on disk, without a name of a snapshot yet:
    whoever gets it keeps it or removes it.  ENOSPC before the host's disk is full."""
    (folder / FOLDER).mkdir(mode=0o700, exist_ok=True)
    fd, made = tempfile.mkstemp(prefix=_NEW, dir=folder / FOLDER)
    try:
        with source.open("rb", buffering=0) as reader:
            if not sparse.clone(reader.fileno(), fd):
                sparse.copy(reader.fileno(), fd, lambda: disk.keep_room(fd))
        os.fsync(fd)
    except BaseException:
        os.unlink(made)  # noqa: PTH108
        raise
    finally:
        os.close(fd)
    return Path(made)


def keep(copied: Path, name: str) -> Kept:
    """It is the snapshot of this name now.  Conflict where somebody was quicker."""
    path = copied.with_name(f"{name}{SUFFIX}")
    try:
        path.hardlink_to(copied)
    except FileExistsError:
        raise Conflict(f"volume {path.parent.parent.name} has a snapshot {name} already") from None
    copied.unlink()
    disk.flush(path.parent)
    return Kept(name, path, path.stat())


def put(copied: Path, target: Path) -> None:
    """In the place of a volume's disk, which keeps its size where that is larger."""
    if copied.stat().st_size < (size_bytes := target.stat().st_size):
        os.truncate(copied, size_bytes)
        disk.flush(copied)
    copied.chmod(target.stat().st_mode & 0o777)
    copied.replace(target)
    disk.flush(target.parent)


def sweep(folder: Path) -> None:
    """What a killed process has left."""
    for left in (folder / FOLDER).glob(f"{_NEW}*"):
        left.unlink(missing_ok=True)
