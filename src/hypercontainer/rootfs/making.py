"""Files that are made once, by one of several that want them: each has its name only when it is whole and on disk.

    .../.NAME.part        being made, locked by whoever makes it

Whoever wants one that is being made waits for its maker's lock; the maker's death frees the lock, and the next one
starts over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hypercontainer.linux import disk

PART_SUFFIX = ".part"
SECTOR_BYTES = 512  # what st_blocks counts


@contextmanager
def making(path: Path, is_there: Callable[[], bool]) -> Iterator[int | None]:
    """A new, empty file that becomes ``path`` when the block ends well and vanishes otherwise; None once ``is_there``,
    maybe after a wait for another maker."""
    part = path.with_name(f".{path.name}{PART_SUFFIX}")
    with ExitStack() as stack:
        fd = _lock_part(path, part, is_there, stack)
        if fd is None:
            yield None
            return
        try:
            yield fd
            with _host_disk(path):
                os.fsync(fd)
                part.rename(path)
                os.fchmod(fd, 0o400)  # not sooner: others open the part to wait for its lock
                disk.flush(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)  # while it is locked, so that it is nobody else's
            raise


def _lock_part(path: Path, part: Path, is_there: Callable[[], bool], stack: ExitStack) -> int | None:
    """The descriptor of the locked ``part``, which ``stack`` closes; None once ``path`` is there.

    After a wait the locked file may have become ``path`` or have been removed, so it is looked at again.
    """
    while not is_there():
        with ExitStack() as attempt, _host_disk(path):
            fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            attempt.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _is_file(fd, part):
                continue
            if is_there():
                part.unlink()
                break
            os.ftruncate(fd, 0)
            stack.push(attempt.pop_all())
            return fd
    return None


def _is_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _host_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk.unavailable("cannot make a layer's image", path, error) from error


def remove(path: Path) -> int:
    """The bytes that are free then."""
    try:
        size = path.stat().st_blocks * SECTOR_BYTES
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def remove_abandoned(part: Path) -> int:
    """Remove a part whose maker is gone; one that is locked has a maker."""
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return remove(part) if _is_file(file.fileno(), part) else 0
    except (BlockingIOError, FileNotFoundError):
        return 0
