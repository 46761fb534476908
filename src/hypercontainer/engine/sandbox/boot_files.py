"""Kernels and initrds that users name: opened with the rights of who asks, and copied before anything else sees them.

A copy is a regular file of ours, by the hash of its content: what becomes of the user's file afterwards holds nothing
up and changes nothing.  The copies that were used last stay.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from hypercontainer.engine import files
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.linux import disk
from hypercontainer.linux.users import User, open_regular

MAX_BYTES = 1 << 30
KEPT = 16
CHUNK_BYTES = 1 << 20

_State = tuple[int, int, int, int, int]


class BootFiles:
    """``place``: a directory for the copies, made when there is one.  Methods block; threads may be many."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known: dict[_State, Path] = {}
        self._lock = threading.Lock()

    def check(self, field: str, path: str, user: User | None) -> None:
        """That ``user`` (None: this process) may read it, and that it can be one; InvalidArgument, NotFound."""
        os.close(self._open(field, path, user))

    def copy(self, field: str, path: str, user: User | None) -> Path:
        """What it holds now."""
        fd = self._open(field, path, user)
        try:
            state = _state(fd)
            with self._lock:
                known = self._known.get(state)
                if known is not None and known.exists():
                    os.utime(known)
                    return known
                try:
                    made = self._copied(fd)
                except OSError as error:
                    raise disk.unavailable(f"cannot copy {path}", self._place, error) from error
                self._known = {state: made} | {
                    key: kept for key, kept in self._known.items() if kept.exists()
                }
                return made
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

    def _copied(self, fd: int) -> Path:
        files.make_private(self._place)
        total, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self._place, prefix=".new-", delete=False) as file:
            try:
                while data := os.pread(fd, CHUNK_BYTES, size):
                    size += len(data)
                    if size > MAX_BYTES:  # it grows
                        raise OSError("it has become too long")
                    total.update(data)
                    file.write(data)
                file.flush()
                target = self._place / total.hexdigest()
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        self._forget_oldest(target)
        return target

    def _forget_oldest(self, but: Path) -> None:
        with suppress(OSError):
            there = sorted(
                (path for path in self._place.iterdir() if path != but), key=lambda path: path.stat().st_mtime
            )
            for path in there[: -KEPT + 1]:
                path.unlink()


def _state(fd: int) -> _State:
    """Changes with what is in the file."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
