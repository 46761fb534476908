"""Kernels and initrds that users name: opened with the rights of who asks, and copied before anything else sees them.

A copy is a regular file of ours, by the hash of its content: what becomes of the user's file afterwards holds nothing
up and changes nothing.  The copies that were used last stay, and all that may be about to be opened.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from hypercontainer.engine import files
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.linux import disk
from hypercontainer.linux.users import User, open_regular

MAX_BYTES = 1 << 30
KEPT = 16
SPARED_S = 600  # one that was asked for since then may be about to be opened
CHUNK_BYTES = 1 << 20

_State = tuple[int, int, int, int, int]


class BootFiles:
    """``place``: a directory for the copies, made when there is one.  Methods block; threads may be many."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known: dict[_State, Path] = {}
        self._making: set[Path] = set()
        self._lock = (
            threading.Lock()
        )  # of what is known and of the copies' names; nothing slow is done under it

    def check(self, field: str, path: str, user: User | None) -> None:
        """That ``user`` (None: this process) may read it, and that it can be one; InvalidArgument, NotFound."""
        os.close(self._open(field, path, user))

    def copy(self, field: str, path: str, user: User | None) -> Path:
        """What it holds now, in a file that stays for ten minutes at least."""
        fd = self._open(field, path, user)
        try:
            state = _state(fd)
            with self._lock:
                known = self._known.get(state)
                if known is not None and known.exists():
                    os.utime(known)
                    return known
            try:
                return self._made(fd, state)
            except OSError as error:
                raise disk.unavailable(f"cannot copy {path}", self._place, error) from error
        finally:
            os.close(fd)

    def _open(self, field: str, path: str, user: User | None) -> int:
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(repr(path), field=field, takes="an absolute path on hyperd's host")
        try:
            fd = open_regular(path, user)
        except FileNotFoundError:
            raise NotFound(f"{field} {path}: there is no such file on hyperd's host") from None
        except PermissionError:
            raise InvalidArgument(f"{path}: whoever asks for it may not read it", field=field) from None
        except OSError as error:
            raise InvalidArgument(f"{path}: {error.strerror or error}", field=field) from None
        size = os.fstat(fd).st_size
        if not 0 < size <= MAX_BYTES:
            os.close(fd)
            raise InvalidArgument(
                f"{path}: {size} bytes", field=field, takes=f"at most {MAX_BYTES}, and some"
            )
        return fd

    def _made(self, fd: int, state: _State) -> Path:
        files.make_private(self._place)
        with tempfile.NamedTemporaryFile(dir=self._place, prefix=".new-", delete=False) as file:
            new = Path(file.name)
            self._making.add(new)
            try:
                target = self._place / _copied(fd, file)
                with self._lock:
                    os.utime(new)  # writing may have ended long ago
                    new.chmod(0o755)  # a kernel may be a program; nobody else gets into the directory
                    new.replace(target)
                    self._forget_oldest(target)
                    self._known = {key: kept for key, kept in self._known.items() if kept.exists()}
                    if _state(fd) == state:  # else what was copied is none of both
                        self._known[state] = target
                return target
            except BaseException:
                new.unlink(missing_ok=True)
                raise
            finally:
                self._making.discard(new)

    def _forget_oldest(self, but: Path) -> None:
        """But for those that are used or made now."""
        with suppress(OSError):
            used = {
                path: path.stat().st_mtime
                for path in self._place.iterdir()
                if path != but and path not in self._making
            }
            for path in sorted(used, key=used.__getitem__)[: -KEPT + 1]:
                if used[path] < time.time() - SPARED_S:
                    path.unlink()


def _copied(fd: int, file: IO[bytes]) -> str:
    """All of it, as hexadecimal digits of its SHA-256; OSError where the disk gets too full."""
    total, size = hashlib.sha256(), 0
    while data := os.pread(fd, CHUNK_BYTES, size):
        size += len(data)
        if size > MAX_BYTES:  # it grows
            raise OSError("it has become too long")
        disk.keep_room(file.fileno())
        total.update(data)
        file.write(data)
    file.flush()
    return total.hexdigest()


def _state(fd: int) -> _State:
    """Changes with what is in the file."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
