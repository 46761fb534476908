"""A private libvirtd with QEMU's driver: its folders, its sockets and its network are nobody else's.

QEMU's capabilities, which libvirt asks for once and for seconds, are kept in the cache.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Self

from hypercontainer.hypervisor.libvirt import events, library
from hypercontainer.kernel import cache_dir
from hypercontainer.suite.leftovers import descriptors

LIBVIRTD = "/usr/sbin/libvirtd"
KEEPER = Path(__file__).with_name("libvirt_keeper.py")
QEMU = "/usr/bin/qemu-system-x86_64"
START_S = 60.0
LIBVIRTD_CONF = """\
unix_sock_dir = "{folder}/sock"
unix_sock_rw_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:stderr"
"""
SESSION_CONF = """\
auth_unix_rw = "none"
log_outputs = "3:stderr"
"""
# Cgroups and namespaces of its own are what a container of tests has not.  Our domains say themselves whose their QEMU
# is; a libvirt whose usual user may not open a /dev/kvm that root may asks QEMU what it can at each start.
QEMU_CONF = """\
stdio_handler = "file"
user = "root"
group = "root"
cgroup_controllers = []
namespaces = []
"""
FOREIGN = """
<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices>
</domain>"""
SETTLED_S = 3.0


class LibvirtBed:
    """``folder`` is its own, at a short path; ``program``: which libvirtd; ``uid``: whose session it is, None for a
    system's.  That user's folder is ``user``."""

    def __init__(self, program: str = LIBVIRTD, uid: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lv-"))
        self.folder.chmod(0o755)
        self._program, self._uid = program, uid
        self.pid = 0

    @property
    def uri(self) -> str:
        if self._uid is not None:
            return f"qemu+unix:///session?socket={self.folder}/user/libvirt/libvirt-sock"
        return f"qemu+unix:///system?socket={self.folder}/sock/libvirt-sock"

    def __enter__(self) -> Self:
        folder = self.folder
        for name in ("etc", "sock", "bin", "user"):
            (folder / name).mkdir()
        (folder / "libvirtd.log").touch()
        if self._uid is not None:
            os.chown(folder / "user", self._uid, self._uid)
            os.chown(folder / "libvirtd.log", self._uid, self._uid)
        (folder / "bin/qemu-system-x86_64").symlink_to(QEMU)  # the only one that it asks what it can
        (folder / "libvirtd.conf").write_text(
            SESSION_CONF if self._uid is not None else LIBVIRTD_CONF.format(folder=folder)
        )
        (folder / "etc/qemu.conf").write_text(QEMU_CONF)
        users = "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n"
        (folder / "passwd").write_text(Path("/etc/passwd").read_text() + users)
        (folder / "group").write_text(Path("/etc/group").read_text() + "libvirt-qemu:x:64055:\n")
        if (kept := self._kept()).exists():
            shutil.copytree(kept, folder / "cache")
        command = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, str(KEEPER)]
        self._keeper = subprocess.Popen(
            [*command, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> None:
        """Returns once it answers."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(f"start {self._program} {'' if self._uid is None else self._uid}\n")
        self.pid = int(self._keeper.stdout.readline())
        limit = time.monotonic() + START_S
        while self.virsh("version").returncode:
            assert time.monotonic() < limit, (self.folder / "libvirtd.log").read_text()
            assert Path(f"/proc/{self.pid}/exe").exists(), (self.folder / "libvirtd.log").read_text()
            time.sleep(0.05)
        if self._uid is None and not self._kept().exists():
            self._keep()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """libvirtd alone; its VMs go on."""
        os.kill(self.pid, number)
        limit = time.monotonic() + START_S
        while Path(f"/proc/{self.pid}/exe").is_file():
            assert time.monotonic() < limit
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def virsh(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = ["virsh", "--quiet", "--connect", self.uri, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)

    def foreign(self, name: str) -> str:
        """The UUID of a VM of this name that is nobody's of ours; it does not run on."""
        xml = self.folder / f"{name}.xml"
        xml.write_text(FOREIGN.format(name=name))
        made = self.virsh("create", str(xml), "--paused")
        assert made.returncode == 0, made.stderr
        return self.virsh("domuuid", name).stdout.strip()

    def domains(self) -> list[str]:
        return self.virsh("list", "--all", "--name").stdout.split()

    def __exit__(self, *error: object) -> None:
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait(timeout=30)
        if self._keeper.stdout is not None:
            self._keeper.stdout.close()
        shutil.rmtree(self.folder)

    def _kept(self) -> Path:
        parts = [self._program, os.uname().release]
        for path in (self._program, QEMU):
            stat = Path(path).resolve().stat()
            parts += [str(stat.st_size), str(stat.st_mtime_ns), str(stat.st_ctime_ns)]
        return cache_dir() / "libvirt" / hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def _keep(self) -> None:
        kept = self._kept()
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as new:
            copy = Path(new) / "cache"
            shutil.copytree(self.folder / "cache", copy)
            if not kept.exists():
                copy.rename(kept)


@cache
def the_bed() -> LibvirtBed:
    """One for all tests of a process, which ends with it."""
    stack = ExitStack()
    atexit.register(stack.close)
    events.start(library.load()[0])  # which has descriptors of its own, for good
    return stack.enter_context(LibvirtBed())


async def settled(before: list[str]) -> None:
    """libvirt's thread lets go of connections that are over in its own time: until these are all descriptors."""
    limit = time.monotonic() + SETTLED_S
    while descriptors() != before and time.monotonic() < limit:
        gc.collect()
        await asyncio.sleep(0.01)
