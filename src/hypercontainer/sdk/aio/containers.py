"""Containers: making them, and a handle on each."""

# ruff: noqa: A002 - names as in `subprocess` and the API

from __future__ import annotations

import builtins
import contextlib
import io
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Any, BinaryIO, Unpack

import msgspec

from hypercontainer.client.api import LIFECYCLE_TIMEOUT_S
from hypercontainer.client.http import BrokenAnswer, broken_frame
from hypercontainer.contract.answers import (
    Change,
    Created,
    Exit,
    Inspect,
    PathFacts,
    Process,
    Sample,
    Summary,
)
from hypercontainer.contract.calls import ChangeList, ContainerList, ProcessList
from hypercontainer.contract.frames import CONTROL, FrameReader
from hypercontainer.contract.images import ImageSummary
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.errors import HyperError, NotFound
from hypercontainer.sdk.aio.archives import Archive, packed, unpacked, written
from hypercontainer.sdk.aio.calls import Filters, as_bytes, as_query, exec_spec, exec_stream_of
from hypercontainer.sdk.aio.life import AsyncLife
from hypercontainer.sdk.aio.pulling import with_image
from hypercontainer.sdk.aio.stream import MAX_OUTPUT_BYTES, AsyncStream
from hypercontainer.sdk.container_options import ContainerOptions
from hypercontainer.sdk.failures import ContainerFailed, TooMuchOutput, deadline, wire_error
from hypercontainer.sdk.options import Pairs, container_spec, moment
from hypercontainer.sdk.results import Output, RunResult, channel_name
from hypercontainer.sdk.transport import Api, OnProgress, Upgraded, decoded


class AsyncContainer(AsyncLife):
    """A container.  As a context manager it is removed, by force and with the volumes that nobody has named, when the
    block is left."""

    _collection = "containers"

    async def _discard(self) -> None:
        await self.remove(force=True, volumes=True)

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Removes it with all that it has written; ``force``: also while it runs; ``volumes``: with those of its
        volumes that nobody has named, too.

        Example::

            await box.remove(force=True, volumes=True)
        """
        query = {"force": force, "volumes": volumes}
        await self._api.act("containers.remove", self.id, query=query)

    async def inspect(self) -> Inspect:
        """All that hyperd knows of it, now.

        Example::

            assert (await box.inspect()).state == "running"
        """
        return await self._api.call("containers.inspect", Inspect, self.id)

    async def stop(self, *, grace_s: int | None = None, signal: str | None = None) -> None:
        """Asks it to end, and ends it after ``grace_s``.  None: as it was created, or ten seconds.

        Example::

            await box.stop(grace_s=0)
            assert (await box.inspect()).state == "exited"
        """
        await self._api.act("containers.stop", self.id, body={"timeout_s": grace_s, "signal": signal})

    async def rename(self, name: str) -> None:
        """Gives it another name.

        Example::

            await box.rename("once-a-box")
            assert box.name == "once-a-box"
        """
        await self._api.act("containers.rename", self.id, body={"name": name})
        self._created = msgspec.structs.replace(self._created, name=name)

    async def wait(self, *, timeout_s: float | None = None) -> int:
        """Its exit status, once it has ended.

        Example::

            await box.kill()
            assert await box.wait(timeout_s=30) == 137
        """
        async with deadline(f"wait for {self.name}", timeout_s):
            ended = await self._api.call("containers.wait", Exit, self.id, timeout_s=None)
        return ended.exit_status

    async def logs(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> AsyncGenerator[Output, None]:
        """What it has written, piece by piece, and with ``follow`` goes on to write, until it ends.

        ``since``, ``until``: RFC 3339, Unix seconds, or how long ago ("10m").  ``tail``: so many last lines.

        Example::

            async for channel, data in box.logs(tail=10):
                print(channel, data)
        """
        query = {
            "follow": follow,
            "since": moment("since", since),
            "until": moment("until", until),
            "tail": tail,
            "timestamps": timestamps,
        }
        async with self._api.exchange("containers.logs", self.id, query=query) as exchange:
            frames = FrameReader(broken_frame)
            async for piece in exchange.pieces():
                for channel, payload in frames.feed(piece):
                    if channel == CONTROL:
                        raise wire_error(decoded(bytes(payload), dict[str, Any]).get("error"))
                    if payload:
                        yield Output(channel_name(channel), bytes(payload))
            if not frames.clean:
                raise BrokenAnswer("hyperd ended the log in the middle of a frame")

    async def export(self, out: str | os.PathLike[str] | BinaryIO) -> None:
        """Writes all of its files into a tar, without what is mounted in it, whether or not it runs.

        Example::

            await box.export("box.tar")
        """
        async with self._api.exchange("containers.export", self.id) as exchange:
            await written(exchange, out)

    async def changes(self) -> list[Change]:
        """What it has changed of its image, sorted by path, whether or not it runs.

        Example::

            assert all(change.kind in ("added", "modified", "deleted") for change in await box.changes())
        """
        found = await self._api.call("containers.changes", ChangeList, self.id, timeout_s=LIFECYCLE_TIMEOUT_S)
        return found.changes

    async def commit(
        self,
        reference: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        author: str = "",
        pause: bool = True,
    ) -> ImageSummary:
        """Makes an image of its image and what it has written.  ``changes``: lines such as ``CMD ["sh"]``; ``pause``:
        where it runs, it stands still meanwhile.

        Example::

            made = await box.commit("localhost/box:1", message="as it is")
            assert made.references == ("localhost/box:1",)
        """
        body = {
            "container": self.id,
            "reference": reference,
            "change": list(changes),
            "message": message,
            "author": author,
            "pause": pause,
        }
        return await self._api.call("containers.commit", ImageSummary, body=body, timeout_s=None)

    async def top(self) -> list[Process]:
        """Its processes.

        Example::

            assert (await box.top())[0].pid == 1
        """
        return (await self._api.call("containers.top", ProcessList, self.id)).processes

    async def stats(self) -> Sample:
        """What it uses: counters since its start.

        Example::

            assert (await box.stats()).memory_bytes > 0
        """
        return await self._api.call("containers.stats", Sample, self.id)

    async def follow_stats(self) -> AsyncGenerator[Sample, None]:
        """What it uses, every second.

        Example::

            async for sample in box.follow_stats():
                print(sample.cpu_ns)
                break
        """
        async with contextlib.aclosing(
            self._api.values("containers.stats", Sample, self.id, query={"stream": True})
        ) as samples:
            async for sample in samples:
                yield sample

    async def port(self, container_port: int, protocol: str = "tcp") -> int:
        """The port of the host where ``container_port`` is published; NotFound where it is not.

        Example::

            web = await hyper.containers.start("busybox", ["sleep", "1000"], ports={80: 0})
            async with web:
                assert await web.port(80) > 0
        """
        for port in (await self.inspect()).ports:
            if (port.container_port, port.protocol) == (container_port, protocol) and port.host_port:
                return port.host_port
        raise NotFound(f"container {self.name} does not publish port {container_port}/{protocol}")

    async def exec(
        self,
        command: Sequence[str],
        *,
        input: bytes | str | None = None,
        env: Pairs | None = None,
        working_dir: str | None = None,
        user: str | None = None,
        privileged: bool = False,
        check: bool = False,
        timeout_s: float | None = None,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
    ) -> RunResult:
        """Runs one more program in it, to its end.

        GuestError where it cannot be executed; with ``check`` ContainerFailed where it ends with another status than
        0.  It is killed where it takes longer than ``timeout_s`` (TimedOut) or says too much (TooMuchOutput).

        Example::

            done = await box.exec(["sh", "-c", "echo $WHO; cat"], input="a line", env={"WHO": "me"})
            assert (done.exit_status, done.stdout) == (0, b"me\\na line")
        """
        stream = self.exec_stream(
            command,
            stdin=input is not None,
            env=env,
            working_dir=working_dir,
            user=user,
            privileged=privileged,
        )
        what = f"{command[0]} in {self.name}"
        async with deadline(what, timeout_s), stream:
            result = await stream.communicate(as_bytes(input), max_output_bytes=max_output_bytes)
        if check and not result.ok:
            raise ContainerFailed(what, result)
        return result

    def exec_stream(
        self,
        command: Sequence[str],
        *,
        stdin: bool = False,
        tty: bool = False,
        env: Pairs | None = None,
        working_dir: str | None = None,
        user: str | None = None,
        privileged: bool = False,
    ) -> AsyncStream:
        """One more program in it, whose output is read as it comes; killed where the block is left before its end.

        Example::

            async with box.exec_stream(["sh"], stdin=True) as stream:
                await stream.write(b"echo one; exit\\n")
                async for channel, data in stream:
                    assert (channel, data) == ("stdout", b"one\\n")
        """
        spec = exec_spec(
            command, stdin=stdin, tty=tty, env=env, working_dir=working_dir, user=user, privileged=privileged
        )
        what = f"{spec.command[0]} in {self.name}"
        return exec_stream_of(self._api, "containers.exec_create", self.id, spec, what)

    def attach(self, *, stdin: bool = False, logs: bool = False) -> AsyncStream:
        """The streams of its first process, which goes on when the block is left.

        ``logs``: its log from the beginning, and then what follows, nothing left out and nothing twice.

        Example::

            async with box.attach() as stream:
                await box.kill()
                assert await stream.wait() == 137
        """
        query = {"stdin": stdin, "logs": logs}

        async def connect() -> Upgraded:
            return await self._api.upgrade("containers.attach", self.id, query=query)

        return AsyncStream(connect, self.name, kill_at_exit=False)

    async def read_file(self, path: str, *, max_bytes: int = MAX_OUTPUT_BYTES) -> bytes:
        """A file's content; the image needs no program for it.  TooMuchOutput where it has more than ``max_bytes``.

        NotFound where there is none, InvalidArgument where it is no regular file.

        Example::

            assert b"root" in await box.read_file("/etc/passwd")
        """
        content = bytearray()
        async with self._api.exchange("containers.read_file", self.id, query={"path": path}) as exchange:
            async for piece in exchange.pieces():
                content += piece
                if len(content) > max_bytes:
                    raise TooMuchOutput(f"{path} in {self.name}", max_bytes, bytes(content), b"")
        return bytes(content)

    async def write_file(
        self, path: str, data: bytes | str, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Makes or replaces a file, whole or not at all; its directory has to be there.

        Example::

            await box.write_file("/tmp/note", "something", mode=0o600)
            assert await box.read_file("/tmp/note") == b"something"
        """
        query = {"path": path, "mode": f"{mode:04o}", "uid": uid, "gid": gid}
        upload = io.BytesIO(data.encode() if isinstance(data, str) else data)
        async with self._api.exchange(
            "containers.write_file", self.id, query=query, upload=upload
        ) as exchange:
            await exchange.read(0)

    async def stat_path(self, path: str) -> PathFacts:
        """What is at a path, whether or not the container runs; of a link also where it leads to.  NotFound where
        nothing is there.

        Example::

            assert (await box.stat_path("/etc/passwd")).name == "passwd"
        """
        return await self._api.call("containers.stat_path", PathFacts, self.id, query={"path": path})

    async def pack(
        self, path: str, out: str | os.PathLike[str] | BinaryIO, *, follow: bool = False
    ) -> PathFacts:
        """Writes a file or a directory with all that is in it into a tar, whether or not the container runs; its names
        begin with the last one of the path, or with "." where that ends in "/.".  ``follow``: of a link, what it leads
        to.  NotFound where nothing is there.

        Example::

            await box.pack("/etc", "etc.tar")
        """
        query = {"path": path, "follow": follow}
        return await packed(self._api, "containers.pack", self.id, query, out)

    async def unpack(self, path: str, archive: Archive, *, replace: bool = False, own: bool = False) -> None:
        """Lays a tar into a directory that is there, whether or not the container runs.  ``replace``: a directory may
        take the place of something else, and something else that of a directory; ``own``: all of it belongs to the
        container's user.

        Example::

            await box.pack("/etc/.", "etc.tar")
            await box.unpack("/tmp", "etc.tar")
        """
        query = {"path": path, "replace": replace, "own": own}
        await unpacked(self._api, "containers.unpack", self.id, query, archive)


class AsyncContainers:
    """All containers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(
        self,
        image: str | ContainerSpec,
        command: Sequence[str] | None = None,
        *,
        progress: OnProgress | None = None,
        **options: Unpack[ContainerOptions],
    ) -> AsyncContainer:
        """Makes a container and does not start it; the image is pulled where it is missing.

        Example::

            job = await hyper.containers.create("busybox", ["true"], name="job", labels={"team": "a"})
            async with job:
                assert (await job.inspect()).state == "created"
        """
        spec = container_spec(image, command, options)

        async def make(wanted: ContainerSpec) -> Created:
            return await self._api.call(
                "containers.create", Created, body=wanted, timeout_s=LIFECYCLE_TIMEOUT_S
            )

        return AsyncContainer(self._api, await with_image(self._api, spec, make, progress))

    async def start(
        self,
        image: str | ContainerSpec,
        command: Sequence[str] | None = None,
        *,
        progress: OnProgress | None = None,
        **options: Unpack[ContainerOptions],
    ) -> AsyncContainer:
        """Makes a container and starts it; where it does not start, it is removed again.

        Example::

            web = await hyper.containers.start(
                "busybox", ["httpd", "-f"], ports={80: 0}, memory="128m", env={"A": "b"}
            )
            async with web:
                assert (await web.inspect()).state == "running"
        """
        made = await self.create(image, command, progress=progress, **options)
        try:
            await made.start()
        except BaseException:
            with contextlib.suppress(HyperError):
                await made.remove(force=True, volumes=True)
            raise
        return made

    async def get(self, ref: str) -> AsyncContainer:
        """The container of this name or ID; NotFound where there is none.

        Example::

            assert (await hyper.containers.get(box.name)).id == box.id
        """
        found = await self._api.call("containers.inspect", Inspect, ref)
        return AsyncContainer(self._api, Created(found.id, found.name))

    async def list(
        self,
        *,
        all: bool = False,
        filters: Filters | None = None,
        size: bool = False,
    ) -> builtins.list[Summary]:
        """The containers that run, newest first; with ``all`` the others too.  Filters: as of ``hyper ps``.

        Example::

            assert box.id in [one.id for one in await hyper.containers.list()]
            assert await hyper.containers.list(filters={"name": ["nobody"]}) == []
        """
        query = {"all": all, "filters": as_query(filters), "size": size}
        return (await self._api.call("containers.find", ContainerList, query=query)).containers
