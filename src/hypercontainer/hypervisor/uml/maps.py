"""How many mappings a process may have: each page of a guest's process that is not beside its neighbour is one."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

COUNT = Path("/proc/sys/vm/max_map_count")
# Pages of 4 KiB: a guest's process may touch so much at random.
ENOUGH = 1 << 20
REMEDY = f"sysctl vm.max_map_count={ENOUGH}"

log = logging.getLogger(__name__)


def most() -> int | None:
    """None where the host does not say."""
    with contextlib.suppress(OSError, ValueError):
        return int(COUNT.read_text())
    return None


def enough_for(name: str, memory_mib: int) -> None:
    """For a VM of this size: root raises the limit where it is too low; anybody else writes down what is short."""
    there = most()
    needed = min(ENOUGH, memory_mib << 8)
    if there is None or there >= needed:
        return
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # where it is not ours to say, as in a container
            COUNT.write_text(f"{ENOUGH}\n")
            log.info("vm.max_map_count was %d, and is %d for guests of User Mode Linux", there, ENOUGH)
            return
    log.warning(
        "VM %s: a process in it that touches more than %d MiB at random is ended: vm.max_map_count is %d; %s",
        name,
        there >> 8,
        there,
        REMEDY,
    )
