"""A container's start through libvirt, beside the same by the bare driver: both boot QEMU's emulation."""

from __future__ import annotations

from functools import partial

from bench.containers import Measured, booted, ready, run_true
from bench.measure import Row, in_turns, median, spread
from libvirt_bed import LibvirtBed

RATIO = 1.3
CONFIG = '[factory]\ntemplate = false\n[machine]\nhypervisor = "libvirt"\n[hypervisor.libvirt]\nuri = "{}"\n'


def measure(rounds: int) -> list[Row]:
    with LibvirtBed() as bed, booted() as bare, ready(Measured(CONFIG.format(bed.uri), making=False)) as made:
        taken = in_turns(rounds, libvirt=partial(run_true, made), bare=partial(run_true, bare))
    own, plain = median(taken["libvirt"]), median(taken["bare"])
    against = f"{RATIO} x the bare driver's ({plain:.3f} s); {spread(taken['libvirt'])}"
    return [Row("run --rm busybox true, booted, through libvirt", own, "s", RATIO * plain, against)]
