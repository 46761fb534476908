"""Guests of the project's own kernel: busybox that runs a script, or the agent."""

from __future__ import annotations

import re
import stat
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import Any

from hypercontainer.agent.operations import Event
from hypercontainer.agent.session import Agent
from hypercontainer.hypervisor.driver import VM, ExitReason, VMExit
from hypercontainer.hypervisor.spec import Accelerator, Nic, UserNat
from hypercontainer.kernel import Kernel, KernelStore, build_initrd, cache_dir, command_line, hyperstart_path
from hypercontainer.kernel.initrd import Entry, cpio
from hypercontainer.linux import tsc
from hypercontainer.suite.harness import BANNER, FLOOD, HALT, POWER_OFF, REBOOT, UNPLUG, Harness

BUSYBOX = Path("/bin/busybox")
MEMORY_MIB = 96
BEGIN, END = "<<<", ">>>"
_ITS_END = re.compile(r"\[ *[0-9]+\.[0-9]+\] reboot: [^\r\n]*\r?\n")
SCRIPTS = {
    HALT: "sleep 1000000",
    UNPLUG: "sleep 1000000",
    POWER_OFF: "sleep 1",  # to be paused before, on a busy machine, too
    REBOOT: "sleep 1; reboot -f",
    FLOOD: f"yes {'x' * 63} | tr -d '\\n'",
}
# Words for scripts.  `disk SERIAL` says the device of a disk, once it is there; `gone SERIAL` waits until it is not;
# `nic MAC` says the name of an interface; `up MAC CIDR GATEWAY` gives it an address and begins to use it.
PRELUDE = r"""
places=,$(sed -n 's/.*hyper\.disks=\([^ ]*\).*/\1/p' /proc/cmdline),
named() {
    case $(cat /sys/block/$1/serial /sys/block/$1/device/serial 2>/dev/null) in $2) return 0;; esac
    [ "$(tail -c +5 /sys/block/$1/device/vpd_pg80 2>/dev/null | tr -d ' \000')" = "$2" ] && return 0
    at=$(basename "$(readlink /sys/block/$1/device)")
    case $places in *,$1:$2,*|*,$at:$2,*) return 0;; esac
    return 1
}
found() { for each in $(ls /sys/block); do named $each $1 && { echo /dev/$each; return 0; }; done; return 1; }
disk() { until found $1; do usleep 50000; done; }
gone() { while found $1 >/dev/null; do usleep 50000; done; }
nic() {
    until grep -l $1 /sys/class/net/*/address 2>/dev/null; do usleep 50000; done | cut -d / -f 5
}
up() {
    ip link set lo up; ip link set $(nic $1) up; ip addr add $2 dev $(nic $1); ip route add default via $3
}
"""


def initrd(script: str) -> bytes:
    """busybox, and ``script`` run by root, whose machine is powered off at its end."""
    init = (
        "#!/bin/sh\nexport PATH=/bin\n/bin/busybox --install -s /bin\n"
        "mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev\n"
        f"echo 'user:x:99:98::/:/bin/sh' > /etc/passwd; echo inside > /etc/inside\n{script}\npoweroff -f\n"
    )
    return b"".join(cpio([*_folders(), Entry("init", stat.S_IFREG | 0o755, init.encode())]))


@cache
def _folders() -> tuple[Entry, ...]:
    names = ("dev", "proc", "sys", "bin", "mnt", "etc")
    return (
        *(Entry(name, stat.S_IFDIR | 0o755) for name in names),
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes()),
        Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
    )


class LinuxHarness(Harness):
    """``letters`` by scripts, too."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        super().__init__(folder, stack)
        self.heard: list[Event] = []
        self._scripts: dict[str, Path] = {}

    def has(self, word: str) -> bool:
        """Also ``linux``: guests that run scripts, or the agent."""
        return word not in self.lacks if word == "linux" else super().has(word)

    def kernel(self) -> Kernel:
        return KernelStore(cache_dir()).having(self.capabilities.devices)

    def arguments(self, kernel: Kernel) -> tuple[str, ...]:
        emulated = self.accelerator is Accelerator.TCG
        return command_line(
            kernel,
            emulated=emulated,
            console=True,
            extra=(),
            tsc_khz=tsc.rate_khz() if emulated else None,
            device=self.capabilities.console,
            line=self.capabilities.line,
        )

    def guest(self, letter: str) -> dict[str, Any]:
        return self._running(f"echo {BANNER} > /dev/console; {SCRIPTS[letter]}")

    def linux(self, script: str) -> dict[str, Any]:
        return self._running(f"{PRELUDE}\n{script}")

    def _running(self, script: str) -> dict[str, Any]:
        if script not in self._scripts:
            self._scripts[script] = self.folder / f"initrd-{len(self._scripts)}"
            self._scripts[script].write_bytes(initrd(script))
        return self._booting(self._scripts[script])

    def hyperstart(self) -> dict[str, Any]:
        return self._booting(build_initrd(hyperstart_path(), self.kernel(), self.folder))

    def _booting(self, initrd: Path) -> dict[str, Any]:
        kernel = self.kernel()
        arguments = self.arguments(kernel)
        return {"kernel": kernel.path, "initrd": initrd, "kernel_args": arguments, "memory_mib": MEMORY_MIB}

    async def agent(self, vm: VM, *, resumed: bool = False) -> Agent:
        """A session with the agent of a guest that was launched with ``hyperstart``; what happens is ``heard``."""
        session = Agent.open(*await vm.connect_agent(), resumed=resumed, on_event=self.heard.append)
        self.stack.callback(session.close)
        return session

    async def says(self, script: str, **changes: Any) -> str:
        """What a script prints, of a guest that it ends with."""
        return self.said(await (await self.launch(**self.script(script) | changes)).wait())

    def said(self, ended: VMExit) -> str:
        """What its script has said, all of it."""
        assert ended.reason is ExitReason.GUEST_SHUTDOWN, ended
        console = undisturbed(ended.console)
        assert BEGIN in console and END in console, console
        return console.partition(BEGIN)[2].partition(END)[0].replace("\r", "").strip("\n")

    def script(self, script: str) -> dict[str, Any]:
        """``linux``, with what ``said`` needs to know the script's words from the kernel's."""
        return self.linux(f"echo '{BEGIN}'\n{script}\necho; echo '{END}'")


def undisturbed(console: str) -> str:
    """Without what a kernel says of its machine's end, which comes in the midst of what is on its way still."""
    return _ITS_END.sub("", console)


def using(nic: Nic) -> str:
    """The script that gives this interface its address and begins to use it."""
    assert isinstance(nic.backend, UserNat)
    return f"up {nic.mac} {nic.backend.guest_cidr} {nic.backend.gateway}"
