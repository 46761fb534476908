"""The client: where everything begins.

Made of sdk/aio/client.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Self, Unpack

from hypercontainer.contract.answers import Check, CronJob, Event, KernelLine, Played
from hypercontainer.contract.calls import (
    SystemPruned,
)
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.sdk.aio import client as aio
from hypercontainer.sdk.aio.calls import Filters
from hypercontainer.sdk.aio.stream import MAX_OUTPUT_BYTES
from hypercontainer.sdk.container_options import ContainerOptions
from hypercontainer.sdk.portal import Facade, Portal
from hypercontainer.sdk.results import RunResult
from hypercontainer.sdk.sync.containers import Containers
from hypercontainer.sdk.sync.images import Images
from hypercontainer.sdk.sync.networks import Networks
from hypercontainer.sdk.sync.pods import Pods
from hypercontainer.sdk.sync.policies import Policies
from hypercontainer.sdk.sync.volumes import Volumes
from hypercontainer.sdk.transport import OnProgress


class Client(Facade[aio.AsyncClient]):
    """hyperd, as the command line finds it, and started at the first call where nobody serves, but at no address that
    was named.

    ``host``: "unix:///path" (default: HYPER_HOST, the configuration, or the user's own).  ``config``: a configuration
    file.  ``start=False``: never start hyperd.  It holds no connection open; any number of tasks or threads may use it.
    Every error is a HyperError.

    Example::

        with hypercontainer.Client() as client:
            print(client.run("busybox", ["uname", "-r"]).text)
    """

    def __init__(self, host: str | None = None, *, config: str | None = None, start: bool = True) -> None:
        super().__init__(Portal(), aio.AsyncClient(host, config=config, start=start))

    def __enter__(self) -> Self:
        self._portal.call(self._async.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.end(self._async.__aexit__(*_))

    def close(self) -> None:
        """No further call can be made.  May be called twice."""
        self._portal.end(self._async.close())

    @property
    def containers(self) -> Containers:
        """Containers: start, create, get, list."""
        return Containers(self._portal, self._async.containers)

    @property
    def images(self) -> Images:
        """Images: pull, push, load, save, ..."""
        return Images(self._portal, self._async.images)

    @property
    def pods(self) -> Pods:
        """Pods: start, create, from_podfile, get, list."""
        return Pods(self._portal, self._async.pods)

    @property
    def volumes(self) -> Volumes:
        """Named volumes: create, list, remove, ..."""
        return Volumes(self._portal, self._async.volumes)

    @property
    def networks(self) -> Networks:
        """Networks: create, list, connect, remove, ..."""
        return Networks(self._portal, self._async.networks)

    @property
    def policies(self) -> Policies:
        """Network policies: create, update, check, audit, ..."""
        return Policies(self._portal, self._async.policies)

    def run(
        self,
        image: str | ContainerSpec,
        command: Sequence[str] | None = None,
        *,
        input: bytes | str | None = None,
        check: bool = False,
        timeout_s: float | None = None,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        progress: OnProgress | None = None,
        **options: Unpack[ContainerOptions],
    ) -> RunResult:
        """Runs an image to its end and removes the container, unless ``auto_remove=False`` or a ContainerSpec says so.

        GuestError where the command cannot be executed; with ``check`` ContainerFailed where it ends with another
        status than 0.  A run that takes longer than ``timeout_s`` (TimedOut), says too much (TooMuchOutput) or is
        cancelled leaves no container behind.

        Example::

            result = hyper.run("busybox", ["sh", "-c", "cat; exit 3"], input="hello", memory="128m")
            assert (result.exit_status, result.stdout) == (3, b"hello")
        """
        return self._portal.call(
            self._async.run(
                image,
                command,
                input=input,
                check=check,
                timeout_s=timeout_s,
                max_output_bytes=max_output_bytes,
                progress=progress,
                **options,
            )
        )

    def play(
        self,
        text: str,
        *,
        replace: bool = False,
        start: bool = True,
        dry_run: bool = False,
        skip_unsupported: bool = False,
        progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> list[Played]:
        """Makes what a Kubernetes manifest describes (docs/kubernetes.md); several documents in one text.

        ``replace``: what is there of these names is made anew, but for volumes.  ``dry_run``: only what would be
        done.  ``skip_unsupported``: kinds that are not known are passed over.

        Example::

            manifest = '''
            {apiVersion: v1, kind: Pod, metadata: {name: played}, spec: {terminationGracePeriodSeconds: 0, containers: [
              {name: main, image: busybox, imagePullPolicy: Never, command: [sleep, "1000"]}]}}
            '''
            (played,) = hyper.play(manifest)
            assert (played.kind, played.action) == ("Pod", "created")
            hyper.down(manifest)
        """
        return self._portal.call(
            self._async.play(
                text,
                replace=replace,
                start=start,
                dry_run=dry_run,
                skip_unsupported=skip_unsupported,
                progress=progress,
                timeout_s=timeout_s,
            )
        )

    def down(
        self, text: str, *, volumes: bool = False, dry_run: bool = False, progress: OnProgress | None = None
    ) -> list[Played]:
        """Removes what ``play`` made of the same text; the volumes of claims only with ``volumes``.  ``dry_run``: only
        what would be done.

        Example::

            manifest = '''
            {apiVersion: v1, kind: Pod, metadata: {name: unplayed}, spec: {containers: [
              {name: main, image: busybox, imagePullPolicy: Never}]}}
            '''
            hyper.play(manifest, start=False)
            (removed,) = hyper.down(manifest)
            assert (removed.name, removed.action) == ("unplayed", "removed")
        """
        return self._portal.call(self._async.down(text, volumes=volumes, dry_run=dry_run, progress=progress))

    def cron_jobs(self) -> list[CronJob]:
        """The CronJobs that were played, with their last and next times and the Jobs that they have made.

        Example::

            manifest = '''
            {apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly}, spec: {schedule: "@daily", jobTemplate: {
              spec: {template: {spec: {restartPolicy: Never, containers: [
                {name: main, image: busybox, imagePullPolicy: Never, command: ["true"]}]}}}}}}
            '''
            hyper.play(manifest)
            (nightly,) = hyper.cron_jobs()
            assert (nightly.name, nightly.last) == ("nightly", "")
            hyper.down(manifest)
        """
        return self._portal.call(self._async.cron_jobs())

    def run_cron_job(self, name: str) -> str:
        """Makes a Job of a CronJob now, whatever its schedule says: the Job's name.

        Example::

            manifest = '''
            {apiVersion: batch/v1, kind: CronJob, metadata: {name: monthly}, spec: {schedule: "@monthly", jobTemplate: {
              spec: {template: {spec: {restartPolicy: Never, containers: [
                {name: main, image: busybox, imagePullPolicy: Never, command: ["true"]}]}}}}}}
            '''
            hyper.play(manifest)
            job = hyper.run_cron_job("monthly")
            assert job.startswith("monthly-")
            hyper.down(manifest)
        """
        return self._portal.call(self._async.run_cron_job(name))

    def generate(self, refs: Sequence[str]) -> str:
        """The Kubernetes manifest, in YAML, of pods, containers or volumes as they are.

        Example::

            assert "kind: Pod" in hyper.generate([pod.name])
        """
        return self._portal.call(self._async.generate(refs))

    def events(
        self, *, since: str = "", until: str = "", filters: Filters | None = None
    ) -> Generator[Event, None, None]:
        """What happens, as it happens, from ``since`` on; without end unless there is an ``until``.

        Times: RFC 3339, Unix seconds, or how long ago ("10m").  Filters: as of ``hyper events``.

        Example::

            for event in hyper.events(since="1h", until="0s", filters={"type": ["image"]}):
                print(event.time, event.action, event.id)
        """
        return self._portal.iterate(self._async.events(since=since, until=until, filters=filters))

    def version(self) -> dict[str, str]:
        """Versions of hyperd and what it runs on.

        Example::

            assert hyper.version()["version"] == hypercontainer.__version__
        """
        return self._portal.call(self._async.version())

    def info(self) -> dict[str, Any]:
        """What ``hyper info`` shows.

        Example::

            assert hyper.info()["DaemonPid"] > 0
        """
        return self._portal.call(self._async.info())

    def doctor(self) -> list[Check]:
        """What this machine can do, and how to mend what is missing.

        Example::

            for check in hyper.doctor():
                print(check.name, check.ok, check.detail, check.remedy)
        """
        return self._portal.call(self._async.doctor())

    def disk_usage(self) -> dict[str, Any]:
        """What images, containers and layers take on disk.

        Example::

            print(hyper.disk_usage()["totals"])
        """
        return self._portal.call(self._async.disk_usage())

    def prune(
        self, *, containers: bool = True, images: bool = True, all_images: bool = False
    ) -> SystemPruned:
        """Removes ended containers and unused images; without ``all_images`` those only that have no name.

        Example::

            print(hyper.prune(images=False).space_reclaimed_bytes)
        """
        return self._portal.call(
            self._async.prune(containers=containers, images=images, all_images=all_images)
        )

    def kernels(self) -> list[KernelLine]:
        """The guest kernels that are here.

        Example::

            assert any(kernel.default for kernel in hyper.kernels())
        """
        return self._portal.call(self._async.kernels())
