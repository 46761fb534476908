"""The client: where everything begins."""

# ruff: noqa: A002 - names as in `subprocess` and the API

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Self, Unpack

import msgspec

from hypercontainer.client.api import LIFECYCLE_TIMEOUT_S
from hypercontainer.config import locations
from hypercontainer.contract.answers import Check, CronJob, Event, KernelLine, Played
from hypercontainer.contract.calls import (
    CheckList,
    CronJobList,
    Facts,
    JobName,
    KernelList,
    Manifest,
    PlayedList,
    SystemPruned,
    Versions,
)
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.errors import HyperError
from hypercontainer.sdk.aio.calls import Filters, as_bytes, as_query
from hypercontainer.sdk.aio.containers import AsyncContainer, AsyncContainers
from hypercontainer.sdk.aio.images import AsyncImages
from hypercontainer.sdk.aio.networks import AsyncNetworks
from hypercontainer.sdk.aio.pods import AsyncPods
from hypercontainer.sdk.aio.policies import AsyncPolicies
from hypercontainer.sdk.aio.pulling import with_image
from hypercontainer.sdk.aio.stream import MAX_OUTPUT_BYTES, AsyncStream
from hypercontainer.sdk.aio.volumes import AsyncVolumes
from hypercontainer.sdk.container_options import ContainerOptions
from hypercontainer.sdk.failures import ContainerFailed, deadline
from hypercontainer.sdk.options import container_spec, moment
from hypercontainer.sdk.results import RunResult
from hypercontainer.sdk.start import start as start_hyperd
from hypercontainer.sdk.transport import Api, OnProgress, Upgraded

CLEAN_UP_S = 30.0


class AsyncClient:
    """hyperd, as the command line finds it, and started at the first call where nobody serves, but at no address that
    was named.

    ``host``: "unix:///path" (default: HYPER_HOST, the configuration, or the user's own).  ``config``: a configuration
    file.  ``start=False``: never start hyperd.  It holds no connection open; any number of tasks or threads may use it.
    Every error is a HyperError.

    Example::

        async with hypercontainer.AsyncClient() as client:
            print((await client.run("busybox", ["uname", "-r"])).text)
    """

    def __init__(self, host: str | None = None, *, config: str | None = None, start: bool = True) -> None:
        places = locations(host=host, file=config)

        async def start_it() -> None:
            await start_hyperd(places.address, config or "")

        self._api = Api(places.address, start=start_it if start and not places.named else None)
        self._containers = AsyncContainers(self._api)
        self._images = AsyncImages(self._api)
        self._pods = AsyncPods(self._api)
        self._volumes = AsyncVolumes(self._api)
        self._networks = AsyncNetworks(self._api)
        self._policies = AsyncPolicies(self._api)

    def __repr__(self) -> str:
        return f"<AsyncClient {self._api.path}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """No further call can be made.  May be called twice."""
        self._api.closed = True

    @property
    def containers(self) -> AsyncContainers:
        """Containers: start, create, get, list."""
        return self._containers

    @property
    def images(self) -> AsyncImages:
        """Images: pull, push, load, save, ..."""
        return self._images

    @property
    def pods(self) -> AsyncPods:
        """Pods: start, create, from_podfile, get, list."""
        return self._pods

    @property
    def volumes(self) -> AsyncVolumes:
        """Named volumes: create, list, remove, ..."""
        return self._volumes

    @property
    def networks(self) -> AsyncNetworks:
        """Networks: create, list, connect, remove, ..."""
        return self._networks

    @property
    def policies(self) -> AsyncPolicies:
        """Network policies: create, update, check, audit, ..."""
        return self._policies

    async def run(
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

            result = await hyper.run("busybox", ["sh", "-c", "cat; exit 3"], input="hello", memory="128m")
            assert (result.exit_status, result.stdout) == (3, b"hello")
        """
        if not isinstance(image, ContainerSpec):
            options.setdefault("auto_remove", True)
        spec = container_spec(image, command, options)
        if input is not None:
            spec = msgspec.structs.replace(spec, stdin_open=True, stdin_once=True)

        async def act(wanted: ContainerSpec) -> RunResult:
            return await self._run(wanted, as_bytes(input), max_output_bytes, progress)

        async with deadline(f"run {spec.image}", timeout_s):
            result = await with_image(self._api, spec, act, progress)
        if check and not result.ok:
            raise ContainerFailed(spec.image, result)
        return result

    async def _run(
        self, spec: ContainerSpec, data: bytes | None, max_output_bytes: int, progress: OnProgress | None
    ) -> RunResult:
        async def connect() -> Upgraded:
            return await self._api.upgrade("containers.run", body=spec)

        process = AsyncStream(connect, spec.image, kill_at_exit=False, on_progress=progress)
        try:
            async with process:
                return await process.communicate(data, max_output_bytes=max_output_bytes)
        except BaseException:
            if process._created is not None:
                await self._take_back(AsyncContainer(self._api, process._created), keep=not spec.auto_remove)
            raise

    async def _take_back(self, container: AsyncContainer, *, keep: bool) -> None:
        """Whoever ran it waits no longer.  What cannot be ended any more has ended."""
        with contextlib.suppress(HyperError, TimeoutError):
            async with asyncio.timeout(CLEAN_UP_S):
                await (container.kill() if keep else container.remove(force=True, volumes=True))

    async def play(
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
            (played,) = await hyper.play(manifest)
            assert (played.kind, played.action) == ("Pod", "created")
            await hyper.down(manifest)
        """
        body = {"text": text, "replace": replace, "start": start}
        body |= {"dry_run": dry_run, "skip_unsupported": skip_unsupported}
        async with deadline("play", timeout_s):
            return await self._api.operation("manifests.play", PlayedList, body=body, progress=progress)

    async def down(
        self, text: str, *, volumes: bool = False, dry_run: bool = False, progress: OnProgress | None = None
    ) -> list[Played]:
        """Removes what ``play`` made of the same text; the volumes of claims only with ``volumes``.  ``dry_run``: only
        what would be done.

        Example::

            manifest = '''
            {apiVersion: v1, kind: Pod, metadata: {name: unplayed}, spec: {containers: [
              {name: main, image: busybox, imagePullPolicy: Never}]}}
            '''
            await hyper.play(manifest, start=False)
            (removed,) = await hyper.down(manifest)
            assert (removed.name, removed.action) == ("unplayed", "removed")
        """
        body = {"text": text, "volumes": volumes, "dry_run": dry_run}
        return await self._api.operation("manifests.down", PlayedList, body=body, progress=progress)

    async def cron_jobs(self) -> list[CronJob]:
        """The CronJobs that were played, with their last and next times and the Jobs that they have made.

        Example::

            manifest = '''
            {apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly}, spec: {schedule: "@daily", jobTemplate: {
              spec: {template: {spec: {restartPolicy: Never, containers: [
                {name: main, image: busybox, imagePullPolicy: Never, command: ["true"]}]}}}}}}
            '''
            await hyper.play(manifest)
            (nightly,) = await hyper.cron_jobs()
            assert (nightly.name, nightly.last) == ("nightly", "")
            await hyper.down(manifest)
        """
        return (await self._api.call("manifests.cron_jobs", CronJobList)).cron_jobs

    async def run_cron_job(self, name: str) -> str:
        """Makes a Job of a CronJob now, whatever its schedule says: the Job's name.

        Example::

            manifest = '''
            {apiVersion: batch/v1, kind: CronJob, metadata: {name: monthly}, spec: {schedule: "@monthly", jobTemplate: {
              spec: {template: {spec: {restartPolicy: Never, containers: [
                {name: main, image: busybox, imagePullPolicy: Never, command: ["true"]}]}}}}}}
            '''
            await hyper.play(manifest)
            job = await hyper.run_cron_job("monthly")
            assert job.startswith("monthly-")
            await hyper.down(manifest)
        """
        return (await self._api.call("manifests.run_cron_job", JobName, name)).job

    async def generate(self, refs: Sequence[str]) -> str:
        """The Kubernetes manifest, in YAML, of pods, containers or volumes as they are.

        Example::

            assert "kind: Pod" in await hyper.generate([pod.name])
        """
        body = {"refs": list(refs)}
        return (await self._api.call("manifests.generate", Manifest, body=body)).text

    async def events(
        self, *, since: str = "", until: str = "", filters: Filters | None = None
    ) -> AsyncGenerator[Event, None]:
        """What happens, as it happens, from ``since`` on; without end unless there is an ``until``.

        Times: RFC 3339, Unix seconds, or how long ago ("10m").  Filters: as of ``hyper events``.

        Example::

            async for event in hyper.events(since="1h", until="0s", filters={"type": ["image"]}):
                print(event.time, event.action, event.id)
        """
        query = {
            "since": moment("since", since),
            "until": moment("until", until),
            "filters": as_query(filters),
        }
        async with contextlib.aclosing(self._api.values("system.events", Event, query=query)) as found:
            async for event in found:
                yield event

    async def version(self) -> dict[str, str]:
        """Versions of hyperd and what it runs on.

        Example::

            assert (await hyper.version())["version"] == hypercontainer.__version__
        """
        return await self._api.call("system.version", Versions)

    async def info(self) -> dict[str, Any]:
        """What ``hyper info`` shows.

        Example::

            assert (await hyper.info())["DaemonPid"] > 0
        """
        return await self._api.call("system.info", Facts)

    async def doctor(self) -> list[Check]:
        """What this machine can do, and how to mend what is missing.

        Example::

            for check in await hyper.doctor():
                print(check.name, check.ok, check.detail, check.remedy)
        """
        found = await self._api.call("system.doctor", CheckList, timeout_s=LIFECYCLE_TIMEOUT_S)
        return found.checks

    async def disk_usage(self) -> dict[str, Any]:
        """What images, containers and layers take on disk.

        Example::

            print((await hyper.disk_usage())["totals"])
        """
        return await self._api.call("system.disk_usage", Facts)

    async def prune(
        self, *, containers: bool = True, images: bool = True, all_images: bool = False
    ) -> SystemPruned:
        """Removes ended containers and unused images; without ``all_images`` those only that have no name.

        Example::

            print((await hyper.prune(images=False)).space_reclaimed_bytes)
        """
        body = {"containers": containers, "images": images, "all": all_images}
        return await self._api.call("system.prune", SystemPruned, body=body, timeout_s=LIFECYCLE_TIMEOUT_S)

    async def kernels(self) -> list[KernelLine]:
        """The guest kernels that are here.

        Example::

            assert any(kernel.default for kernel in await hyper.kernels())
        """
        return (await self._api.call("system.kernels", KernelList)).kernels
