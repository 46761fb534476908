"""Handlers of the calls on pods; docs/api.md, "Pods"."""

from __future__ import annotations

from hypercontainer.contract import calls as m
from hypercontainer.contract.answers import Exit, PodCreated, PodInspect
from hypercontainer.contract.spec import ExecSpec, PodSpec
from hypercontainer.surfaces.hyper.progress import every_second, value_lines
from hypercontainer.surfaces.hyper.routing import Call, Chunks, Nothing


async def create(call: Call[m.CreatePodQuery, PodSpec]) -> PodCreated:
    pods = call.engine.pods
    created = await pods.create(call.body, credentials=call.credentials, asked_by=call.peer_uid)
    if call.query.start:
        await pods.start(created.id)
    return created


async def find(call: Call[m.FiltersQuery, Nothing]) -> m.PodList:
    return m.PodList(await call.engine.pods.find(filters=call.query.filters))


async def inspect(call: Call[Nothing, Nothing]) -> PodInspect:
    return await call.engine.pods.inspect(call.id)


async def remove(call: Call[m.ForceQuery, Nothing]) -> None:
    await call.engine.pods.remove(call.id, force=call.query.force)


async def start(call: Call[Nothing, Nothing]) -> None:
    await call.engine.pods.start(call.id)


async def stop(call: Call[Nothing, m.RestartBody]) -> None:
    await call.engine.pods.stop(call.id, timeout_s=call.body.timeout_s)


async def restart(call: Call[Nothing, m.RestartBody]) -> None:
    await call.engine.pods.restart(call.id, timeout_s=call.body.timeout_s)


async def kill(call: Call[Nothing, m.KillBody]) -> None:
    await call.engine.pods.kill(call.id, call.body.signal)


async def pause(call: Call[Nothing, Nothing]) -> None:
    await call.engine.pods.pause(call.id)


async def unpause(call: Call[Nothing, Nothing]) -> None:
    await call.engine.pods.unpause(call.id)


async def wait(call: Call[Nothing, Nothing]) -> Exit:
    return await call.engine.pods.wait(call.id)


async def top(call: Call[Nothing, Nothing]) -> m.PodProcessList:
    found = await call.engine.pods.top(call.id)
    return m.PodProcessList([m.PodProcess(container, process) for container, process in found])


async def stats(call: Call[m.StatsQuery, Nothing]) -> Chunks | m.PodSamples:
    async def samples() -> m.PodSamples:
        return m.PodSamples(await call.engine.pods.stats(call.id))

    first = await samples()
    return Chunks(value_lines(every_second(first, samples))) if call.query.stream else first


async def logs(call: Call[m.LogsQuery, Nothing]) -> Chunks:
    await call.engine.pods.inspect(call.id)  # a pod that is not there is an HTTP answer
    query = call.query
    entries = call.engine.pods.logs(
        call.id,
        follow=query.follow,
        since=query.since,
        until=query.until,
        tail=query.tail,
        timestamps=query.timestamps,
    )
    return Chunks(value_lines(entries), at_once=True)


async def ports(call: Call[Nothing, Nothing]) -> m.PortList:
    return m.PortList(await call.engine.pods.ports(call.id))


async def add_ports(call: Call[Nothing, m.PortsBody]) -> m.PortList:
    return m.PortList(await call.engine.pods.add_ports(call.id, call.body.ports))


async def remove_ports(call: Call[Nothing, m.PortsBody]) -> None:
    await call.engine.pods.remove_ports(call.id, call.body.ports)


async def exec_create(call: Call[Nothing, ExecSpec]) -> m.ExecCreated:
    return m.ExecCreated(await call.engine.pods.exec_create(call.id, call.body))
