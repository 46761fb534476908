"""Looking at a container without changing it: its processes, what it uses."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hypercontainer.agent.stats import Stats
from hypercontainer.contract.answers import Process, Sample
from hypercontainer.engine import times
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.state import ContainerRecord, PodRecord
from hypercontainer.hypervisor.resources import vcpus_for


async def top(live: Live, container: str) -> list[Process]:
    tasks = await live.agent.tasks(container)
    seen_as = {task.pid: task.container_pid or task.pid for task in tasks}
    return [
        Process(
            pid=task.container_pid or task.pid,
            ppid=seen_as.get(task.parent, 0),  # as the container sees it: its init has no parent
            uid=task.uid,
            user=str(task.uid),
            cpu_ns=task.cpu_ns,
            rss_bytes=task.rss_bytes,
            started=times.from_ns(live.booted_ns + task.start_ns),
            state=task.state,
            tty=task.terminal,
            command=task.command,
            name=task.comm,
            threads=task.threads,
            virtual_bytes=task.virtual_bytes,
        )
        for task in tasks
    ]


@dataclass(frozen=True)
class Measured:
    """A sample, and what it was made of.  ``used``: by the container, as its guest says; ``processors_ns``: what all
    processors of its VM have had since that was booted, idle or not."""

    sample: Sample
    used: Stats
    processors_ns: int


async def measured(live: Live, record: ContainerRecord, pod: PodRecord) -> Measured:
    """Of the container by its guest, and of its VM by the host."""
    async with live.awake():
        used = await live.agent.stats(record.id)
    machine = await live.vm.stats()
    now_ns = time.time_ns()
    sample = Sample(
        time=times.from_ns(now_ns),
        id=record.id,
        name=record.name,
        cpu_ns=used.cpu_ns,
        vcpus=vcpus_for(pod.cpus),
        memory_bytes=max(0, used.memory_bytes - used.memory_cache_bytes),
        memory_limit_bytes=pod.memory_mib * 1024 * 1024,
        net_rx_bytes=used.net_rx_bytes,
        net_tx_bytes=used.net_tx_bytes,
        block_read_bytes=used.block_read_bytes,
        block_write_bytes=used.block_write_bytes,
        pids=used.pids,
        vm_rss_bytes=machine.rss_bytes,
    )
    return Measured(sample, used, max(0, now_ns - live.booted_ns) * sample.vcpus)
