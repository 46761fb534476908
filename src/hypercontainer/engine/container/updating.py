"""A container that is asked for in other words than it was created by."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hypercontainer.contract.spec import ContainerSpec, RestartPolicy
from hypercontainer.engine.container.restart import wanted
from hypercontainer.engine.container.visits import Visited
from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.hypervisor.resources import memory_mib
from hypercontainer.semantics import docker


class Updated(Visited):
    @abstractmethod
    async def _cancel_restart(self) -> None:
        """It is not started again, where it was about to be."""

    async def update(
        self,
        *,
        restart: RestartPolicy | None = None,
        memory_bytes: int | None = None,
        cpus: float | None = None,
        cpu_shares: int | None = None,
        pids_limit: int | None = None,
    ) -> None:
        """What is not None is so from now on: the restart policy at its next end, the rest at its next start.  Conflict
        where that is another while it runs, as a VM keeps what it began with."""
        limits = {
            "memory_bytes": memory_bytes,
            "cpus": cpus,
            "cpu_shares": cpu_shares,
            "pids_limit": pids_limit,
        }
        async with self._at_rest() as resting:
            spec = self.record.spec
            changed: dict[str, Any] = {
                name: value
                for name, value in limits.items()
                if value is not None and value != getattr(spec, name)
            }
            if changed and not resting:
                raise Conflict(
                    f"{self.what} runs, and its VM keeps what it began with: {', '.join(sorted(changed))}",
                    hint="stop it first",
                )
            if restart is not None:
                _check(self.what, spec, restart)
                changed["restart"] = restart
            self._apply(replace(spec, **changed), changed)
            if resting and self.restarting and not wanted(self.record):
                await self._cancel_restart()

    def _apply(self, spec: ContainerSpec, changed: Mapping[str, Any]) -> None:
        docker.check_limits(spec)
        pod = self.sandbox.record
        if pod.value.alone:
            vm: dict[str, Any] = {}
            if "memory_bytes" in changed:
                vm["memory_mib"] = memory_mib(changed["memory_bytes"])
            if "cpus" in changed:
                vm["cpus"] = changed["cpus"]
            if vm:
                said = {name: changed[name] for name in ("memory_bytes", "cpus") if name in changed}
                pod.change(spec=replace(pod.value.spec, **said), **vm)
        self.change("update", spec=spec)


def _check(what: str, spec: ContainerSpec, restart: RestartPolicy) -> None:
    if spec.auto_remove and restart.name != "no":
        raise InvalidArgument(
            f"{what} is removed when it has ended, and so is not started again", field="restart", takes="no"
        )
