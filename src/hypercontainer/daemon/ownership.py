"""What only one hyperd may have: its locks, its pid file, its socket.

The locks are flock(2)s: the kernel lets go of them however their holder dies, so what a killed hyperd left
behind (pid file, socket) can be told from what a living one uses.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from hypercontainer.errors import Conflict, Unavailable


@contextlib.contextmanager
def locked(directory: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Holds ``directory``'s hyperd.lock; raises Conflict, which names the holder, after ``wait_s``."""
    path = directory / "hyperd.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot open the lock {path}: {error.strerror}") from error
    with os.fdopen(fd, "r+") as file:
        if not _lock(fd, wait_s):
            pid = file.read(32).strip() or "unknown"
            raise Conflict(
                f"another hyperd, with pid {pid}, has {directory}",
                hint="use it, stop it, or choose another root and run directory",
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield  # the file stays: removing it would let two processes lock two files of one name


def _lock(fd: int, wait_s: float) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return wait_s > 0 and _lock_within(fd, wait_s)
    return True


def _lock_within(fd: int, wait_s: float) -> bool:
    """flock(2) has no timeout: an alarm breaks it off.  For the main thread, before the event loop."""

    def expired(*_: object) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, expired)
    try:
        signal.setitimer(signal.ITIMER_REAL, wait_s)
        fcntl.flock(fd, fcntl.LOCK_EX)
    except TimeoutError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    return True


@contextlib.contextmanager
def pid_file(path: Path) -> Iterator[None]:
    path.unlink(missing_ok=True)
    path.write_text(f"{os.getpid()}\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def bound_socket(path: Path, group: str) -> Iterator[socket.socket]:
    """A socket at ``path`` that does not listen yet; a stale one of a dead hyperd is replaced.

    Root's is for ``group`` too, if there is such a group; anybody else's for its owner only.
    """
    _remove_stale(path)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        try:
            sock.bind(str(path))
        except OSError as error:
            raise Unavailable(f"cannot make the socket {path}: {error.strerror}") from error
        identity = _identity(path)
        try:
            _allow(path, group)
            yield sock
        finally:
            with contextlib.suppress(FileNotFoundError):
                if _identity(path) == identity:
                    path.unlink()


@contextlib.contextmanager
def tcp_socket(address: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # The protocol is named for asyncio, which lets small segments go at once only then.
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as error:
            raise Unavailable(f"cannot listen at {address} port {port}: {error.strerror}") from error
        yield sock


def _remove_stale(path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not path.is_socket():
                raise Unavailable(f"cannot listen at {path}: something else is there") from None
            path.unlink()
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINPROGRESS):  # those: alive, and busy
                raise Unavailable(f"cannot listen at {path}: {error.strerror}") from error
    raise Conflict(f"another process listens at {path}", hint="choose another address with --host")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _allow(path: Path, group: str) -> None:
    mode = 0o600
    if os.geteuid() == 0:
        import grp

        with contextlib.suppress(KeyError):
            os.chown(path, 0, grp.getgrnam(group).gr_gid)
            mode = 0o660
    path.chmod(mode)
