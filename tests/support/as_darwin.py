"""Makes this process look like one on macOS, as far as modules notice that are imported: a program of its own.

    as_darwin.py MODULE...      each of these, with all that is in it; those that cannot be imported are printed

What is taken away is what Python and its C library have on Linux alone.  Whether the rest does there what it does here
nobody can tell but a Mac.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
import sysconfig
import urllib.request  # what it finds out of a platform is for the real one
from types import ModuleType
from typing import Any

GONE: dict[ModuleType, str] = {
    os: "memfd_create MFD_CLOEXEC MFD_ALLOW_SEALING pidfd_open P_PIDFD O_PATH O_DIRECT O_TMPFILE O_NOATIME pipe2 "
    "sched_getaffinity sched_setaffinity eventfd EFD_CLOEXEC splice copy_file_range getrandom setresuid setresgid "
    "getresuid getresgid posix_fallocate posix_fadvise getxattr setxattr listxattr removexattr fdatasync",
    socket: "AF_VSOCK AF_NETLINK AF_PACKET SO_PEERCRED SCM_CREDENTIALS SO_PASSCRED MSG_CMSG_CLOEXEC SOCK_CLOEXEC "
    "SOCK_NONBLOCK SO_BINDTODEVICE SO_DOMAIN SO_PROTOCOL TCP_USER_TIMEOUT MSG_ERRQUEUE",
    select: "epoll EPOLLIN EPOLLOUT EPOLLET EPOLLRDHUP",
    fcntl: "F_ADD_SEALS F_GET_SEALS F_SEAL_SEAL F_SEAL_SHRINK F_SEAL_GROW F_SEAL_WRITE F_SETPIPE_SZ F_GETPIPE_SZ "
    "F_OFD_SETLK F_OFD_GETLK F_OFD_SETLKW F_NOTIFY",
    signal: "pidfd_send_signal sigwaitinfo sigtimedwait SIGRTMIN SIGRTMAX SIGSTKFLT SIGPWR",
    resource: "prlimit RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_MSGQUEUE RLIMIT_SIGPENDING RLIMIT_RTTIME",
}
NO_CALLS = frozenset(
    "prctl unshare setns mount umount2 inotify_init1 inotify_add_watch capset pivot_root fallocate statx".split()
)


class Library:
    """The C library, without those calls."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        if name in NO_CALLS:
            raise AttributeError(name)
        return getattr(self._real, name)


def become() -> None:
    sysconfig.get_config_vars()
    urllib.request.getproxies()
    for module, names in GONE.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    real = ctypes.CDLL
    ctypes.CDLL = lambda *args, **more: Library(real(*args, **more))  # type: ignore[assignment,misc]
    sys.platform = "darwin"


def imported(name: str) -> str:
    """Why not, or ""."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"{name}: {error!r}"
    return ""


def main(names: list[str]) -> int:
    become()
    failed = []
    for name in names:
        failed.append(imported(name))
        places = getattr(sys.modules.get(name), "__path__", [])
        found = [one.name for one in pkgutil.walk_packages(places, f"{name}.")]
        failed += [imported(one) for one in found if not one.endswith("__main__")]
    failed = [each for each in failed if each]
    sys.stdout.write("".join(f"{each}\n" for each in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
