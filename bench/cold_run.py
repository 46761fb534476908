"""A cold `hyper run`, start to exit, against bare QEMU that boots the same kernel with an init that powers off.

The second row compares it with the least that any container in a VM has to do: bare QEMU with the same devices, whose
init mounts the same two disks and runs the same program, with no daemon, no isolation and nobody to talk to.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.containers import booted, run_true
from bench.measure import Row, in_turns, median, run, spread
from hyper import Hyper
from hypercontainer.hypervisor.qemu.machines import MACHINES
from hypercontainer.hypervisor.qemu.overhead import TCG_CACHE_MIB
from hypercontainer.kernel import KernelStore, build_initrd, cache_dir, command_line
from hypercontainer.linux import tsc
from hypercontainer.rootfs import create_writable_disk

RATIO = 1.25
PC = MACHINES["amd64"]
POWER_OFF = """
#include <sys/reboot.h>
int main(void) { reboot(RB_POWER_OFF); for (;;) ; }
"""
# In place of the comment, bench.bare_clone puts what a clone waits for.
MOUNT_AND_RUN = """
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    const char *names[] = {"/d", "/l", "/u", "/r"};
    for (int i = 0; i < 4; i++) mkdir(names[i], 0755);
    int failed = mount("d", "/d", "devtmpfs", 0, 0);
    /* WAIT */
    failed |= mount("/d/vda", "/l", "erofs", MS_RDONLY, 0) |
              mount("/d/vdb", "/u", "ext4", MS_NOATIME, "noinit_itable") | mkdir("/u/upper", 0755) |
              mkdir("/u/work", 0755) |
              mount("o", "/r", "overlay", 0, "lowerdir=/l,upperdir=/u/upper,workdir=/u/work");
    if (!failed && fork() == 0) {
        if (chroot("/r") == 0) execl("/bin/true", "true", (char *)0);
        _exit(1);
    }
    int status = 1;
    wait(&status);
    while (failed || status) pause(); /* until whoever measures loses patience */
    reboot(RB_POWER_OFF);
    for (;;) ;
}
"""
WRITABLE_BYTES = 10 << 30


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
        *(
            "qemu-system-x86_64",
            "-machine",
            PC.options,
            "-accel",
            f"tcg,tb-size={TCG_CACHE_MIB}",
            "-cpu",
            "max",
        ),
        *(
            "-m",
            "128",
            "-bios",
            PC.quick_firmware,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ),
        *("-serial", "null", *devices),
        *("-kernel", str(kernel.path), "-initrd", str(initrd), "-append", " ".join(arguments)),
    ]


def floor_command(work: Path, hyper: Hyper) -> list[str]:
    """The devices that a container's VM has, on the disk that its image was made into."""
    return bare_command(work, MOUNT_AND_RUN, [*devices(), *disks(image_disk(hyper), fresh_disk(work))])


def devices(port: Sequence[str] = ()) -> list[str]:
    """All but the disks; ``port`` is the device on the serial bus."""
    return [
        *("-device", "virtio-serial-pci", *port),
        *("-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="),
        *("-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"),
    ]


def disks(image: Path, writable: Path) -> list[str]:
    argv = []
    for name, path, read_only in (("a", image, "on"), ("b", writable, "off")):
        argv += ["-drive", f"if=none,id={name},format=raw,file={path},readonly={read_only},snapshot=off"]
        argv += ["-device", f"virtio-blk-pci,drive={name}"]
    return argv


def image_disk(hyper: Hyper) -> Path:
    """What the one image of this hyperd was made into."""
    (image,) = (hyper.root / "layers").rglob("*.erofs")
    return image


def fresh_disk(work: Path) -> Path:
    """An empty one in place of what a run left, as a container has."""
    disk = work / "disk.img"
    disk.unlink(missing_ok=True)
    create_writable_disk(disk, WRITABLE_BYTES, work)
    return disk


def bare_run(command: list[str]) -> None:
    said = run(command)
    assert not said, said


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(booted())
        first, second = (stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2))
        bare = bare_command(Path(first))
        floor = floor_command(Path(second), made)
        taken = in_turns(
            rounds,
            hyper=partial(run_true, made),
            bare=lambda: bare_run(bare),
            fresh=lambda: fresh_disk(Path(second)),
            floor=lambda: bare_run(floor),
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
