"""How many of the host's CPUs a VM gets."""

from __future__ import annotations

import math
import os


def host_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


def vcpus_for(cpus: float | None, *, host: int | None = None) -> int:
    """For so many CPUs' time: the next whole number, at most the host's CPUs; all of these where None."""
    most = host or host_cpus()
    return most if cpus is None else min(most, max(1, math.ceil(cpus)))
