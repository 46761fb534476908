#!/usr/bin/env python3
"""Measures how long a kernel takes to its init, so that docs/kernel.md's figures can be had again.

usage: measure.py [KERNEL] [--runs N] [--machine M] [--cpu C] [--accel A] [--memory MIB] [--append WORDS] ...

KERNEL is ``make kernel``'s where none is named.  A line per run and the minimum and median of: wall time from
the start of QEMU to init's first line; the guest's time since its reset (firmware included); the guest's own
uptime.  Run it with the project's Python: the command line and the initrd are the product's.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hypercontainer.hypervisor.qemu.machines import MACHINES
from hypercontainer.kernel import Kernel, KernelStore, build_initrd, cache_dir, command_line

INIT = Path(__file__).with_name("measure_init.c")
DEADLINE_S = 60


def compile_init(work: Path) -> Path:
    init = work / "init"
    subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", str(init), str(INIT)], check=True)
    return init


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures a guest kernel's time to init.")
    parser.add_argument("kernel", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--machine", default=MACHINES["amd64"].options)
    parser.add_argument("--cpu", default="max")
    parser.add_argument("--accel", default="tcg")
    parser.add_argument("--memory", type=int, default=128, help="MiB")
    parser.add_argument("--bios", default="qboot.rom", help="'' for SeaBIOS")
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--append", default="", help="words added to the command line")
    parser.add_argument("--only-append", help="the whole command line")
    parser.add_argument("--qemu", default="", help="more arguments for QEMU, separated by blanks")
    parser.add_argument("--show", action="store_true", help="print the guest's console")
    return parser.parse_args()


def qemu_argv(options: argparse.Namespace, kernel: Kernel, initrd: Path) -> list[str]:
    words = command_line(
        kernel, emulated=options.accel == "tcg", console=True, extra=tuple(options.append.split())
    )
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", options.machine, "-accel", options.accel, "-cpu", options.cpu),
        *("-m", str(options.memory), "-smp", str(options.smp)),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *(("-bios", options.bios) if options.bios else ()),
        *("-kernel", str(kernel.path), "-initrd", str(initrd)),
        *("-append", options.only_append if options.only_append is not None else " ".join(words)),
        *options.qemu.split(),
    ]


def run(argv: list[str], show: bool) -> tuple[float, float, float]:
    """Wall, guest since reset, uptime: in seconds, at init."""
    started = time.perf_counter()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        wall = 0.0
        try:
            for line in process.stdout:
                if show:
                    sys.stderr.write(line)
                if line.startswith("init"):
                    wall = time.perf_counter() - started
                elif line.startswith("times"):
                    _, uptime, reset = line.split()
                    process.wait(DEADLINE_S)
                    return wall, float(reset) / 1e9, float(uptime) / 1e9
        finally:
            process.kill()
    raise SystemExit("the guest ended without reaching its init; --show shows its console")


def main() -> None:
    options = arguments()
    store = KernelStore(cache_dir())
    kernel = store.user(options.kernel) if options.kernel else store.default()
    with tempfile.TemporaryDirectory() as work_name:
        work = Path(work_name)
        argv = qemu_argv(options, kernel, build_initrd(compile_init(work), kernel, work))
        rows = [run(argv, options.show) for _ in range(options.runs)]
    sys.stdout.write(f"{kernel.path} ({kernel.version}), {options.machine}, {options.cpu}\n")
    for row in rows:
        sys.stdout.write("".join(f"{seconds:10.3f}" for seconds in row) + "\n")
    columns = list(zip(*rows, strict=True))
    for name, summary in (("minimum", min), ("median", statistics.median)):
        wall, reset, uptime = (summary(column) for column in columns)
        sys.stdout.write(f"{name}: wall {wall:.3f} s, since reset {reset:.3f} s, uptime {uptime:.3f} s\n")


if __name__ == "__main__":
    main()
