"""What the body says of memory, processors and the like; ``update`` asks for the same."""

from __future__ import annotations

from typing import Any, Final

from hypercontainer.contract.spec import Ulimit
from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.docker.create.body import Resources

MIB: Final = 1024 * 1024
LEAST_BYTES: Final = 6 * MIB  # Docker's
LEAST_VM_BYTES: Final = 32 * MIB
PERIOD_US: Final = 100_000
_NANO: Final = 1_000_000_000


def fields(given: Resources) -> dict[str, Any]:
    """``memory_bytes``, ``cpus``, ``cpu_shares`` and ``pids_limit``, those that are said."""
    made: dict[str, Any] = {}
    _check_memory(given)
    if given.memory:
        made["memory_bytes"] = max(given.memory, LEAST_VM_BYTES)
    if (cpus := _cpus(given)) is not None:
        made["cpus"] = cpus
    if given.cpu_shares:
        made["cpu_shares"] = given.cpu_shares
    if given.pids_limit:
        made["pids_limit"] = given.pids_limit
    return made


def warnings(given: Resources) -> list[str]:
    if given.memory and given.memory < LEAST_VM_BYTES:
        return [f"Memory {given.memory}: the VM has the least that there is, {LEAST_VM_BYTES // MIB} MiB"]
    return []


def _check_memory(given: Resources) -> None:
    memory, swap = given.memory or 0, given.memory_swap or 0
    if 0 != memory < LEAST_BYTES:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if swap > 0 and swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if given.memory_swappiness is not None and not -1 <= given.memory_swappiness <= 100:
        raise InvalidArgument(
            f"Invalid value: {given.memory_swappiness}. Valid memory swappiness range is 0-100"
        )
    if memory and (given.memory_reservation or 0) > memory:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")


def _cpus(given: Resources) -> float | None:
    nano, quota, period = given.nano_cpus or 0, given.cpu_quota or 0, given.cpu_period or 0
    if nano < 0:
        raise InvalidArgument(f"NanoCpus {nano} is negative")
    if nano and (quota > 0 or period):
        which = "CPU Period" if period else "CPU Quota"
        raise InvalidArgument(f"Conflicting options: Nano CPUs and {which} cannot both be set.")
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if nano:
        return nano / _NANO
    return quota / (period or PERIOD_US) if quota > 0 else None


def ulimits(given: Resources) -> tuple[Ulimit, ...]:
    return tuple(Ulimit(one.name, one.soft, one.hard) for one in given.ulimits or ())
