"""Kernel and initrd where a QEMU of another user's can read them: as they are, where everybody may, or a copy.

libvirt hands QEMU their paths.  A copy is kept in a folder that everybody may enter, by what its file was then, and the
oldest make room.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from hypercontainer.errors import Unavailable

MAX_KEPT = 16
# Of root, where its own folders are closed to others.
PUBLIC = Path("/var/cache/hyper-libvirt")
_UNFINISHED = ".new-"
_BEGUN_S = 5.0  # from a file's making to its lock


def readable(path: Path, folders: Sequence[Path]) -> Path:
    """The path of it where everybody may read it, or that of its copy in the first of the ``folders`` that everybody
    can enter.  Raises ``OSError``, and ``Unavailable`` where there is none."""
    with path.open("rb") as file:
        if path.stat().st_mode & stat.S_IROTH and _enterable(path.resolve().parent):
            return path
        info = os.fstat(file.fileno())
        key = f"{path} {info.st_ino} {info.st_size} {info.st_mtime_ns}"
        folder = _made(folders)
        copy = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}-{path.name[:64]}"
        with contextlib.suppress(FileNotFoundError):
            os.utime(copy)
            return copy
        try:
            _copy(file, copy)
        except OSError as error:
            raise Unavailable(
                f"{path.name} cannot be copied to {folder}, where QEMU's user can read it: {error.strerror}",
                hint="make room there, or name another storage pool of libvirt's in the driver's settings: pool",
            ) from error
    _make_room(folder, copy)
    return copy


def _copy(file: BinaryIO, copy: Path) -> None:
    """It is there whole or not at all.  Who makes it has its file locked: one that is not is of a hyperd's that was
    killed, and in nobody's way.  (A storage pool may be on a file system that has no files without a name.)"""
    with tempfile.NamedTemporaryFile(dir=copy.parent, prefix=_UNFINISHED, delete=False) as new:
        try:
            fcntl.flock(new, fcntl.LOCK_EX)
            shutil.copyfileobj(file, new)
            os.fchmod(new.fileno(), 0o444)
            new.flush()
            Path(new.name).replace(copy)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def _enterable(folder: Path) -> bool:
    """By any user."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


def _made(folders: Sequence[Path]) -> Path:
    for folder in folders:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o711)
        if _enterable(folder):
            return folder
    raise Unavailable(
        f"QEMU's user cannot enter {' or '.join(map(str, folders))}, where kernels are copied to",
        hint="name a storage pool of libvirt's in the driver's settings: pool",
    )


def _make_room(folder: Path, newest: Path) -> None:
    """A pool has others' files too."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError), path.open("r+b") as file:  # BlockingIOError: it is being made
            if time.time() - path.stat().st_mtime > _BEGUN_S:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
    ours = [copy for copy in folder.iterdir() if len(copy.name.partition("-")[0]) == 24 and copy != newest]
    for copy in sorted(ours, key=lambda copy: copy.stat().st_mtime_ns)[: 1 - MAX_KEPT]:
        copy.unlink(missing_ok=True)
