"""What processes take of the host: memory shared fairly (PSS), and processor time to the nanosecond."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from hyper import Hyper, processes_that_mention

PROC = Path("/proc")


def all_of(hyper: Hyper) -> set[int]:
    """hyperd, the VMs' processes, and the descendants of both."""
    found = {hyper.daemon_pid()}
    found |= {int(line.split()[0]) for line in processes_that_mention(str(hyper.base))}
    parents = _parents()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def pss_mib(pids: Iterable[int]) -> float:
    total_kib = 0
    for pid in pids:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kib += int(line.split()[1])
    return total_kib / 1024


def cpu_s(pid: int, *, main_thread: bool = True) -> float:
    """Processor time of the process's threads that are there now; of QEMU's, all but the first run the guest."""
    taken_ns = 0
    for thread in (PROC / str(pid) / "task").iterdir():
        if main_thread or int(thread.name) != pid:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                taken_ns += int((thread / "schedstat").read_text().split()[0])
    return taken_ns / 1e9
