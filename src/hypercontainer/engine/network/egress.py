"""Pods whose HTTP goes through the proxy: which, by what rules, with which secrets; and the proxy, while there are any.

The one owner of the proxy's process.  It is there from the first such pod to the last, and when it dies another is told
all that it knew; connections end with it.  Nothing of such a pod's HTTP leaves by another way, whether it is there or
not: that is the fabric's (`Guard`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from msgspec.structs import replace

from hypercontainer.engine.network.names import DNS_PORT
from hypercontainer.engine.network.secrets import Kept, Secrets
from hypercontainer.engine.network.worker import Worker
from hypercontainer.engine.state import Attachment, PodRecord
from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.network.dns.upstream import Upstream
from hypercontainer.network.egress import reach, rules
from hypercontainer.network.egress.looking import look_up
from hypercontainer.network.egress.process import ProxyProcess
from hypercontainer.network.egress.rules import ANYTHING, HttpRule, Refused
from hypercontainer.network.egress.wire import Denied, Secret, Tell
from hypercontainer.network.parts import Fabric
from hypercontainer.semantics.files import extra_host

DEATHS_MAX, DEATHS_S = 5, 60.0  # more of them in so much time, and it is left alone until it is needed anew

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ruled:
    """What a policy says of a pod's HTTP; ``name``: the policy's."""

    name: str
    rules: tuple[HttpRule, ...]


@dataclass
class _Pod:
    record: PodRecord
    ruled: Ruled | None
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Around:
    """What else is known of pods: where one is, which name servers it wants, what it calls the host."""

    attached: Callable[[str], tuple[Attachment, ...]]
    servers: Callable[[str], tuple[str, ...]]
    host: Callable[[], str]


class Egress:
    """``ruled``: what a policy says of a pod, None where none does; ``denied``: told of each request that was refused.
    Both are set by who has policies."""

    def __init__(self, folder: Path, worker: Worker, upstream: Upstream, around: Around) -> None:
        self.secrets = Secrets(folder)
        self.ruled: Callable[[PodRecord], Ruled | None] = lambda pod: None
        self.denied: Callable[[Denied], None] = _log
        self._worker, self._upstream, self._around = worker, upstream, around
        self._pods: dict[str, _Pod] = {}
        self._proxy: ProxyProcess | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deaths: list[float] = []

    # ------------------------------------------------------------------------------------- pods

    def found(self, record: PodRecord) -> None:
        """One that runs since an earlier hyperd; `opened` follows."""
        if self._concerns(record):
            addresses = tuple(each for place in record.attachments for each in place.hosts)
            self._pods[record.id] = _Pod(record, self.ruled(record), addresses)

    def proxies(self, pod: str) -> bool:
        return pod in self._pods

    def secures(self, pod: str) -> bool:
        """Whether all of its HTTP goes through the proxy, whatever a policy says of addresses."""
        return bool(self.secrets.get(pod).secrets)

    async def begin(self, record: PodRecord) -> None:
        """Of a pod that is to run: the proxy knows it.  Its addresses are chosen."""
        if not self._concerns(record):
            self.release(record.id)
            return
        self._pods[record.id] = pod = _Pod(record, self.ruled(record))
        if self._looks_inside(pod):
            await self._certify(pod)
        await self.tell(record.id)

    async def changed(self, record: PodRecord) -> None:
        """A policy says something else by now of a pod that runs.  One that had no need of an authority when it started
        does not trust the one that it gets: what is to be looked into of it fails until it is started anew."""
        if not self._concerns(record):
            self.release(record.id)
            return
        pod = self._pods.setdefault(record.id, _Pod(record, None))
        pod.ruled = self.ruled(record)
        if self._looks_inside(pod) and not self.secrets.get(record.id).certificate:
            await self._certify(pod)
        await self.tell(record.id)

    async def tell(self, name: str) -> None:
        """The proxy, of where a pod is by now.  Unavailable where there is no proxy to be had."""
        if (pod := self._pods.get(name)) is None:
            return
        pod.addresses = tuple(each for place in self._around.attached(name) for each in place.hosts)
        fabric = await self._worker.ready()
        async with self._changing:
            try:
                await (await self._started(fabric)).tell(self._told(pod))
            except OSError as error:
                raise Unavailable(f"the egress proxy: {error.strerror or error}") from error

    def release(self, name: str) -> None:
        """Its VM is gone; nothing happens where it is unknown."""
        if self._pods.pop(name, None) is not None:
            self._task(self._forget(name))

    def authority(self, name: str) -> str:
        """The certificate of its authority, PEM; "" where it has none, or no need of it now."""
        return self.secrets.get(name).certificate if self.proxies(name) else ""

    def _concerns(self, record: PodRecord) -> bool:
        return bool(self.secrets.get(record.id).secrets) or self.ruled(record) is not None

    def _looks_inside(self, pod: _Pod) -> bool:
        """Whether the proxy shows certificates of its own to it."""
        ruled = pod.ruled.rules if pod.ruled else ()
        return any(rule.looks_inside for rule in ruled) or bool(self._secured(pod))

    def _secured(self, pod: _Pod) -> tuple[str, ...]:
        secrets = self.secrets.get(pod.record.id).secrets
        return tuple(each.host for each in secrets if each.scheme == "https")

    async def _certify(self, pod: _Pod) -> None:
        """A new authority for each VM, so that none is older than what trusts it; for the hosts with secrets alone,
        where no policy speaks of others, now or later."""
        from hypercontainer.network.egress import authority  # a tenth of a second, for who needs it

        name = pod.record.id
        hosts = self._secured(pod) if pod.ruled is None else ()
        pair = await asyncio.to_thread(authority.make, pod.record.name or name[:12], hosts)
        kept = self.secrets.get(name)
        self.secrets.put(name, replace(kept, certificate=pair.certificate, key=pair.key))

    def _told(self, pod: _Pod) -> Tell:
        kept: Kept = self.secrets.get(pod.record.id)
        return Tell(
            pod=pod.record.id,
            addresses=pod.addresses,
            rules=ANYTHING if pod.ruled is None else pod.ruled.rules,
            secrets=tuple(Secret(each.host, each.header, each.value, each.scheme) for each in kept.secrets),
            certificate=kept.certificate,
            key=kept.key,
            policy=pod.ruled.name if pod.ruled else "",
            private=pod.ruled is None,
        )

    # ------------------------------------------------------------------------------------- the proxy

    async def opened(self, fabric: Fabric) -> None:
        """The fabric is there, and may be another than before."""
        async with self._changing:
            await self._end()
            if self._pods:
                await self._again(fabric)

    async def close(self) -> None:
        """Pods' HTTP waits for the next hyperd."""
        self._pods.clear()
        async with self._changing:
            await self._end()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _started(self, fabric: Fabric) -> ProxyProcess:
        if self._proxy is not None and self._proxy.ended.done():
            await self._end()
        if self._proxy is None:
            listeners = await self._worker.do(fabric.proxy_listeners)
            try:
                self._proxy = proxy = await ProxyProcess.start(fabric.namespace, listeners, self)
            finally:
                for each in listeners:  # others are kept with the namespace
                    each.close()
            self._task(self._watch(proxy, fabric))
            for pod in tuple(self._pods.values()):
                await proxy.tell(self._told(pod))
            await proxy.serve()
        return self._proxy

    async def _again(self, fabric: Fabric) -> None:
        try:
            await self._started(fabric)
        except OSError as error:
            log.error("the egress proxy: %s", error)

    async def _watch(self, proxy: ProxyProcess, fabric: Fabric) -> None:
        """Another takes its place when it dies; nobody has to ask."""
        await asyncio.gather(asyncio.shield(proxy.ended), return_exceptions=True)
        async with self._changing:
            if self._proxy is not proxy:
                return
            await self._end()
            now = monotonic()
            self._deaths = [*(each for each in self._deaths if now - each < DEATHS_S), now]
            if len(self._deaths) > DEATHS_MAX:
                log.error("the egress proxy dies again and again: the next pod's start begins another")
            elif self._pods and fabric.is_open:
                log.warning("the egress proxy has died; another takes its place")
                await self._again(fabric)

    async def _forget(self, name: str) -> None:
        async with self._changing:
            if name in self._pods or self._proxy is None:
                return
            await self._proxy.forget(name)
            if not self._pods:
                await self._end()

    async def _end(self) -> None:
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            await proxy.close()

    def _task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------------------------- what it asks

    async def resolve(self, name: str, host: str) -> tuple[str, ...]:
        """See `process.Hearer`: what a user has written for the pod, else what name servers say.  These lead a pod that
        a policy holds to private addresses by no name but one that has a secret."""
        if (pod := self._pods.get(name)) is None:
            raise Refused("this pod has no way out")
        written = self._written(pod.record.spec.extra_hosts, host)
        named = pod.ruled is None or host in [each.host for each in self.secrets.get(name).secrets]
        found = reach.reachable(written, named=True)
        if not written:
            servers = [(each, DNS_PORT) for each in self._around.servers(name)]
            said = await look_up(self._upstream, ("egress", name), host, servers or None)
            if not said:
                raise Refused(f"no name server knows an address of {host}")
            found = reach.reachable(said, named=named)
        if not found:
            raise Refused(f"{host} has no address that a pod may reach, unless `extra_hosts` says so")
        return found

    def _written(self, lines: Iterable[str], host: str) -> tuple[str, ...]:
        found = []
        for line in lines:
            with contextlib.suppress(Refused, ValueError, InvalidArgument):
                name, address = extra_host(line, self._around.host())
                if rules.host_name(name) == host:
                    found.append(str(ipaddress.ip_address(address)))
        return tuple(found)


def _log(denied: Denied) -> None:
    log.info("pod %s: %s %s: %s", denied.pod[:12], denied.method, denied.url, denied.reason)
