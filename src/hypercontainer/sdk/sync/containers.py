"""Containers: making them, and a handle on each.

Made of sdk/aio/containers.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

import builtins
import os
from collections.abc import Generator, Sequence
from typing import BinaryIO, Unpack

from hypercontainer.contract.answers import (
    Change,
    Inspect,
    PathFacts,
    Process,
    Sample,
    Summary,
)
from hypercontainer.contract.images import ImageSummary
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.sdk.aio import containers as aio
from hypercontainer.sdk.aio.archives import Archive
from hypercontainer.sdk.aio.calls import Filters
from hypercontainer.sdk.aio.stream import MAX_OUTPUT_BYTES
from hypercontainer.sdk.container_options import ContainerOptions
from hypercontainer.sdk.options import Pairs
from hypercontainer.sdk.portal import Facade
from hypercontainer.sdk.results import Output, RunResult
from hypercontainer.sdk.sync.life import Life
from hypercontainer.sdk.sync.stream import Stream
from hypercontainer.sdk.transport import OnProgress


class Container(Life[aio.AsyncContainer]):
    """A container.  As a context manager it is removed, by force and with the volumes that nobody has named, when the
    block is left."""

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Removes it with all that it has written; ``force``: also while it runs; ``volumes``: with those of its
        volumes that nobody has named, too.

        Example::

            box.remove(force=True, volumes=True)
        """
        self._portal.call(self._async.remove(force=force, volumes=volumes))

    def inspect(self) -> Inspect:
        """All that hyperd knows of it, now.

        Example::

            assert box.inspect().state == "running"
        """
        return self._portal.call(self._async.inspect())

    def stop(self, *, grace_s: int | None = None, signal: str | None = None) -> None:
        """Asks it to end, and ends it after ``grace_s``.  None: as it was created, or ten seconds.

        Example::

            box.stop(grace_s=0)
            assert box.inspect().state == "exited"
        """
        self._portal.call(self._async.stop(grace_s=grace_s, signal=signal))

    def rename(self, name: str) -> None:
        """Gives it another name.

        Example::

            box.rename("once-a-box")
            assert box.name == "once-a-box"
        """
        self._portal.call(self._async.rename(name))

    def wait(self, *, timeout_s: float | None = None) -> int:
        """Its exit status, once it has ended.

        Example::

            box.kill()
            assert box.wait(timeout_s=30) == 137
        """
        return self._portal.call(self._async.wait(timeout_s=timeout_s))

    def logs(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> Generator[Output, None, None]:
        """What it has written, piece by piece, and with ``follow`` goes on to write, until it ends.

        ``since``, ``until``: RFC 3339, Unix seconds, or how long ago ("10m").  ``tail``: so many last lines.

        Example::

            for channel, data in box.logs(tail=10):
                print(channel, data)
        """
        return self._portal.iterate(
            self._async.logs(follow=follow, since=since, until=until, tail=tail, timestamps=timestamps)
        )

    def export(self, out: str | os.PathLike[str] | BinaryIO) -> None:
        """Writes all of its files into a tar, without what is mounted in it, whether or not it runs.

        Example::

            box.export("box.tar")
        """
        self._portal.call(self._async.export(out))

    def changes(self) -> list[Change]:
        """What it has changed of its image, sorted by path, whether or not it runs.

        Example::

            assert all(change.kind in ("added", "modified", "deleted") for change in box.changes())
        """
        return self._portal.call(self._async.changes())

    def commit(
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

            made = box.commit("localhost/box:1", message="as it is")
            assert made.references == ("localhost/box:1",)
        """
        return self._portal.call(
            self._async.commit(reference, changes=changes, message=message, author=author, pause=pause)
        )

    def top(self) -> list[Process]:
        """Its processes.

        Example::

            assert box.top()[0].pid == 1
        """
        return self._portal.call(self._async.top())

    def stats(self) -> Sample:
        """What it uses: counters since its start.

        Example::

            assert box.stats().memory_bytes > 0
        """
        return self._portal.call(self._async.stats())

    def follow_stats(self) -> Generator[Sample, None, None]:
        """What it uses, every second.

        Example::

            for sample in box.follow_stats():
                print(sample.cpu_ns)
                break
        """
        return self._portal.iterate(self._async.follow_stats())

    def port(self, container_port: int, protocol: str = "tcp") -> int:
        """The port of the host where ``container_port`` is published; NotFound where it is not.

        Example::

            web = hyper.containers.start("busybox", ["sleep", "1000"], ports={80: 0})
            with web:
                assert web.port(80) > 0
        """
        return self._portal.call(self._async.port(container_port, protocol))

    def exec(
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

            done = box.exec(["sh", "-c", "echo $WHO; cat"], input="a line", env={"WHO": "me"})
            assert (done.exit_status, done.stdout) == (0, b"me\\na line")
        """
        return self._portal.call(
            self._async.exec(
                command,
                input=input,
                env=env,
                working_dir=working_dir,
                user=user,
                privileged=privileged,
                check=check,
                timeout_s=timeout_s,
                max_output_bytes=max_output_bytes,
            )
        )

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
    ) -> Stream:
        """One more program in it, whose output is read as it comes; killed where the block is left before its end.

        Example::

            with box.exec_stream(["sh"], stdin=True) as stream:
                stream.write(b"echo one; exit\\n")
                for channel, data in stream:
                    assert (channel, data) == ("stdout", b"one\\n")
        """
        return Stream(
            self._portal,
            self._async.exec_stream(
                command,
                stdin=stdin,
                tty=tty,
                env=env,
                working_dir=working_dir,
                user=user,
                privileged=privileged,
            ),
        )

    def attach(self, *, stdin: bool = False, logs: bool = False) -> Stream:
        """The streams of its first process, which goes on when the block is left.

        ``logs``: its log from the beginning, and then what follows, nothing left out and nothing twice.

        Example::

            with box.attach() as stream:
                box.kill()
                assert stream.wait() == 137
        """
        return Stream(self._portal, self._async.attach(stdin=stdin, logs=logs))

    def read_file(self, path: str, *, max_bytes: int = MAX_OUTPUT_BYTES) -> bytes:
        """A file's content; the image needs no program for it.  TooMuchOutput where it has more than ``max_bytes``.

        NotFound where there is none, InvalidArgument where it is no regular file.

        Example::

            assert b"root" in box.read_file("/etc/passwd")
        """
        return self._portal.call(self._async.read_file(path, max_bytes=max_bytes))

    def write_file(
        self, path: str, data: bytes | str, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Makes or replaces a file, whole or not at all; its directory has to be there.

        Example::

            box.write_file("/tmp/note", "something", mode=0o600)
            assert box.read_file("/tmp/note") == b"something"
        """
        self._portal.call(self._async.write_file(path, data, mode=mode, uid=uid, gid=gid))

    def stat_path(self, path: str) -> PathFacts:
        """What is at a path, whether or not the container runs; of a link also where it leads to.  NotFound where
        nothing is there.

        Example::

            assert box.stat_path("/etc/passwd").name == "passwd"
        """
        return self._portal.call(self._async.stat_path(path))

    def pack(self, path: str, out: str | os.PathLike[str] | BinaryIO, *, follow: bool = False) -> PathFacts:
        """Writes a file or a directory with all that is in it into a tar, whether or not the container runs; its names
        begin with the last one of the path, or with "." where that ends in "/.".  ``follow``: of a link, what it leads
        to.  NotFound where nothing is there.

        Example::

            box.pack("/etc", "etc.tar")
        """
        return self._portal.call(self._async.pack(path, out, follow=follow))

    def unpack(self, path: str, archive: Archive, *, replace: bool = False, own: bool = False) -> None:
        """Lays a tar into a directory that is there, whether or not the container runs.  ``replace``: a directory may
        take the place of something else, and something else that of a directory; ``own``: all of it belongs to the
        container's user.

        Example::

            box.pack("/etc/.", "etc.tar")
            box.unpack("/tmp", "etc.tar")
        """
        self._portal.call(self._async.unpack(path, archive, replace=replace, own=own))


class Containers(Facade[aio.AsyncContainers]):
    """All containers."""

    def create(
        self,
        image: str | ContainerSpec,
        command: Sequence[str] | None = None,
        *,
        progress: OnProgress | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Makes a container and does not start it; the image is pulled where it is missing.

        Example::

            job = hyper.containers.create("busybox", ["true"], name="job", labels={"team": "a"})
            with job:
                assert job.inspect().state == "created"
        """
        return Container(
            self._portal, self._portal.call(self._async.create(image, command, progress=progress, **options))
        )

    def start(
        self,
        image: str | ContainerSpec,
        command: Sequence[str] | None = None,
        *,
        progress: OnProgress | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Makes a container and starts it; where it does not start, it is removed again.

        Example::

            web = hyper.containers.start(
                "busybox", ["httpd", "-f"], ports={80: 0}, memory="128m", env={"A": "b"}
            )
            with web:
                assert web.inspect().state == "running"
        """
        return Container(
            self._portal, self._portal.call(self._async.start(image, command, progress=progress, **options))
        )

    def get(self, ref: str) -> Container:
        """The container of this name or ID; NotFound where there is none.

        Example::

            assert hyper.containers.get(box.name).id == box.id
        """
        return Container(self._portal, self._portal.call(self._async.get(ref)))

    def list(
        self,
        *,
        all: bool = False,
        filters: Filters | None = None,
        size: bool = False,
    ) -> builtins.list[Summary]:
        """The containers that run, newest first; with ``all`` the others too.  Filters: as of ``hyper ps``.

        Example::

            assert box.id in [one.id for one in hyper.containers.list()]
            assert hyper.containers.list(filters={"name": ["nobody"]}) == []
        """
        return self._portal.call(self._async.list(all=all, filters=filters, size=size))
