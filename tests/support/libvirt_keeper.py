"""Keeps a private libvirtd: in a mount namespace with folders of its own, in a network namespace, and with a parent
that waits for what it leaves behind, as an init does.  Started by ``libvirt_bed``, which writes to it:

    start PROGRAM [UID]    a line with the pid of a libvirtd answers, of the system or of this user's session

It ends, and with it libvirtd, when nobody writes any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG = 36, 1
PLACES = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "run": "/run/libvirt",
    "log": "/var/log/libvirt",
}
FILES = {"passwd": "/etc/passwd", "group": "/etc/group"}


def prepare(folder: Path) -> None:
    for name, place in PLACES.items():
        (folder / name).mkdir(exist_ok=True)
        Path(place).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", folder / name, place], check=True)
    for name, place in FILES.items():
        subprocess.run(["mount", "--bind", folder / name, place], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def main() -> None:
    folder = Path(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prepare(folder)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 100)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
        if 0 in ready:
            words = os.read(0, 1000).decode().split()
            if not words:
                break
            sys.stdout.write(f"{start(folder, words[1:], libc)}\n")
            sys.stdout.flush()
    for child in left():  # libvirtd, too
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def left() -> list[int]:
    """QEMUs, of a test that did not come to its end."""
    return [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def start(folder: Path, words: list[str], libc: ctypes.CDLL) -> int:
    log = os.open(folder / "libvirtd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if pid := os.fork():
        os.close(log)
        return pid
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    program, *session = words
    argv = [program, "--config", str(folder / "libvirtd.conf")]
    environment = {"PATH": f"{folder}/bin:/usr/sbin:/sbin"}
    if session:
        uid, home = int(session[0]), str(folder / "user")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        environment |= dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), home)
    else:
        argv += ["--pid-file", str(folder / "pid")]
    return os.execve(program, argv, environment)


main()
