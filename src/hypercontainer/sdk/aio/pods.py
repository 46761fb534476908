"""Pods: several containers in one VM, and a handle on each pod."""

# ruff: noqa: A002 - names as in `subprocess` and the API

from __future__ import annotations

import asyncio
import builtins
import contextlib
import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Self

import msgspec

from hypercontainer.client.api import LIFECYCLE_TIMEOUT_S
from hypercontainer.client.http import quote
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
from hypercontainer.contract.spec import PodSpec
from hypercontainer.errors import NotFound
from hypercontainer.sdk.aio.calls import Filters, as_bytes, as_query, exec_spec, exec_stream_of
from hypercontainer.sdk.aio.containers import AsyncContainer
from hypercontainer.sdk.aio.pulling import with_images
from hypercontainer.sdk.aio.stream import MAX_OUTPUT_BYTES, AsyncStream
from hypercontainer.sdk.failures import ContainerFailed, deadline
from hypercontainer.sdk.options import Pairs, Ports, port_mappings
from hypercontainer.sdk.results import PodOutput, PodProcess, RunResult, channel_name
from hypercontainer.sdk.transport import Api, OnProgress


class _Listed(msgspec.Struct, frozen=True):
    pods: builtins.list[PodSummary]


class _Ports(msgspec.Struct, frozen=True):
    ports: builtins.list[Port]


class _Processes(msgspec.Struct, frozen=True):
    processes: builtins.list[PodProcess]


class _Samples(msgspec.Struct, frozen=True):
    samples: builtins.list[Sample]


class AsyncPod:
    """A pod.  As a context manager it is removed, by force, when the block is left."""

    def __init__(self, api: Api, created: PodCreated) -> None:
        self._api = api
        self._created = created
        self._path = f"/v1/pods/{quote(created.id)}"

    def __repr__(self) -> str:
        return f"<AsyncPod {self.name} {self.id[:12]}>"

    @property
    def id(self) -> str:
        return self._created.id

    @property
    def name(self) -> str:
        return self._created.name

    @property
    def warnings(self) -> tuple[str, ...]:
        """What hyperd, and the podfile's reader, had to say when it was made."""
        return self._created.warnings

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(NotFound):
            await self.remove(force=True)

    async def inspect(self) -> PodInspect:
        """All that hyperd knows of it, now.

        Example::

            assert (await pod.inspect()).state == "running"
        """
        return await self._api.get(self._path, PodInspect)

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

    async def start(self) -> None:
        """Starts it; returns when every container runs that shall.

        Example::

            await pod.start()
        """
        await self._api.act(f"{self._path}/start")

    async def stop(self, *, grace_s: int | None = None) -> None:
        """Asks its containers to end, and ends them after ``grace_s``.

        Example::

            await pod.stop(grace_s=0)
        """
        await self._api.act(f"{self._path}/stop", {"timeout_s": grace_s})

    async def restart(self, *, grace_s: int | None = None) -> None:
        """Stops and starts it.

        Example::

            await pod.restart(grace_s=0)
        """
        await self._api.act(f"{self._path}/restart", {"timeout_s": grace_s})

    async def kill(self, signal: str = "KILL") -> None:
        """Sends the first process of each container a signal.

        Example::

            await pod.kill()
            await pod.wait(timeout_s=60)
        """
        await self._api.act(f"{self._path}/kill", {"signal": signal})

    async def pause(self) -> None:
        """Its VM stands still until ``unpause``.

        Example::

            await pod.pause()
            await pod.unpause()
        """
        await self._api.act(f"{self._path}/pause")

    async def unpause(self) -> None:
        """See ``pause``.

        Example::

            await pod.pause()
            await pod.unpause()
        """
        await self._api.act(f"{self._path}/unpause")

    async def remove(self, *, force: bool = False) -> None:
        """Removes it with its containers; ``force``: also while it runs.

        Example::

            await pod.remove(force=True)
        """
        await self._api.act(self._path, method="DELETE", query={"force": force})

    async def wait(self, *, timeout_s: float | None = None) -> int:
        """When all its containers have ended for good: the status of the first that failed, or 0.

        Example::

            await pod.kill()
            assert await pod.wait(timeout_s=60) == 137
        """
        async with deadline(f"wait for pod {self.name}", timeout_s):
            ended = await self._api.call("GET", f"{self._path}/wait", Exit, timeout_s=None)
        return ended.exit_status

    async def top(self) -> list[PodProcess]:
        """The processes of all its containers.

        Example::

            assert {"main", "side"} <= {line.container for line in await pod.top()}
        """
        return (await self._api.get(f"{self._path}/top", _Processes)).processes

    async def stats(self) -> list[Sample]:
        """What each of its running containers uses.

        Example::

            assert len(await pod.stats()) == 2
        """
        return (await self._api.get(f"{self._path}/stats", _Samples)).samples

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
        query = {"follow": follow, "since": since, "until": until, "tail": tail, "timestamps": timestamps}
        async with contextlib.aclosing(
            self._api.values(f"{self._path}/logs", PodLogLine, query=query)
        ) as lines:
            async for line in lines:
                yield PodOutput(line.container, channel_name(line.channel), line.data)

    async def ports(self) -> list[Port]:
        """The ports that it publishes.

        Example::

            assert await pod.ports() == []
        """
        return (await self._api.get(f"{self._path}/ports", _Ports)).ports

    async def add_ports(self, ports: Ports) -> list[Port]:
        """Publishes more of its ports, at once where it runs; as ``ports`` of a container.  The new ones.

        Example::

            (added,) = await pod.add_ports({8080: 0})
            assert added.host_port > 0
        """
        body = {"ports": port_mappings(ports)}
        return (await self._api.call("POST", f"{self._path}/ports", _Ports, body=body)).ports

    async def remove_ports(self, ports: Ports) -> None:
        """Takes published ports back.

        Example::

            (added,) = await pod.add_ports({8080: 0})
            await pod.remove_ports({8080: added.host_port})
        """
        await self._api.act(f"{self._path}/ports", {"ports": port_mappings(ports)}, method="DELETE")

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
        return exec_stream_of(self._api, self._path, spec, f"{spec.command[0]} in the VM of pod {self.name}")


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
            "POST",
            "/v1/pods",
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
        found = await self._api.get(f"/v1/pods/{quote(ref)}", PodInspect)
        return AsyncPod(self._api, PodCreated(found.id, found.name))

    async def list(self, *, filters: Filters | None = None) -> builtins.list[PodSummary]:
        """All pods.  Filters: as of ``hyper pod ls``.

        Example::

            assert pod.id in [one.id for one in await hyper.pods.list()]
        """
        return (await self._api.get("/v1/pods", _Listed, {"filters": as_query(filters)})).pods


def _read_podfile(path: Path) -> tuple[PodSpec, tuple[str, ...]]:
    from hypercontainer import podfile
    from hypercontainer.podfile.fetching import Fetcher

    return podfile.read(path.read_bytes(), where=str(path), fetch=Fetcher())
