"""``engine.interface.Pods``: pods with a name, and who is asked for what of their containers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence

from hypercontainer.contract.answers import (
    Exit,
    PodCreated,
    PodInspect,
    PodLogLine,
    PodSummary,
    Port,
    Process,
    Sample,
)
from hypercontainer.contract.spec import ExecSpec, PodSpec, PortMapping
from hypercontainer.contract.states import State
from hypercontainer.engine import times, views
from hypercontainer.engine.container import observe
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.creation import Creation
from hypercontainer.engine.directory import Registry
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.network import user as addresses
from hypercontainer.engine.pod import logs as pod_logs
from hypercontainer.engine.pod import views as pod_views
from hypercontainer.engine.pod.logs import Wish
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.pod.run import DEFAULT_GRACE_S, PodRuns
from hypercontainer.errors import Conflict, HyperError, NotFound

log = logging.getLogger(__name__)


class PodService:
    def __init__(self, registry: Registry, creation: Creation) -> None:
        self._registry = registry
        self._parts = registry.parts
        self.creation = creation
        self._runs = PodRuns(self._remove_quietly)
        self._resumptions: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Goes on with the runs that an earlier hyperd began."""
        for pod in self._registry.named_pods():
            self._resumptions.append(asyncio.create_task(self._resume(pod)))

    async def _resume(self, pod: Pod) -> None:
        await pod.recovered.wait()
        if pod.record.stopping:
            await self._stop(pod, None)
        elif pod.record.wanted and self._runs.running(pod) is None:
            self._runs.resume(pod)

    async def close(self) -> None:
        for task in self._resumptions:
            task.cancel()
        await self._runs.close()

    async def held(self, ref: str, *, also_of_one: bool = False) -> Pod:
        """The pod, once it has been taken back from an earlier hyperd."""
        pod = self._registry.get_pod(ref, also_of_one=also_of_one)
        await pod.recovered.wait()
        return pod

    # ------------------------------------------------------------------------------------- life

    async def create(
        self,
        spec: PodSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> PodCreated:
        return await self.creation.pod(spec, credentials, progress, asked_by)

    async def start(self, ref: str) -> None:
        pod = await self.held(ref)
        run = self._runs.running(pod) or self._runs.begin(pod)
        await run.begun()

    async def stop(self, ref: str, *, timeout_s: int | None = None) -> None:
        pod = await self.held(ref)
        await self._stop(pod, timeout_s)
        pod.tell("stop")

    async def _stop(self, pod: Pod, timeout_s: int | None) -> None:
        grace_s = float(timeout_s) if timeout_s is not None else DEFAULT_GRACE_S
        if timeout_s is None and pod.record.spec is not None and pod.record.spec.stop_timeout_s is not None:
            grace_s = float(pod.record.spec.stop_timeout_s)
        pod.change(stopping=True)
        if (run := self._runs.running(pod)) is not None:
            await run.stop(grace_s)
        # Those that were started one by one.
        await asyncio.gather(*(member.stop(timeout_s=round(grace_s)) for member in _members(pod)))
        pod.change(stopping=False, wanted=False)

    async def restart(self, ref: str, *, timeout_s: int | None = None) -> None:
        pod = await self.held(ref)
        await self._stop(pod, timeout_s)
        run = self._runs.running(pod) or self._runs.begin(pod)
        await run.begun()

    async def kill(self, ref: str, signal: str = "KILL") -> None:
        pod = await self.held(ref)
        running = [member for member in _members(pod) if member.alive]
        if not running:
            raise Conflict(f"pod {pod.record.name} is not running")
        await asyncio.gather(*(member.kill(signal) for member in running))

    async def pause(self, ref: str) -> None:
        pod = await self.held(ref)
        running = [member for member in _members(pod) if member.record.state is State.RUNNING]
        if not running:
            raise Conflict(f"pod {pod.record.name} is not running")
        await asyncio.gather(*(member.pause() for member in running))
        pod.tell("pause")

    async def unpause(self, ref: str) -> None:
        pod = await self.held(ref)
        paused = [member for member in _members(pod) if member.record.state is State.PAUSED]
        if not paused:
            raise Conflict(f"pod {pod.record.name} is not paused")
        await asyncio.gather(*(member.unpause() for member in paused))
        pod.tell("unpause")

    async def remove(self, ref: str, *, force: bool = False) -> None:
        pod = await self.held(ref)
        alive = [member.record.name for member in _members(pod) if member.alive or member.restarting]
        if alive and not force:
            raise Conflict(
                f"pod {pod.record.name} has containers that run: {', '.join(alive)}",
                hint="stop it first, or remove it with --force",
            )
        await self._remove(pod)

    async def _remove(self, pod: Pod) -> None:
        if (run := self._runs.running(pod)) is not None:
            await run.stop(0.0)
        pod.change(wanted=False)
        for member in _members(pod):
            with contextlib.suppress(NotFound):
                await member.remove(force=True)
        await self._registry.forget_pod(pod)
        pod.tell("remove")

    async def _remove_quietly(self, pod: Pod) -> None:
        try:
            await self._remove(pod)
        except HyperError as error:
            log.error("pod %s cannot be removed: %s", pod.record.name, error)

    async def wait(self, ref: str) -> Exit:
        pod = await self.held(ref)
        members = _members(pod)
        if (run := self._runs.running(pod)) is not None:
            await run.finished()
        ends = [await member.wait("not-running") for member in members]
        for member, end in zip(members, ends, strict=True):
            if end.exit_status != 0 and member.record.spec.role != "sidecar":
                return Exit(end.exit_status, end.error or pod.record.failure)
        return Exit(1, pod.record.failure) if pod.record.failure else Exit(0)

    # ------------------------------------------------------------------------------------- ports

    async def ports(self, ref: str) -> list[Port]:
        record = (await self.held(ref, also_of_one=True)).record
        return [views.port(port) for port in (record.published or record.ports)]

    async def add_ports(self, ref: str, ports: Sequence[PortMapping]) -> list[Port]:
        addresses.check(ports, None)
        pod = await self.held(ref, also_of_one=True)
        async with pod.machine:
            for port in ports:
                if any(_same(port, other) for other in pod.record.ports):
                    raise Conflict(f"{_words(port)} is published already")
            chosen: tuple[PortMapping, ...] = tuple(ports)
            if pod.vm is not None:
                chosen = addresses.publish(chosen)
                done: list[PortMapping] = []
                try:
                    for port in chosen:
                        await pod.vm.add_forward(port)
                        done.append(port)
                except HyperError:
                    for port in done:
                        await pod.vm.remove_forward(port)
                    raise
                pod.change(published=(*pod.record.published, *chosen))
            pod.change(ports=(*pod.record.ports, *ports))
        pod.tell("ports")
        return [views.port(port) for port in chosen]

    async def remove_ports(self, ref: str, ports: Sequence[PortMapping]) -> None:
        pod = await self.held(ref, also_of_one=True)
        async with pod.machine:
            for port in ports:
                if not any(_same(port, other) for other in (*pod.record.ports, *pod.record.published)):
                    raise NotFound(f"{_words(port)} is not published", hint="`hyper ports ls` shows what is")
            for port in pod.record.published:
                if pod.vm is not None and any(_same(wish, port) for wish in ports):
                    await pod.vm.remove_forward(port)
            pod.change(
                ports=tuple(p for p in pod.record.ports if not any(_same(wish, p) for wish in ports)),
                published=tuple(p for p in pod.record.published if not any(_same(w, p) for w in ports)),
            )
        pod.tell("ports")

    async def exec_create(self, ref: str, spec: ExecSpec) -> str:
        return (await self.held(ref, also_of_one=True)).execs.create(spec).id

    # ------------------------------------------------------------------------------------- questions

    async def find(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> list[PodSummary]:
        pods = [pod for pod in self._registry.named_pods() if pod_views.matches(pod, filters or {})]
        return [pod_views.summary(pod) for pod in reversed(pods)]

    async def inspect(self, ref: str) -> PodInspect:
        return pod_views.inspect(await self.held(ref))

    async def top(self, ref: str) -> list[tuple[str, Process]]:
        pod = await self.held(ref)
        found: list[tuple[str, Process]] = []
        for member in _members(pod):
            with contextlib.suppress(Conflict):  # it has ended just now
                if member.record.state is State.RUNNING:
                    found += [(member.record.name, process) for process in await observe.top(member)]
        if not found:
            raise Conflict(f"pod {pod.record.name} is not running")
        return found

    async def stats(self, ref: str) -> list[Sample]:
        pod = await self.held(ref)
        running = [member for member in _members(pod) if member.record.state is State.RUNNING]
        if not running:
            raise Conflict(f"pod {pod.record.name} is not running")
        return [await observe.stats(member) for member in running]

    async def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[PodLogLine]:
        members = _members(self._registry.get_pod(ref))
        wish = Wish(
            follow,
            times.moment_ns(since, what="since"),
            times.moment_ns(until, what="until"),
            tail,
            timestamps,
        )
        async with contextlib.aclosing(pod_logs.read(members, wish)) as lines:
            async for line in lines:
                yield line


def _members(pod: Pod) -> list[Container]:
    return list(pod.members.values())


def _same(wish: PortMapping, port: PortMapping) -> bool:
    """Whether ``wish`` means ``port``: a host port of 0 stands for whichever it got."""
    return (
        wish.container_port == port.container_port
        and wish.protocol == port.protocol
        and (wish.host_port == 0 or wish.host_port == port.host_port)
    )


def _words(port: PortMapping) -> str:
    host = f"{port.host_port}:" if port.host_port else ""
    return f"port {host}{port.container_port}/{port.protocol}"
