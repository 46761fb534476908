"""What vSphere knows of a VM's end, and of what it uses.  Blocks."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.esx.session import Live, properties
from hypercontainer.hypervisor.text import printable

_OF_ENDS = ("VmPoweredOffEvent", "VmGuestShutdownEvent")


@dataclass(frozen=True)
class Usage:
    """``cpus``: of how many processors' time, just now."""

    cpus: float
    memory_bytes: int
    uptime_s: float


def usage(live: Live, machine: Any) -> Usage:
    found = properties(live, machine, "summary.quickStats", "summary.config.numCpu", "runtime.maxCpuUsage")
    quick = found.get("summary.quickStats")
    most, processors = found.get("runtime.maxCpuUsage") or 0, found.get("summary.config.numCpu") or 1
    mhz = (quick.overallCpuUsage or 0) if quick else 0
    memory = (quick.hostMemoryUsage or 0) if quick else 0
    uptime = (quick.uptimeSeconds or 0) if quick else 0
    return Usage(mhz / most * processors if most else 0.0, memory << 20, float(uptime))


class CpuTime:
    """All that was used, of what was used at the moments when somebody asked: vSphere counts none itself."""

    def __init__(self) -> None:
        self._total_ns = 0.0
        self._at: float | None = None

    def at(self, now: float, cpus: float, uptime_s: float) -> int:
        since = now - self._at if self._at is not None else uptime_s
        self._at = now
        self._total_ns += max(0.0, since) * cpus * 1e9
        return int(self._total_ns)


def why_off(live: Live, machine: Any) -> tuple[ExitReason, str]:
    """Of a machine that is off, by the last that is written of that."""
    kinds = vim.event
    spec = kinds.EventFilterSpec(
        entity=kinds.EventFilterSpec.ByEntity(entity=machine, recursion="self"),
        eventTypeId=[f"{prefix}{name}" for name in _OF_ENDS for prefix in ("", "vim.event.")],
    )
    collector = live.content.eventManager.CreateCollectorForEvents(spec)  # a host has no QueryEvents
    try:
        found = sorted(
            properties(live, collector, "latestPage").get("latestPage", ()), key=lambda each: each.createdTime
        )
    finally:
        with contextlib.suppress(vmodl.MethodFault):
            collector.DestroyCollector()
    if any(isinstance(each, kinds.VmGuestShutdownEvent) for each in found[-2:]):
        return ExitReason.GUEST_SHUTDOWN, ""
    offs = [each for each in found if isinstance(each, kinds.VmPoweredOffEvent)]
    if not offs:
        return ExitReason.UNKNOWN, ""
    who = printable(str(offs[-1].userName or "").encode())[:100]
    if not who or who == "User":  # nobody's name: by itself
        return ExitReason.GUEST_SHUTDOWN, ""
    return ExitReason.CRASH, f"it was powered off in vSphere by {who}\n"
