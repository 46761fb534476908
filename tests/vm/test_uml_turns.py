"""On which CPUs of the host a VM of User Mode Linux runs: on one while its processes call their kernel, else on any."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import busybox_image
from hyper import Hyper
from until import until

pytestmark = pytest.mark.needs("user mode linux")

BUSYBOX = busybox_image.REFERENCE
CALLS = "while :; do echo; done >/dev/null"
COMPUTES = "while :; do :; done"
ALL = len(os.sched_getaffinity(0))


@pytest.fixture
def uml(hyper: Hyper) -> Hyper:
    if ALL == 1:
        pytest.skip("this host has one CPU")
    return hyper


def mask(pid: int) -> int:
    """The CPUs that it may run on, a bit for each."""
    status = Path(f"/proc/{pid}/status").read_text()
    (found,) = re.findall(r"^Cpus_allowed:\s*(.*)$", status, re.MULTILINE)
    return int(found.replace(",", ""), 16)


def cpus(pid: int) -> int:
    return mask(pid).bit_count()


def stays(pid: int, where: int) -> bool:
    """For some milliseconds, which is longer than it is let go."""
    return all(cpus(pid) == where for _ in range(300))


def running(uml: Hyper, name: str, *command: str) -> int:
    uml("run", "-d", "--name", name, BUSYBOX, *command)
    return uml.vm_pid(name)


def test_who_calls_the_kernel_is_held_on_its_cpu_and_who_waits_or_computes_is_not(uml: Hyper) -> None:
    waits = running(uml, "waits", "sleep", "1000")
    until(lambda: stays(waits, ALL), "a VM that waits to be let go")
    uml("rm", "-f", "waits")
    calls = running(uml, "calls", "sh", "-c", CALLS)
    until(lambda: stays(calls, 1), "a VM that calls its kernel to be held")
    processes = Path(f"/proc/{calls}/task/{calls}/children").read_text().split()
    assert 1 in {cpus(int(process)) for process in processes}
    uml("rm", "-f", "calls")
    computes = running(uml, "computes", "sh", "-c", COMPUTES)
    until(lambda: stays(computes, ALL), "a VM that computes to be let go")
    uml("rm", "-f", "computes")


def test_two_that_call_their_kernels_have_a_cpu_each(uml: Hyper) -> None:
    pids = [running(uml, name, "sh", "-c", CALLS) for name in ("a", "b")]

    def apart() -> bool:
        return len({mask(pid) for pid in pids}) == len(pids) and all(stays(pid, 1) for pid in pids)

    until(apart, "each to be held on a CPU of its own")
    uml("rm", "-f", "a", "b")
