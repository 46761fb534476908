"""Labels by which Docker's clients say what Docker has no words for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypercontainer.contract.sizes import size_bytes
from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.docker.create.body import HostConfig

POD, MEMORY, CPUS, KERNEL, HYPERVISOR = (
    f"hyper.{name}" for name in ("pod", "memory", "cpus", "kernel", "hypervisor")
)


@dataclass(frozen=True)
class HyperLabels:
    """``pod`` "": one of its own.  The rest is of the VM."""

    pod: str = ""
    memory_bytes: int | None = None
    cpus: float | None = None
    kernel: str | None = None
    hypervisor: str | None = None

    def fields(self, host: HostConfig) -> dict[str, Any]:
        """Of the ContainerSpec.  Of one in a pod memory and processors are its limits there, and not the VM's."""
        made: dict[str, Any] = {"kernel": self.kernel, "hypervisor": self.hypervisor}
        if self.pod:
            return made
        if self.memory_bytes is not None and host.memory:
            raise InvalidArgument(f"label {MEMORY} and HostConfig.Memory say the same", hint="leave one out")
        said = {"memory_bytes": self.memory_bytes, "cpus": self.cpus}
        return made | {name: value for name, value in said.items() if value is not None}


def of(labels: Mapping[str, str]) -> HyperLabels:
    return HyperLabels(
        labels.get(POD, ""),
        _memory(labels[MEMORY]) if MEMORY in labels else None,
        _cpus(labels[CPUS]) if CPUS in labels else None,
        labels.get(KERNEL) or None,
        labels.get(HYPERVISOR) or None,
    )


def _memory(text: str) -> int:
    try:
        return size_bytes(text)
    except ValueError as error:
        raise InvalidArgument(f"label {MEMORY}={text[:40]} {error}", hint="such as 512m") from None


def _cpus(text: str) -> float:
    try:
        count = float(text)
    except ValueError:
        count = 0.0
    if not 0 < count <= 4096:
        raise InvalidArgument(f"label {CPUS}={text[:40]} is no number of processors", hint="such as 2 or 0.5")
    return count
