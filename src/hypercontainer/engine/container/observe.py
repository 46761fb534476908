"""Looking at a container without changing it: its processes, what it uses, its log."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypercontainer.contract.answers import Process, Sample
from hypercontainer.engine import times
from hypercontainer.engine.container.container import Container
from hypercontainer.errors import Conflict
from hypercontainer.hypervisor.resources import vcpus_for


async def top(container: Container) -> list[Process]:
    container.running_init()
    agent = container.pod.agent
    tasks = await agent.tasks(container.record.id)
    seen_as = {task.pid: task.container_pid or task.pid for task in tasks}
    return [
        Process(
            pid=task.container_pid or task.pid,
            ppid=seen_as.get(task.parent, 0),  # as the container sees it: its init has no parent
            uid=task.uid,
            user=str(task.uid),
            cpu_ns=task.cpu_ns,
            rss_bytes=task.rss_bytes,
            started=times.from_ns(container.pod.booted_ns + task.start_ns),
            state=task.state,
            tty=task.terminal,
            command=task.command,
        )
        for task in tasks
    ]


async def stats(container: Container) -> Sample:
    """Of the container by its guest, and of its VM by the host."""
    if not container.alive or container.pod.vm is None:
        raise Conflict(f"{container.what} is not running")
    used = await container.pod.agent.stats(container.record.id)
    machine = await container.pod.vm.stats()
    record = container.pod.record
    return Sample(
        time=times.now(),
        id=container.record.id,
        name=container.record.name,
        cpu_ns=used.cpu_ns,
        vcpus=vcpus_for(record.cpus),
        memory_bytes=max(0, used.memory_bytes - used.memory_cache_bytes),
        memory_limit_bytes=record.memory_mib * 1024 * 1024,
        net_rx_bytes=used.net_rx_bytes,
        net_tx_bytes=used.net_tx_bytes,
        block_read_bytes=used.block_read_bytes,
        block_write_bytes=used.block_write_bytes,
        pids=used.pids,
        vm_rss_bytes=machine.rss_bytes,
    )


async def read_log(
    container: Container,
    *,
    follow: bool,
    since_ns: int | None,
    until_ns: int | None,
    tail: int | None,
    timestamps: bool,
) -> AsyncIterator[tuple[int, bytes]]:
    """(channel, bytes); ``follow`` ends with the run that is going on, as `docker logs -f` does."""
    if container.record.spec.log.driver == "none":
        raise Conflict(f"{container.what} keeps no log (--log-driver none)")
    async for item in container.log.read(
        follow=follow and container.alive,
        since_ns=since_ns,
        until_ns=until_ns,
        tail=tail,
        timestamps=timestamps,
    ):
        yield item
