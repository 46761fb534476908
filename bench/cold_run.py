"""A cold `hyper run`, start to exit, against bare QEMU that boots the same kernel with an init that powers off.

The second row compares it with the least that any container in a VM has to do: bare QEMU with the same devices, whose
init mounts the same two disks and runs the same program, with no daemon, no isolation and nobody to talk to.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import busybox_image
from bench.measure import Row, in_turns, median, spread
from hyper import Hyper
from hypercontainer.hypervisor.qemu.argv import MACHINE
from hypercontainer.hypervisor.qemu.binary import QBOOT
from hypercontainer.hypervisor.resources import TCG_CACHE_MIB
from hypercontainer.kernel import KernelStore, build_initrd, cache_dir, command_line
from hypercontainer.linux import tsc
from hypercontainer.rootfs import create_writable_disk

RATIO = 1.25
POWER_OFF = """
#include <sys/reboot.h>
int main(void) { reboot(RB_POWER_OFF); for (;;) ; }
"""
MOUNT_AND_RUN = """
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    const char *names[] = {"/d", "/l", "/u", "/r"};
    for (int i = 0; i < 4; i++) mkdir(names[i], 0755);
    int failed = mount("d", "/d", "devtmpfs", 0, 0) | mount("/d/vda", "/l", "erofs", MS_RDONLY, 0) |
                 mount("/d/vdb", "/u", "ext4", MS_NOATIME, "noinit_itable") | mkdir("/u/upper", 0755) |
                 mkdir("/u/work", 0755) |
                 mount("o", "/r", "overlay", 0, "lowerdir=/l,upperdir=/u/upper,workdir=/u/work");
    if (!failed && fork() == 0) {
        if (chroot("/r") == 0) execl("/bin/true", "true", (char *)0);
        _exit(1);
    }
    int status = 1;
    wait(&status);
    reboot(failed || status ? RB_AUTOBOOT : RB_POWER_OFF);
    for (;;) ;
}
"""


def bare_command(work: Path, program: str = POWER_OFF, devices: Sequence[str] = ()) -> list[str]:
    """QEMU by hand, with the machine and firmware that boot soonest here, to run ``program`` as its init."""
    source = work / "init.c"
    source.write_text(program)
    init = work / "init"
    subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", init, source], check=True)
    kernel = KernelStore(cache_dir()).default()
    initrd = build_initrd(init, kernel, work)
    arguments = command_line(kernel, emulated=True, console=True, extra=(), tsc_khz=tsc.rate_khz())
    return [
        *("qemu-system-x86_64", "-machine", MACHINE, "-accel", f"tcg,tb-size={TCG_CACHE_MIB}", "-cpu", "max"),
        *("-m", "128", "-bios", QBOOT, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", "null", *devices),
        *("-kernel", str(kernel.path), "-initrd", str(initrd), "-append", " ".join(arguments)),
    ]


def floor_command(work: Path, hyper: Hyper) -> list[str]:
    """The devices that a container's VM has, on the disk that its image was made into."""
    (image,) = (hyper.root / "layers").rglob("*.erofs")
    disk = work / "disk.img"
    create_writable_disk(disk, 10 << 30, work)
    devices = [
        "-device",
        "virtio-serial-pci",
        "-netdev",
        "user,id=n",
        "-device",
        "virtio-net-pci,netdev=n,romfile=",
    ]
    devices += ["-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"]
    for name, path, read_only in (("a", image, "on"), ("b", disk, "off")):
        devices += ["-drive", f"if=none,id={name},format=raw,file={path},readonly={read_only},snapshot=off"]
        devices += ["-device", f"virtio-blk-pci,drive={name}"]
    return bare_command(work, MOUNT_AND_RUN, devices)


def bare_run(command: list[str], disk: Path | None = None) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=True, capture_output=True)
    assert not done.stderr, done.stderr
    if disk is not None:  # a fresh one for the next round, as a container has
        disk.unlink()
        create_writable_disk(disk, 10 << 30, disk.parent)


def measure(hyper: Hyper, rounds: int) -> list[Row]:
    hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        bare = bare_command(Path(first))
        floor = floor_command(Path(second), hyper)
        taken = in_turns(
            rounds,
            hyper=lambda: hyper("run", "--rm", busybox_image.REFERENCE, "true"),
            bare=lambda: bare_run(bare),
            floor=lambda: bare_run(floor, Path(second, "disk.img")),
        )
    ours, theirs, least = (median(taken[name]) for name in ("hyper", "bare", "floor"))
    own = f"hyper {spread(taken['hyper'])}"
    return [
        Row(
            "cold run --rm busybox true",
            ours,
            "s",
            RATIO * theirs,
            f"{RATIO} x bare QEMU ({theirs:.3f} s, {spread(taken['bare'])}); {own}",
            tuple(taken["hyper"]),
        ),
        Row(
            "the same, beside bare QEMU that mounts and runs",
            ours,
            "s",
            against=f"{ours / least:.2f} x that ({least:.3f} s, {spread(taken['floor'])})",
        ),
    ]
