"""Pods: several containers in one VM, and a handle on each pod."""

# ruff: noqa: A002 - names as in `subprocess` and the API

from __future__ import annotations

import asyncio
import builtins
import contextlib
import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec

from hypercontainer.client.api import LIFECYCLE_TIMEOUT_S
from hypercontainer.contract.answers import (
    Created,
    Exit,
    PodCreated,
    PodInspect,
    PodLogLine,
    PodSummary,
    Port,
    Sample,
)
from hypercontainer.contract.calls import PodList, PodProcess, PodProcessList, PodSamples, PortList
from hypercontainer.contract.spec import PodSpec
from hypercontainer.errors import NotFound
from hypercontainer.sdk.aio.calls import Filters, as_bytes, as_query, exec_spec, exec_stream_of
from hypercontainer.sdk.aio.containers import AsyncContainer
from hypercontainer.sdk.aio.life import AsyncLife
from hypercontainer.sdk.aio.pulling import with_images
from hypercontainer.sdk.aio.stream import MAX_OUTPUT_BYTES, AsyncStream
from hypercontainer.sdk.failures import ContainerFailed, deadline
from hypercontainer.sdk.options import Pairs, Ports, moment, port_mappings
from hypercontainer.sdk.results import PodOutput, RunResult, channel_name
from hypercontainer.sdk.transport import Api, OnProgress


class AsyncPod(AsyncLife):
    """A pod.  As a context manager it is removed, by force, when the block is left."""

    _collection = "pods"

    async def inspect(self) -> PodInspect:
        """All that hyperd knows of it, now.

        Example::

            assert (await pod.inspect()).state == "running"
        """
        return await self._api.call("pods.inspect", PodInspect, self.id)

    async def container(self, name: str) -> AsyncContainer:
        """A handle on one of its containers, by the container's name; a manifest's without the pod's.

        Example::

            (first, *_) = (await pod.inspect()).containers
            member = await pod.container(first.name)
            assert (await member.exec(["echo", "here"])).stdout == b"here\\n"
        """
        for member in (await self.inspect()).containers:
            if member.name in (name, f"{self.name}-{name}") or member.id == name:
                return AsyncContainer(self._api, Created(member.id, member.name))
        raise NotFound(f"pod {self.name} has no container {name}")

    async def wait(self, *, timeout_s: float | None = None) -> int:
        """When all its containers have ended for good: the status of the first that failed, or 0.

        Example::

            await pod.kill()
            assert await pod.wait(timeout_s=60) == 137
        """
        async with deadline(f"wait for pod {self.name}", timeout_s):
            ended = await self._api.call("pods.wait", Exit, self.id, timeout_s=None)
        return ended.exit_status

    async def top(self) -> list[PodProcess]:
        """The processes of all its containers.

        Example::

            assert {"main", "side"} <= {line.container for line in await pod.top()}
        """
        return (await self._api.call("pods.top", PodProcessList, self.id)).processes

    async def stats(self) -> list[Sample]:
        """What each of its running containers uses.

        Example::

            assert len(await pod.stats()) == 2
        """
        return (await self._api.call("pods.stats", PodSamples, self.id)).samples

    async def logs(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> AsyncGenerator[PodOutput, None]:
        """What its containers have written, and with ``follow`` go on to write, until it ends.

        Example::

            async for container, channel, data in pod.logs(tail=10):
                print(container, channel, data)
        """
        query = {
            "follow": follow,
            "since": moment("since", since),
            "until": moment("until", until),
            "tail": tail,
            "timestamps": timestamps,
        }
        async with contextlib.aclosing(
            self._api.values("pods.logs", PodLogLine, self.id, query=query)
        ) as lines:
            async for line in lines:
                yield PodOutput(line.container, channel_name(line.channel), line.data)

    async def ports(self) -> list[Port]:
        """The ports that it publishes.

        Example::

            assert await pod.ports() == []
        """
        return (await self._api.call("pods.ports", PortList, self.id)).ports

    async def add_ports(self, ports: Ports) -> list[Port]:
        """Publishes more of its ports, at once where it runs; as ``ports`` of a container.  The new ones.

        Example::

            (added,) = await pod.add_ports({8080: 0})
            assert added.host_port > 0
        """
        body = {"ports": port_mappings(ports)}
        return (await self._api.call("pods.add_ports", PortList, self.id, body=body)).ports

    async def remove_ports(self, ports: Ports) -> None:
        """Takes published ports back.

        Example::

            (added,) = await pod.add_ports({8080: 0})
            await pod.remove_ports({8080: added.host_port})
        """
        await self._api.act("pods.remove_ports", self.id, body={"ports": port_mappings(ports)})

    async def exec(
        self,
        command: Sequence[str],
        *,
        input: bytes | str | None = None,
        check: bool = False,
        timeout_s: float | None = None,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
    ) -> RunResult:
        """Runs a program in its VM, outside of any container, to its end.

        Example::

            assert (await pod.exec(["sh", "-c", "echo $((6 * 7))"])).stdout == b"42\\n"
        """
        stream = self.exec_stream(command, stdin=input is not None)
        what = f"{command[0]} in the VM of pod {self.name}"
        async with deadline(what, timeout_s), stream:
            result = await stream.communicate(as_bytes(input), max_output_bytes=max_output_bytes)
        if check and not result.ok:
            raise ContainerFailed(what, result)
        return result

    def exec_stream(
        self, command: Sequence[str], *, stdin: bool = False, tty: bool = False, env: Pairs | None = None
    ) -> AsyncStream:
        """A program in its VM, outside of any container; killed where the block is left before its end.

        Example::

            async with pod.exec_stream(["sh", "-c", "echo out"]) as stream:
                async for channel, data in stream:
                    assert (channel, data) == ("stdout", b"out\\n")
        """
        spec = exec_spec(
            command, stdin=stdin, tty=tty, env=env, working_dir=None, user=None, privileged=False
        )
        what = f"{spec.command[0]} in the VM of pod {self.name}"
        return exec_stream_of(self._api, "pods.exec_create", self.id, spec, what)


class AsyncPods:
    """All pods that have a name of their own."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(
        self, spec: PodSpec, *, start: bool = False, progress: OnProgress | None = None
    ) -> AsyncPod:
        """Makes a pod and all its containers, or nothing; the images are pulled where they are missing.

        Example::

            from hypercontainer import ContainerSpec, PodSpec
            wanted = PodSpec(containers=(ContainerSpec("busybox", command=("sleep", "1000")),))
            async with await hyper.pods.create(wanted) as made:
                assert (await made.inspect()).state == "created"
        """
        local = await with_images(self._api, spec, progress)
        made = await self._api.call(
            "pods.create",
            PodCreated,
            query={"start": start},
            body=local,
            timeout_s=LIFECYCLE_TIMEOUT_S,
        )
        return AsyncPod(self._api, made)

    async def start(self, spec: PodSpec, *, progress: OnProgress | None = None) -> AsyncPod:
        """Makes a pod and starts it.

        Example::

            from hypercontainer import ContainerSpec, PodSpec
            wanted = PodSpec(containers=(ContainerSpec("busybox", command=("sleep", "1000")),))
            async with await hyper.pods.start(wanted) as made:
                assert (await made.inspect()).state == "running"
        """
        return await self.create(spec, start=True, progress=progress)

    async def from_podfile(
        self, path: str | os.PathLike[str], *, start: bool = True, progress: OnProgress | None = None
    ) -> AsyncPod:
        """The pod that a podfile describes (docs/podfile.md), which is read here, with this program's rights.

        Example::

            from pathlib import Path
            Path("web.yaml").write_text("containers: [{image: busybox, command: [sleep, '1000']}]")
            async with await hyper.pods.from_podfile("web.yaml") as made:
                assert (await made.inspect()).state == "running"
        """
        spec, warnings = await asyncio.to_thread(_read_podfile, Path(path))
        made = await self.create(spec, start=start, progress=progress)
        created = made._created
        made._created = msgspec.structs.replace(created, warnings=warnings + created.warnings)
        return made

    async def get(self, ref: str) -> AsyncPod:
        """The pod of this name or ID; NotFound where there is none.

        Example::

            assert (await hyper.pods.get(pod.name)).id == pod.id
        """
        found = await self._api.call("pods.inspect", PodInspect, ref)
        return AsyncPod(self._api, PodCreated(found.id, found.name))

    async def list(self, *, filters: Filters | None = None) -> builtins.list[PodSummary]:
        """All pods.  Filters: as of ``hyper pod ls``.

        Example::

            assert pod.id in [one.id for one in await hyper.pods.list()]
        """
        query = {"filters": as_query(filters)}
        return (await self._api.call("pods.find", PodList, query=query)).pods


def _read_podfile(path: Path) -> tuple[PodSpec, tuple[str, ...]]:
    from hypercontainer import podfile
    from hypercontainer.podfile.fetching import Fetcher

    return podfile.read(path.read_bytes(), where=str(path), fetch=Fetcher())
