"""How much of the host a VM gets: vCPUs and quota, the memory limit for the hypervisor's process."""

from __future__ import annotations

import math
import os

from hypercontainer.hypervisor.driver import Accelerator, Limits

MIB = 1 << 20
# What QEMU needs besides the guest's memory and boot files; docs/hypervisor.md has the measurements.
QEMU_OVERHEAD_MIB = 96
# The cache of translated code under software emulation.  QEMU's own default is 1 GiB.
TCG_CACHE_MIB = 128
# What serves a share; the files themselves are in the host's page cache, which gives way.
SHARE_MIB = 16


def host_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


def vcpus_for(cpus: float | None, *, host: int | None = None) -> int:
    """vCPUs for ``cpus``: the next whole number, at most the host's CPUs; all of these where None."""
    most = host or host_cpus()
    return most if cpus is None else min(most, max(1, math.ceil(cpus)))


def limits_for(
    memory_mib: int,
    cpus: float | None,
    accelerator: Accelerator,
    *,
    boot_files_bytes: int = 0,
    shares: int = 0,
) -> Limits:
    """Limits for the hypervisor's process such that the guest can use all of its ``memory_mib`` and ``cpus``.

    ``boot_files_bytes`` is the size of kernel and initrd, which QEMU keeps a copy of; ``shares`` is their number.
    """
    overhead_mib = QEMU_OVERHEAD_MIB + (TCG_CACHE_MIB if accelerator is Accelerator.TCG else 0)
    overhead_mib += SHARE_MIB * shares
    return Limits(memory_bytes=(memory_mib + overhead_mib) * MIB + boot_files_bytes, cpus=cpus)
