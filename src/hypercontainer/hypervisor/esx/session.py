"""The one session with vSphere: logged in when it is needed, anew where it has expired, in a few threads of its own.

pyvmomi blocks.  Every request has a time limit on its socket, so that a thread always comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from pyVim.connect import SmartStubAdapter
from pyVmomi import SoapStubAdapter, vim, vmodl

from hypercontainer.errors import HyperError, NotSupported, Unavailable
from hypercontainer.hypervisor.esx.faults import translated
from hypercontainer.hypervisor.esx.settings import Settings
from hypercontainer.hypervisor.esx.trust import context_of

T = TypeVar("T")
THREADS = 8
REQUEST_S = 20  # of one request
CALL_S = 60.0  # of what needs several
TASK_S = 300.0  # of a task of vSphere's
OLDEST = (6, 5)


class Session:
    """``Live`` is what a piece of work is given."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._threads = ThreadPoolExecutor(THREADS, "esx")
        self._lock = threading.Lock()
        self._live: Live | None = None

    async def run(self, what: str, work: Callable[[Live], T], *, timeout_s: float = CALL_S) -> T:
        """``work``, in a thread.  Raises errors of ours alone; one that was cancelled has come to its end first."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, partial(self.call, what, work))
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(future)
        except TimeoutError as error:
            future.add_done_callback(lambda done: done.exception())
            raise translated(what, error, self.settings) from error
        except asyncio.CancelledError:
            with contextlib.suppress(HyperError):
                await future
            raise

    def call(self, what: str, work: Callable[[Live], T]) -> T:
        """The same, in this thread."""
        try:
            live = self.live()
            try:
                return work(live)
            except vim.fault.NotAuthenticated:  # it has expired, or an administrator has ended it
                self.drop(live)
                return work(self.live())
        except Exception as error:
            raise translated(what, error, self.settings) from error

    def live(self) -> Live:
        with self._lock:
            if self._live is None:
                self._live = _log_in(self.settings)
            return self._live

    def drop(self, live: Live) -> None:
        """It is no good any more."""
        with self._lock:
            if self._live is live:
                self._live = None
        live.stub.DropConnections()

    def close(self) -> None:
        """Blocks; logs out, if anybody is there to hear it."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(Exception):
                live.content.sessionManager.Logout()
            live.stub.DropConnections()
        self._threads.shutdown(wait=True, cancel_futures=True)


class Live:
    """Of one login.  ``context``: for files, which are not pyvmomi's matter."""

    def __init__(self, settings: Settings, stub: SoapStubAdapter, context: ssl.SSLContext) -> None:
        self.settings = settings
        self.stub = stub
        self.context = context
        self.content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        self.memo: dict[str, Any] = {}  # what was found out in this session

    def waiting(self) -> SoapStubAdapter:
        """The same session, for a request that waits long."""
        stub = self._another(REQUEST_S * 3)
        stub.cookie = self.stub.cookie
        return stub

    def _another(self, timeout_s: int) -> SoapStubAdapter:
        settings = self.settings
        return SoapStubAdapter(
            settings.host,
            settings.port,
            version=self.stub.version,
            path="/sdk",
            sslContext=self.context,
            httpConnectionTimeout=timeout_s,
            poolSize=1,
        )

    def finish(self, task: vim.Task, timeout_s: float = TASK_S) -> Any:
        """The task's result.  Raises its fault, and ``TimeoutError``."""
        self.settled(task, "info.state", ("success", "error"), timeout_s)
        info = properties(self, task, "info.state", "info.error", "info.result")
        if info["info.state"] == "error":
            raise info["info.error"]
        return info.get("info.result")

    def settled(self, target: Any, name: str, values: tuple[str, ...], timeout_s: float = TASK_S) -> None:
        """Returns when this property has one of these values, by events of a collector of its own."""
        if properties(self, target, name).get(name) in values:
            return
        until = time.monotonic() + timeout_s
        collector = self.content.propertyCollector.CreatePropertyCollector()
        try:
            watch(collector, target, (name,))
            version = ""
            while properties(self, target, name).get(name) not in values:
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(name)
                wait = vmodl.query.PropertyCollector.WaitOptions(
                    maxWaitSeconds=int(min(left, REQUEST_S / 2)) + 1
                )
                found = collector.WaitForUpdatesEx(version, wait)
                version = found.version if found else version
        finally:
            with contextlib.suppress(vmodl.MethodFault):
                collector.Destroy()


def _filter(
    target: vmodl.ManagedObject, properties: tuple[str, ...]
) -> vmodl.query.PropertyCollector.FilterSpec:
    """Of one object."""
    query = vmodl.query.PropertyCollector
    return query.FilterSpec(
        objectSet=[query.ObjectSpec(obj=target)],
        propSet=[query.PropertySpec(type=type(target), pathSet=list(properties))],
        reportMissingObjectsInResults=True,
    )


def watch(collector: Any, target: vmodl.ManagedObject, properties: tuple[str, ...]) -> Any:
    """A filter of the collector's."""
    return collector.CreateFilter(_filter(target, properties), partialUpdates=False)


def properties(live: Live, target: vmodl.ManagedObject, *names: str) -> dict[str, Any]:
    """By one request; without those that it has not."""
    found = live.content.propertyCollector.RetrievePropertiesEx(
        [_filter(target, names)], vmodl.query.PropertyCollector.RetrieveOptions()
    )
    if found is None or not found.objects:
        raise vmodl.fault.ManagedObjectNotFound(obj=target)
    return {each.name: each.val for each in found.objects[0].propSet}


def _log_in(settings: Settings) -> Live:
    context = context_of(settings)
    stub = SmartStubAdapter(
        settings.host,
        settings.port,
        path="/sdk",
        sslContext=context,
        httpConnectionTimeout=REQUEST_S,
        poolSize=THREADS,
    )
    try:
        return _logged_in(Live(settings, stub, context))
    except BaseException:
        stub.DropConnections()
        raise


def _logged_in(live: Live) -> Live:
    settings, about = live.settings, live.content.about
    said = tuple(int(part) for part in about.apiVersion.split(".")[:2] if part.isdecimal())
    if about.apiType not in ("VirtualCenter", "HostAgent"):
        raise Unavailable(f"{settings.where} is no vCenter and no ESXi host: {about.apiType}")
    if said < OLDEST:
        raise NotSupported(
            f"{settings.where} speaks version {about.apiVersion} of its API",
            hint="vSphere 6.5 or a later one",
        )
    live.content.sessionManager.Login(settings.user, settings.password(), None)
    return live
