"""How many of the host's CPUs, and how much of its memory, a VM gets."""

from __future__ import annotations

import math
import os

from hypercontainer.errors import InvalidArgument
from hypercontainer.linux.memory import total_bytes

MIB = 1024 * 1024
LEAST_MEMORY_MIB = 32

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


def memory_mib(wish_bytes: int) -> int:
    """Whole ones; InvalidArgument where a VM cannot have so much, or so little."""
    whole = -(-wish_bytes // MIB)
    if whole < LEAST_MEMORY_MIB:
        raise InvalidArgument(
            f"memory of {whole} MiB is too little for a VM", hint=f"at least {LEAST_MEMORY_MIB} MiB"
        )
    most = total_bytes() // MIB
    if whole > most:
        raise InvalidArgument(
            f"memory of {whole} MiB is more than this machine has", hint=f"at most {most} MiB"
        )
    return whole
