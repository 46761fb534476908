"""Pods: several containers in one VM, and a handle on each pod.

Made of sdk/aio/pods.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

import builtins
import os
from collections.abc import Generator, Sequence

from hypercontainer.contract.answers import (
    PodInspect,
    PodSummary,
    Port,
    Sample,
)
from hypercontainer.contract.calls import PodProcess
from hypercontainer.contract.spec import PodSpec
from hypercontainer.sdk.aio import pods as aio
from hypercontainer.sdk.aio.calls import Filters
from hypercontainer.sdk.aio.stream import MAX_OUTPUT_BYTES
from hypercontainer.sdk.options import Pairs, Ports
from hypercontainer.sdk.portal import Facade
from hypercontainer.sdk.results import PodOutput, RunResult
from hypercontainer.sdk.sync.containers import Container
from hypercontainer.sdk.sync.life import Life
from hypercontainer.sdk.sync.stream import Stream
from hypercontainer.sdk.transport import OnProgress


class Pod(Life[aio.AsyncPod]):
    """A pod.  As a context manager it is removed, by force, when the block is left."""

    def inspect(self) -> PodInspect:
        """All that hyperd knows of it, now.

        Example::

            assert pod.inspect().state == "running"
        """
        return self._portal.call(self._async.inspect())

    def container(self, name: str) -> Container:
        """A handle on one of its containers, by the container's name; a manifest's without the pod's.

        Example::

            (first, *_) = pod.inspect().containers
            member = pod.container(first.name)
            assert member.exec(["echo", "here"]).stdout == b"here\\n"
        """
        return Container(self._portal, self._portal.call(self._async.container(name)))

    def wait(self, *, timeout_s: float | None = None) -> int:
        """When all its containers have ended for good: the status of the first that failed, or 0.

        Example::

            pod.kill()
            assert pod.wait(timeout_s=60) == 137
        """
        return self._portal.call(self._async.wait(timeout_s=timeout_s))

    def top(self) -> list[PodProcess]:
        """The processes of all its containers.

        Example::

            assert {"main", "side"} <= {line.container for line in pod.top()}
        """
        return self._portal.call(self._async.top())

    def stats(self) -> list[Sample]:
        """What each of its running containers uses.

        Example::

            assert len(pod.stats()) == 2
        """
        return self._portal.call(self._async.stats())

    def logs(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> Generator[PodOutput, None, None]:
        """What its containers have written, and with ``follow`` go on to write, until it ends.

        Example::

            for container, channel, data in pod.logs(tail=10):
                print(container, channel, data)
        """
        return self._portal.iterate(
            self._async.logs(follow=follow, since=since, until=until, tail=tail, timestamps=timestamps)
        )

    def ports(self) -> list[Port]:
        """The ports that it publishes.

        Example::

            assert pod.ports() == []
        """
        return self._portal.call(self._async.ports())

    def add_ports(self, ports: Ports) -> list[Port]:
        """Publishes more of its ports, at once where it runs; as ``ports`` of a container.  The new ones.

        Example::

            (added,) = pod.add_ports({8080: 0})
            assert added.host_port > 0
        """
        return self._portal.call(self._async.add_ports(ports))

    def remove_ports(self, ports: Ports) -> None:
        """Takes published ports back.

        Example::

            (added,) = pod.add_ports({8080: 0})
            pod.remove_ports({8080: added.host_port})
        """
        self._portal.call(self._async.remove_ports(ports))

    def exec(
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

            assert (pod.exec(["sh", "-c", "echo $((6 * 7))"])).stdout == b"42\\n"
        """
        return self._portal.call(
            self._async.exec(
                command, input=input, check=check, timeout_s=timeout_s, max_output_bytes=max_output_bytes
            )
        )

    def exec_stream(
        self, command: Sequence[str], *, stdin: bool = False, tty: bool = False, env: Pairs | None = None
    ) -> Stream:
        """A program in its VM, outside of any container; killed where the block is left before its end.

        Example::

            with pod.exec_stream(["sh", "-c", "echo out"]) as stream:
                for channel, data in stream:
                    assert (channel, data) == ("stdout", b"out\\n")
        """
        return Stream(self._portal, self._async.exec_stream(command, stdin=stdin, tty=tty, env=env))


class Pods(Facade[aio.AsyncPods]):
    """All pods that have a name of their own."""

    def create(self, spec: PodSpec, *, start: bool = False, progress: OnProgress | None = None) -> Pod:
        """Makes a pod and all its containers, or nothing; the images are pulled where they are missing.

        Example::

            from hypercontainer import ContainerSpec, PodSpec
            wanted = PodSpec(containers=(ContainerSpec("busybox", command=("sleep", "1000")),))
            with hyper.pods.create(wanted) as made:
                assert made.inspect().state == "created"
        """
        return Pod(self._portal, self._portal.call(self._async.create(spec, start=start, progress=progress)))

    def start(self, spec: PodSpec, *, progress: OnProgress | None = None) -> Pod:
        """Makes a pod and starts it.

        Example::

            from hypercontainer import ContainerSpec, PodSpec
            wanted = PodSpec(containers=(ContainerSpec("busybox", command=("sleep", "1000")),))
            with hyper.pods.start(wanted) as made:
                assert made.inspect().state == "running"
        """
        return Pod(self._portal, self._portal.call(self._async.start(spec, progress=progress)))

    def from_podfile(
        self, path: str | os.PathLike[str], *, start: bool = True, progress: OnProgress | None = None
    ) -> Pod:
        """The pod that a podfile describes (docs/podfile.md), which is read here, with this program's rights.

        Example::

            from pathlib import Path
            Path("web.yaml").write_text("containers: [{image: busybox, command: [sleep, '1000']}]")
            with hyper.pods.from_podfile("web.yaml") as made:
                assert made.inspect().state == "running"
        """
        return Pod(
            self._portal, self._portal.call(self._async.from_podfile(path, start=start, progress=progress))
        )

    def get(self, ref: str) -> Pod:
        """The pod of this name or ID; NotFound where there is none.

        Example::

            assert hyper.pods.get(pod.name).id == pod.id
        """
        return Pod(self._portal, self._portal.call(self._async.get(ref)))

    def list(self, *, filters: Filters | None = None) -> builtins.list[PodSummary]:
        """All pods.  Filters: as of ``hyper pod ls``.

        Example::

            assert pod.id in [one.id for one in hyper.pods.list()]
        """
        return self._portal.call(self._async.list(filters=filters))
