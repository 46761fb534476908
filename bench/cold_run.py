"""A cold `hyper run`, start to exit, against bare QEMU that boots the same kernel with an init that powers off."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import busybox_image
from bench.measure import Row, in_turns, median, spread
from hyper import Hyper
from hypercontainer.hypervisor.qemu.argv import MACHINE
from hypercontainer.hypervisor.qemu.binary import QBOOT
from hypercontainer.hypervisor.resources import TCG_CACHE_MIB
from hypercontainer.kernel import KernelStore, build_initrd, cache_dir, command_line
from hypercontainer.linux import tsc

RATIO = 1.25
POWER_OFF = """
#include <sys/reboot.h>
int main(void) { reboot(RB_POWER_OFF); for (;;) ; }
"""


def bare_command(work: Path) -> list[str]:
    """QEMU by hand, with the machine and firmware that boot soonest here: no disk, no network, no agent."""
    source = work / "init.c"
    source.write_text(POWER_OFF)
    init = work / "init"
    subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", init, source], check=True)
    kernel = KernelStore(cache_dir()).default()
    initrd = build_initrd(init, kernel, work)
    arguments = command_line(kernel, emulated=True, console=True, extra=(), tsc_khz=tsc.rate_khz())
    return [
        *("qemu-system-x86_64", "-machine", MACHINE, "-accel", f"tcg,tb-size={TCG_CACHE_MIB}", "-cpu", "max"),
        *("-m", "128", "-bios", QBOOT, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", "null"),
        *("-kernel", str(kernel.path), "-initrd", str(initrd), "-append", " ".join(arguments)),
    ]


def measure(hyper: Hyper, rounds: int) -> list[Row]:
    hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
    with tempfile.TemporaryDirectory() as work:
        bare = bare_command(Path(work))
        taken = in_turns(
            rounds,
            hyper=lambda: hyper("run", "--rm", busybox_image.REFERENCE, "true"),
            bare=lambda: subprocess.run(bare, check=True, stdin=subprocess.DEVNULL),
        )
    ours, theirs = median(taken["hyper"]), median(taken["bare"])
    against = f"{RATIO} x bare QEMU ({theirs:.3f} s, {spread(taken['bare'])}); hyper {spread(taken['hyper'])}"
    return [Row("cold run --rm busybox true", ours, "s", RATIO * theirs, against, tuple(taken["hyper"]))]
