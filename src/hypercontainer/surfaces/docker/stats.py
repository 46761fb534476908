"""What a container uses, in the one document that Docker's clients make their columns of.

A container's own numbers are its guest's, of cgroup version 2; ``system_cpu_usage`` is what all processors of its VM
have had, so that a share of it is a share of the VM.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from hypercontainer.engine.container.observe import Measured
from hypercontainer.errors import AgentError, InvalidArgument, NotFound
from hypercontainer.semantics.shape import NEVER
from hypercontainer.surfaces.docker import versions
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.http.answers import Chunks, Reply, every_second, json_line

U64_MAX = 2**64 - 1
DISK = re.compile(r"([0-9]{1,9}):([0-9]{1,9})")
# Of version 1 of cgroups, of which version 2 has nothing.
_NOT_COUNTED = (
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


async def stats(call: Call) -> Reply | Chunks:
    stream, one_shot = call.query.flag("stream", default=True), call.query.flag("one-shot")
    if stream and one_shot:
        raise InvalidArgument("cannot have stream=true and one-shot=true")
    container = await (await call.container()).inspect()
    readings = _Readings(call, container.id, container.name)
    first = await readings.next()
    if stream:
        # Docker says nothing of what these lines are.
        return Chunks(200, (), _lines(readings, first), at_once=True)
    if one_shot or not readings.runs:
        return found(first)
    async with aclosing(every_second(first, readings.next)) as two:
        await anext(two)
        return found(await anext(two))


async def _lines(readings: _Readings, first: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """Until the container is gone."""
    with suppress(NotFound):
        async with aclosing(every_second(first, readings.next)) as samples:
            async for each in samples:
                yield json_line(each)


class _Readings:
    """One after another, each with the one before it."""

    def __init__(self, call: Call, identifier: str, name: str) -> None:
        self._call = call
        self._id, self._name = identifier, name
        self._before: Measured | None = None
        self.runs = False

    async def next(self) -> dict[str, Any]:
        """NotFound when the container is gone."""
        container = await self._call.engine.containers.held(self._id)
        try:
            now = await container.measured()
        except AgentError:  # it ends just now, or its guest has no answer
            now = None
        made = document(self._id, self._name, now, self._before)
        self._before, self.runs = now, now is not None
        versions.shaped("stats", made, self._call.version)
        return made


def document(identifier: str, name: str, now: Measured | None, before: Measured | None) -> dict[str, Any]:
    """``now`` None: it does not run; ``before`` None: there is none to compare with."""
    return {
        "name": f"/{name}",
        "id": identifier,
        "os_type": "linux",
        "read": now.sample.time if now else NEVER,
        "preread": before.sample.time if before else NEVER,
        "num_procs": 0,  # Windows has it
        "storage_stats": {},
        "pids_stats": _pids(now) if now else {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(now) if now else {},
        "blkio_stats": {
            "io_service_bytes_recursive": _disks(now) if now else None,
            **dict.fromkeys(_NOT_COUNTED),
        },
        **({"networks": now.used.interfaces} if now and now.used.interfaces else {}),
    }


def _pids(now: Measured) -> dict[str, int]:
    return {"current": now.used.pids, "limit": now.used.pids_max or U64_MAX}


def _cpu(at: Measured | None) -> dict[str, Any]:
    told = at.used.cpu_stat if at else {}
    return {
        "cpu_usage": {
            "total_usage": at.sample.cpu_ns if at else 0,
            "usage_in_kernelmode": _ns(told.get("system_usec", 0)),
            "usage_in_usermode": _ns(told.get("user_usec", 0)),
        },
        **({"system_cpu_usage": at.processors_ns, "online_cpus": at.sample.vcpus} if at else {}),
        "throttling_data": {
            "periods": told.get("nr_periods", 0),
            "throttled_periods": told.get("nr_throttled", 0),
            "throttled_time": _ns(told.get("throttled_usec", 0)),
        },
    }


def _ns(microseconds: int) -> int:
    """A guest may say anything."""
    return min(microseconds * 1000, U64_MAX)


def _memory(now: Measured) -> dict[str, Any]:
    """Clients take ``inactive_file`` off the usage."""
    return {
        "usage": now.used.memory_bytes,
        "stats": now.used.memory_stat,
        "limit": now.sample.memory_limit_bytes,
    }


def _disks(now: Measured) -> list[dict[str, Any]] | None:
    return [
        {"major": int(numbers[1]), "minor": int(numbers[2]), "op": words, "value": told.get(key, 0)}
        for disk, told in now.used.disks.items()
        if (numbers := DISK.fullmatch(disk)) is not None
        for words, key in (("read", "rbytes"), ("write", "wbytes"))
    ] or None
