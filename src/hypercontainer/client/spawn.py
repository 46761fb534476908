"""Starts hyperd for a command that finds none: detached, once, and waits until it serves.

Two commands at once end with one hyperd: whoever has the lock starts it, the other then finds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys

from hypercontainer.client.http import connect
from hypercontainer.config import locations, prepare_directories
from hypercontainer.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READY_S = 60.0  # it may have many pods to take back
LOCK_WAIT_S = 10  # for a hyperd that is just ending
READY_FD = 3  # in hyperd
LOG_TAIL_BYTES = 4096


def start_hyperd(
    address: str,
    *,
    config: str = "",
    log_level: str = "",
    deadline_s: float = READY_S,
    command: Sequence[str] = (),
) -> None:
    """Returns when a hyperd listens at the socket ``address``; raises Unavailable with its last words if it died.

    ``command`` is for tests; it gets hyperd's flags.
    """
    places = locations(host=f"unix://{address}", file=config or None)
    prepare_directories(places.root, places.run)
    with _lock(f"{places.run}/spawn.lock"):
        if _listens(address):
            return
        log = f"{places.root}/hyperd.log"
        # -P: hyperd's modules never come from the directory that it happens to start in.
        words = [*(command or (sys.executable, "-P", "-m", "hypercontainer.daemon"))]
        words += ["--root", places.root, "--run", places.run, "--host", places.host]
        words += ["--log-file", log, "--lock-wait", str(LOCK_WAIT_S), "--ready-fd", str(READY_FD)]
        words += ["--config", places.file] if places.file else []
        words += ["--log-level", log_level] if log_level else []
        _start(words, log, deadline_s)


@contextlib.contextmanager
def _lock(path: str) -> Iterator[None]:
    """Waits for whoever starts hyperd now, who waits for `READY_S` at most."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _listens(address: str) -> bool:
    try:
        connect(address).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        raise Unavailable(f"cannot connect to {address}: {error.strerror}") from error
    return True


def _start(words: Sequence[str], log: str, deadline_s: float) -> None:
    try:
        log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot write hyperd's log {log}: {error.strerror}") from error
    reading, writing = os.pipe()
    try:
        begin = os.fstat(log_fd).st_size
        _detach(words, writing, log_fd)
        os.close(writing)
        writing = -1
        ready, _, _ = select.select([reading], [], [], deadline_s)
        if not ready:
            raise Unavailable(f"hyperd does not answer after {deadline_s:g} s", hint=f"its log is {log}")
        if not os.read(reading, 1):
            raise Unavailable(f"hyperd did not start:\n{_last_words(log, begin)}", hint=f"its log is {log}")
    finally:
        for fd in (reading, writing, log_fd):
            if fd >= 0:
                os.close(fd)


def _last_words(log: str, begin: int) -> str:
    with open(log, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(begin, size - LOG_TAIL_BYTES) if size >= begin else 0)
        return file.read(LOG_TAIL_BYTES).decode(errors="backslashreplace").strip() or "it said nothing"


def _detach(words: Sequence[str], ready_fd: int, log_fd: int) -> None:
    """Forks twice, so that hyperd is nobody's child and has no terminal."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _become(words, ready_fd, log_fd)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _become(words: Sequence[str], ready_fd: int, log_fd: int) -> None:
    """Of the caller's descriptors nothing stays: a pipe of its shell would wait for hyperd's end."""
    try:
        os.chdir("/")
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(log_fd, 2)
        os.dup2(ready_fd, READY_FD)
        os.closerange(READY_FD + 1, os.sysconf("SC_OPEN_MAX"))
        os.execv(words[0], list(words))  # noqa: S606
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)
