"""How many of the host's CPUs a VM gets."""

from __future__ import annotations

import math
import os

# Of the host, for what works beside a VM's processors: its disks, its network, the directories that it is served.
BESIDE_CPUS = 1.0


def host_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


def vcpus_for(cpus: float | None, *, host: int | None = None) -> int:
    """For so many CPUs' time: the next whole number, at most the host's CPUs; all of these where None."""
    most = host or host_cpus()
    return most if cpus is None else min(most, max(1, math.ceil(cpus)))


def quota_for(cpus: float | None, *, host: int | None = None) -> float | None:
    """So many of the host's CPUs may all processes of a VM take together that has so many.  Where the number of its
    processors is what limits the guest, what is done for it beside them does not take from them; a part of a processor
    is all that there is for both."""
    return cpus if cpus is None or cpus < vcpus_for(cpus, host=host) else cpus + BESIDE_CPUS
