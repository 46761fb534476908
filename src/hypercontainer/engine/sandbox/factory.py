"""Where VMs come from: one that stands ready, else a clone of a template, else a boot.

What stands ready is a clone, or, of a driver that has none, a VM that was booted ahead.  Templates are made, and the
ready ones refilled, in the background, one at a time, and only while no container is being started and none was for
``QUIET_S``: whoever waits for a container waits for nothing else.  Only a template, without which every start is a
boot, is made after some seconds all the same; and of nothing that has not booted, since all others would wait for a
guest that may never speak.  A size that has not been used for long has none ready; what is ready takes at most a share
of the memory that is available.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from hypercontainer.agent.operations import Interface, Preparation
from hypercontainer.config import Factory as Policies
from hypercontainer.config import Policy
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.sandbox.hardware import Hardware
from hypercontainer.engine.sandbox.rehearsal import Stage, rehearse
from hypercontainer.engine.sandbox.templates import Templates, prepare
from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.hypervisor.driver import VM, Capabilities, VMExit
from hypercontainer.hypervisor.ending import killed_on_failure
from hypercontainer.linux.memory import available_bytes
from hypercontainer.linux.waiting import whole
from hypercontainer.semantics import mounts as plan_mounts

MIB = 1 << 20
QUIET_S = 0.5
PATIENCE_S = 3.0  # a template is made after that all the same
RETRY_S = 60.0  # after a failure
ELSEWHERE_S = 5.0  # while another hyperd makes the template
# What a ready clone takes besides its guest's own pages: the hypervisor and its translated code.
READY_OVERHEAD_BYTES = 48 * MIB
READY_GUEST_BYTES = 48 * MIB  # of the guest's pages, those that differ from the template's
BOOTED_BYTES = 24 * MIB  # all that a guest has touched that only booted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A VM whose guest waits for a host, paused where it is a clone; ``kind`` is "clone" or "warm".  Its drives are
    empty."""

    vm: VM
    kind: str
    key: str
    uid: int | None


@dataclass
class _Size:
    """One kind of VM: all of one size are alike until they are given away."""

    key: str
    hardware: Hardware
    preparation: Preparation
    cloned: bool
    used_at: float
    ready: list[Found] = field(default_factory=list)
    blocked_until: float = 0.0  # by time.monotonic, as used_at
    has_booted: bool = False


class Factory:
    """``stage``, for an architecture, blocks when it is first called.  ``new_uid`` (None: this process's) is set by who
    knows all VMs."""

    def __init__(
        self,
        templates: Templates,
        policies: Policies,
        events: EventBus,
        stage: Callable[[str], Stage],
    ) -> None:
        self._templates = templates
        self._policies = policies
        self._events = events
        self._stage = stage
        self.new_uid: Callable[[], int | None] = lambda: None
        self._sizes: dict[tuple[str, float], _Size] = {}
        self._starting = 0
        self._quiet = asyncio.Event()
        self._quiet_timer: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._able: dict[str, Capabilities] = {}

    # ------------------------------------------------------------------------------------- starts

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Around the start of a container: nothing is made meanwhile."""
        self._starting += 1
        self._quiet.clear()
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        try:
            yield
        finally:
            self._starting -= 1
            if self._starting == 0:
                loop = asyncio.get_running_loop()
                self._quiet_timer = loop.call_later(QUIET_S, self._quiet.set)

    async def find(self, hardware: Hardware) -> Found | None:
        """A VM for ``hardware``, or None where it has to be booted: then its size gets a template soon."""
        if not await self._is_made_ahead(hardware):
            return None
        try:
            size = await self._size(hardware)
            found = await self._take_ready(size, hardware) or await self._clone(size, hardware)
        except (HyperError, OSError) as error:
            log.warning("no VM stands ready for %s: %s", hardware.spec.name, error)
            return None
        finally:
            self._wake()
        return found

    async def booted(self, hardware: Hardware) -> None:
        """A guest of such a VM, for which nothing was found, has spoken."""
        if not await self._is_made_ahead(hardware):
            return
        with contextlib.suppress(HyperError, OSError):  # who looked for one has said so
            (await self._size(hardware)).has_booted = True
            self._wake()

    async def failed(self, found: Found, reason: object, vm_exit: VMExit | None) -> bool:
        """A VM whose guest never spoke, and how it ended; whether another may be asked for.  Where it was killed from
        outside, as one that stood ready may have been too, its template is as good as before; else it is no good."""
        outside = vm_exit is not None and vm_exit.from_outside
        if found.kind == "warm" or outside:
            log.warning("VM %s, a %s one, came to nothing: %s", found.vm.record.id, found.kind, reason)
            return not outside
        log.warning("template %s is thrown away, a clone of it came to nothing: %s", found.key, reason)
        for size in self._sizes.values():
            if size.key == found.key:
                await self._empty(size)
        await self._discard(found.key)
        self._wake()
        return True

    async def _discard(self, key: str) -> None:
        await self._templates.discard(key)
        self._events.publish("template", "discard", key)

    def counts(self) -> dict[str, int]:
        """How many of what there are."""
        return {
            "templates": self._templates.count(),
            "ready": self.count_ready(),
        }

    def count_ready(self) -> int:
        return sum(len(size.ready) for size in self._sizes.values())

    def _tell(self, action: str, size: _Size) -> None:
        spec = size.hardware.spec
        facts = {"hypervisor": size.hardware.driver.name, "memory_mib": str(spec.memory_mib)}
        facts |= {"vcpus": str(spec.vcpus), "ready": str(len(size.ready))}
        self._events.publish("template", action, size.key, **facts)

    async def _capabilities(self, hardware: Hardware) -> Capabilities:
        driver = hardware.driver
        if driver.name not in self._able:
            self._able[driver.name] = await driver.capabilities()
        return self._able[driver.name]

    async def _is_made_ahead(self, hardware: Hardware) -> bool:
        able = await self._capabilities(hardware)
        return (able.templates or able.drives) and self._policy(hardware).template

    async def _size(self, hardware: Hardware) -> _Size:
        prepared = preparation(hardware.network.template_interfaces(), release_disks=hardware.release_disks)
        key = await self._templates.key(hardware.driver, hardware.clone, prepared)
        size = self._sizes.get((key, hardware.cpus))
        if size is None:
            cloned = (await self._capabilities(hardware)).templates
            made = _Size(key, hardware, prepared, cloned, time.monotonic())
            size = self._sizes[key, hardware.cpus] = made
        size.used_at = time.monotonic()
        return size

    async def _take_ready(self, size: _Size, hardware: Hardware) -> Found | None:
        while size.ready:
            found = size.ready.pop()
            try:
                await hardware.network.join(found.vm, hardware.published, ready=True)
            except BaseException as error:
                # It has died, or may not bind the port that a VM of its own could: whichever, a fresh one is next.
                await whole(found.vm.kill())
                if not isinstance(error, HyperError):
                    raise
                log.info("ready VM %s is not used: %s", found.vm.record.id, error)
            else:
                return found
        return None

    async def _clone(self, size: _Size, hardware: Hardware) -> Found | None:
        snapshot = await self._templates.get(size.key) if size.cloned else None
        if snapshot is None:
            return None
        try:
            vm = await hardware.driver.clone(hardware.clone, snapshot)
        except Unavailable as error:
            log.warning("template %s is thrown away: %s", size.key, error)
            await self._discard(size.key)
            return None
        async with killed_on_failure(vm):
            await hardware.network.join(vm, hardware.published, ready=False)
        return Found(vm, "clone", size.key, hardware.spec.owner_uid)

    # ------------------------------------------------------------------------------------- background

    def _wake(self) -> None:
        self._work.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._run(), name="factory")

    async def _run(self) -> None:
        while True:
            self._work.clear()
            await self._give_up_idle()
            await self._calm()
            size = self._next()
            if size is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s()):
                        await self._work.wait()
                continue
            try:
                await self._improve(size)
            except (HyperError, OSError, TimeoutError) as error:
                size.blocked_until = time.monotonic() + RETRY_S
                log.warning("VMs of %d MiB made ahead: %s", size.hardware.spec.memory_mib, error)

    async def _calm(self) -> None:
        """On a machine where containers start all the time it never is; then all are better off with a template."""
        while not self._quiet.is_set():
            if self._next(templates=True) is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_S):
                        await self._quiet.wait()
                return
            self._work.clear()
            waits = [asyncio.ensure_future(event.wait()) for event in (self._quiet, self._work)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def _pause_s(self) -> float | None:
        """Until something is to be done that nobody tells of."""
        now, moments = time.monotonic(), []
        for size in self._sizes.values():
            moments += [size.used_at + self._policies.idle_s] if self._policies.idle_s else []
            moments += [size.blocked_until] if size.blocked_until > now else []
        return max(0.0, min(moments) - now) if moments else None

    def _policy(self, hardware: Hardware) -> Policy:
        return self._policies.policy(hardware.spec.memory_mib * MIB, hardware.spec.vcpus)

    def _next(self, *, templates: bool = False) -> _Size | None:
        """What lacks something (or a template), the one that was used last first."""
        for size in sorted(self._sizes.values(), key=lambda size: -size.used_at):
            policy = self._policy(size.hardware)
            if size.blocked_until > time.monotonic() or not policy.template:
                continue
            lacking = self._lacks_template(size)
            if not size.has_booted and (lacking or not size.cloned):
                continue
            if lacking:
                return size
            wanting = len(size.ready) < policy.cache
            if wanting and not templates and self._quiet.is_set() and self._affordable(size):
                return size
        return None

    def _lacks_template(self, size: _Size) -> bool:
        return size.cloned and not self._templates.has(size.key)

    def _affordable(self, size: _Size) -> bool:
        ready = sum(_ready_bytes(each) * len(each.ready) for each in self._sizes.values())
        share = (available_bytes() + ready) * self._policies.memory_percent // 100
        return ready + _ready_bytes(size) <= share

    async def _improve(self, size: _Size) -> None:
        uid = self.new_uid()
        if self._lacks_template(size):
            spec = replace(size.hardware.unowned("template", uid), limits=None)
            if await self._templates.make(size.key, size.hardware.driver, spec, size.preparation):
                self._tell("make", size)
            else:
                size.blocked_until = time.monotonic() + ELSEWHERE_S
            return
        vm = await (self._cloned(size, uid) if size.cloned else self._booted(size, uid))
        if vm is not None:
            size.ready.append(Found(vm, "warm", size.key, uid))
            self._tell("ready", size)

    async def _cloned(self, size: _Size, uid: int | None) -> VM | None:
        snapshot = await self._templates.get(size.key)
        if snapshot is None:
            return None
        vm = await size.hardware.driver.clone(size.hardware.unowned("ready", uid), snapshot)
        async with killed_on_failure(vm):
            stage = await asyncio.to_thread(self._stage, size.hardware.driver.architecture)
            await rehearse(vm, stage, size.preparation)
        return vm

    async def _booted(self, size: _Size, uid: int | None) -> VM:
        vm = await size.hardware.driver.launch(size.hardware.unowned("ready", uid))
        async with killed_on_failure(vm):
            await prepare(vm, size.preparation)
        return vm

    async def _give_up_idle(self) -> None:
        if not self._policies.idle_s:
            return
        now = time.monotonic()
        for place, size in list(self._sizes.items()):
            if now >= size.used_at + self._policies.idle_s:
                del self._sizes[place]
                await self._empty(size)

    async def _empty(self, size: _Size) -> None:
        ready, size.ready = size.ready, []
        await asyncio.gather(*(found.vm.kill() for found in ready), return_exceptions=True)

    def ready_uids(self) -> set[int]:
        return {found.uid for size in self._sizes.values() for found in size.ready if found.uid is not None}

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for size in self._sizes.values():
            await self._empty(size)
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self._templates.close()


@functools.cache
def preparation(interfaces: tuple[Interface, ...], *, release_disks: bool) -> Preparation:
    return Preparation(
        interfaces,
        release_disks,
        plan_mounts.mounts(
            ContainerSpec(image=""), systemd=False, shared_memory=plan_mounts.SHARED_MEMORY_VOLUME
        ),
        plan_mounts.DEVICES,
        plan_mounts.MASKED_PATHS,
        plan_mounts.READONLY_PATHS,
    )


def _ready_bytes(size: _Size) -> int:
    """About what one that stands ready takes of the host's memory."""
    if not size.cloned:
        return BOOTED_BYTES
    return READY_OVERHEAD_BYTES + min(size.hardware.spec.memory_mib * MIB, READY_GUEST_BYTES)
