"""A sandbox: one VM's place, whether or not it runs, and whoever lives in it.

It is brought up with what it is to contain and needs no container; ``join`` and ``leave`` say who has use for it, and
with the last that leaves the VM ends.  ``busy`` orders what begins and ends the VM, and what is plugged into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from hypercontainer.agent.operations import VmConfig, Welcome
from hypercontainer.agent.session import Agent
from hypercontainer.contract.networks import NONE, Join
from hypercontainer.engine.network.network import Network, NoNetwork
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox import layout, leavings, nfs, plug, storage
from hypercontainer.engine.sandbox.beginning import Newcomer, NoCloneError, Told, vm_config
from hypercontainer.engine.sandbox.claims import Claim
from hypercontainer.engine.sandbox.contents import Contents, volume_images
from hypercontainer.engine.sandbox.endings import explained, noted
from hypercontainer.engine.sandbox.factory import Factory, Found
from hypercontainer.engine.sandbox.gate import Gate
from hypercontainer.engine.sandbox.hardware import Hardware
from hypercontainer.engine.sandbox.inhabited import Inhabited
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.sandbox.machine import Supplies, plan_hardware
from hypercontainer.engine.state import GONE, ImagePart, PodRecord
from hypercontainer.engine.timings import Stopwatch
from hypercontainer.engine.verifying import Doubts
from hypercontainer.errors import (
    AgentError,
    AgentProtocolError,
    AgentTimeout,
    Conflict,
    GuestError,
    GuestGone,
    HyperError,
    LaunchError,
    Remedy,
)
from hypercontainer.hypervisor.driver import VM, VMExit, VMRecord
from hypercontainer.hypervisor.ending import killed_on_failure
from hypercontainer.linux import cgroup
from hypercontainer.linux.waiting import together, whole

WELCOME_S = 30.0
OPERATION_S = 30.0
# A clone speaks within tenths of a second; one that has not by now never will, on however busy a host.
CLONE_GREETING_S = 15.0

_CHOSEN = ("published", "images", "claimed", "attachments")  # what is the same in whichever VM it becomes

log = logging.getLogger(__name__)


class Sandbox(Inhabited):
    """``on_oom``: called with a container in which something was killed for memory; ``told`` with what happens to all
    of them."""

    def __init__(
        self,
        record: Kept[PodRecord],
        supplies: Supplies,
        factory: Factory,
        on_oom: Callable[[str], None],
        told: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.record = record
        self.live: Live | None = None
        self._supplies, self._factory = supplies, factory
        self._claim = Claim(record, supplies.claims)
        self._on_oom, self._told = on_oom, told
        self._last: Live | None = None  # the present VM, or the one before
        self._servers: Mapping[str, str] = {}  # of NFS, and where they were when they were last looked for
        self._doubts = Doubts(supplies.verifying, record)
        self._adoption: asyncio.Task[Welcome | None] | None = None
        self._gate = Gate(is_open=not record.value.paused)
        self._pausing = asyncio.Lock()

    @property
    def id(self) -> str:
        return self.record.value.id

    @property
    def what(self) -> str:
        return f"pod {self.record.value.name or self.id[:12]}"

    @property
    def _folder(self) -> Path:
        return layout.disk_folder(self._supplies.places, self.record.value)

    def running(self) -> Live:
        if self.live is None:
            raise GuestGone(f"the VM of {self.what} does not run")
        return self.live

    @property
    def stalled(self) -> bool:
        """It stands still until there is room on the host for what it writes."""
        return self.live is not None and self.live.stalled

    @property
    def agent(self) -> Agent:
        return self.running().agent

    @contextlib.asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """Within, the guest answers although its VM is paused; if there is one."""
        if (live := self.live) is None:
            yield
            return
        async with live.awake():
            yield

    @property
    def network(self) -> Network:
        """Of the VM that runs."""
        return NoNetwork() if self._bare else self._supplies.networks.found(self.record.value)

    @property
    def wired(self) -> Live | None:
        return None if self._bare else self.live

    def note_oom(self, container: str) -> None:
        """The guest has told that something was killed for memory: by an event, or with a process's end."""
        if container not in self.oom_killed:
            self.oom_killed.add(container)
            self._on_oom(container)

    # ------------------------------------------------------------------------------------- brought up

    def starting(self) -> contextlib.AbstractContextManager[None]:
        """Around a start, in which nothing is made for later ones."""
        return self._factory.starting()

    def turn(
        self, lock: asyncio.Lock, *, patient: bool = False
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """For a start: holds the lock while it is not paused, and is not paused within.  Conflict where it is;
        ``patient``: later."""
        return self._gate.turn(lock, None if patient else self.check_going)

    def check_going(self) -> None:
        """Conflict where it is paused as a whole."""
        if not self._gate.is_open:
            raise Conflict(
                f"{self.what} is paused", remedies=[Remedy("pods.unpause", self.record.value.name)]
            )

    async def up(self, newcomer: Newcomer, contents: Callable[[], Contents], stopwatch: Stopwatch) -> Told:
        """Has the VM run and tells its guest of its volumes, and what the newcomer adds: where the VM is started for
        this, with all of ``contents``, in one burst; where it runs, with the newcomer's image at least.  A clone is as
        good as a boot, or it is given up."""
        while True:
            async with self.busy:
                if not self._bare:
                    return await self._up(newcomer, contents, stopwatch)
            await self._whole.wait()

    async def _up(self, newcomer: Newcomer, contents: Callable[[], Contents], stopwatch: Stopwatch) -> Told:
        try:
            with self._supplies.networks.starting(self.id, lambda: self.live is not None):
                if self.live is None:
                    await self._supplies.claims.settle(self.id, contents(), bare=self._bare)
                    self._claim.take(contents())  # at once
                    told = await self._bring_up(newcomer, contents(), stopwatch)
                else:
                    told = await self._add(self.live, newcomer, contents(), stopwatch)
        finally:
            if self.live is None:
                self._claim.drop()
                self._is_whole()
        await self._discard_stale()
        return told

    @contextlib.asynccontextmanager
    async def visited(self, newcomer: Newcomer, contents: Callable[[], Contents]) -> AsyncIterator[None]:
        """Within, the guest has the newcomer's files, and runs nothing of it.  A VM that is started for this has no
        network, and who wants one that has waits for its end."""
        async with self.busy:
            self._bare = bare = self._bare or self.live is None
            (self._visitors if bare else self._users).add(newcomer.id)
        try:
            async with self.busy:
                told = await self._up(newcomer, contents, Stopwatch())
            try:
                await asyncio.gather(*(future for _, future in told.stages))
            except AgentError as error:
                raise await self.explain(newcomer, error) from error
            yield
        finally:
            await whole(self._left(newcomer.id))

    @contextlib.asynccontextmanager
    async def lent(self, visitor: str) -> AsyncIterator[Live]:
        """Within, its VM, which runs, answers, and does not go with its last container."""
        async with self.busy:
            live = self.running()
            (self._visitors if self._bare else self._users).add(visitor)
        try:
            async with self.awake():
                yield live
        finally:
            await whole(self._left(visitor))

    async def _bring_up(self, newcomer: Newcomer, contents: Contents, stopwatch: Stopwatch) -> Told:
        if not self._factory.count_ready():
            # Its driver is going to move its processes, and what that waits for passes while it is planned.
            asyncio.get_running_loop().run_in_executor(None, cgroup.hasten)
        record = self.record.value
        record = replace(record, networks=(Join(NONE),), ports=()) if self._bare else record
        hardware, facts = await plan_hardware(record, contents, self._supplies)
        await self._find_servers(contents, hardware.network)
        self.record.change(**facts)
        stopwatch.lap("prepare")
        chosen = {name: getattr(self.record.value, name) for name in _CHOSEN}
        given = record.spec.template and hardware.clones and not self._bare
        while given and (found := await self._factory.find(hardware)) is not None:
            try:
                return await self._in_clone(found, hardware, newcomer, contents, stopwatch)
            except NoCloneError as error:
                vm_exit = await self._end_of_clone(error.__cause__)
                self.record.change(**chosen)
                if not await self._factory.failed(found, error, vm_exit):
                    break
        told = await self._in_boot(hardware, newcomer, contents, stopwatch)
        if given:
            await self._factory.booted(hardware)
        return told

    async def _in_boot(
        self, hardware: Hardware, newcomer: Newcomer, contents: Contents, stopwatch: Stopwatch
    ) -> Told:
        stopwatch.kind = "cold"
        try:
            vm = await hardware.driver.launch(hardware.spec)
        except LaunchError as error:
            raise noted(error) from None
        async with killed_on_failure(vm):
            await hardware.network.join(vm, hardware.published, ready=False)
        live = await self._take(vm)
        stopwatch.lap("vm")
        boot_s = self._supplies.boot_timeout_s(hardware.driver)
        try:
            config = vm_config(self.record.value, self.network.interfaces())
            told = self._tell(live, newcomer, contents, boot_s, config)
            # All that lies in the pipe until the guest has booted, and the root is mounted by the time it greets.
            await live.greeted(boot_s)
        except AgentError as error:  # whoever is next finds no VM that is going
            raise await self.explain(newcomer, error) from error
        return self._greeted(live, told, stopwatch)

    async def _in_clone(
        self, found: Found, hardware: Hardware, newcomer: Newcomer, contents: Contents, stopwatch: Stopwatch
    ) -> Told:
        try:
            live = await self._take(found.vm)
            self.record.change(uid=found.uid)
            drives = {drive.serial for drive in hardware.clone.drives}
            for disk in hardware.spec.disks:
                if disk.serial not in drives:
                    await found.vm.attach_disk(disk)
            await together(  # what is left of one that fails would hold a disk that is tried elsewhere
                *(found.vm.insert_disk(disk) for disk in hardware.spec.disks if disk.serial in drives)
            )
            renewed = hardware.network.renewed()
            told = self._tell(live, newcomer, contents, OPERATION_S, vm_config(self.record.value, renewed))
            await found.vm.resume()
            stopwatch.kind = found.kind
            stopwatch.lap("vm")
            await live.greeted(CLONE_GREETING_S)
        except (HyperError, OSError) as error:
            raise NoCloneError(str(error)) from error
        return self._greeted(live, told, stopwatch)

    async def _take(self, vm: VM) -> Live:
        """Makes a VM this sandbox's, whose guest has not been spoken to.  One that is paused gets what it is told
        when it is resumed."""
        async with killed_on_failure(vm):
            self.record.change(vm=vm.record.to_json(), attachments=self.network.attachments)
            return await self._hold(vm, resumed=False)

    async def _hold(self, vm: VM, *, resumed: bool) -> Live:
        live = await Live.hold(
            vm,
            resumed=resumed,
            on_end=self._gone,
            on_oom=self.note_oom,
            on_stall=self._stalled,
            on_corrupted=self._doubts.corrupted,
        )
        self.live = self._last = live
        self._doubts.begin()
        self.oom_killed.clear()
        if self.record.value.disk_full and not live.stalled:  # there was room again while no hyperd looked
            self._stalled(False)
        return live

    def _gone(self) -> None:
        self.live = None
        self._is_whole()
        if self.record.value.paused:  # else a pause that is under way opens it
            self._gate.open()
        self._supplies.networks.release(self.id)
        self.record.change(**GONE)

    def _stalled(self, full: bool) -> None:
        self.record.change(disk_full=full)
        self._told("disk_full" if full else "disk_room")

    def _greeted(self, live: Live, told: Told, stopwatch: Stopwatch) -> Told:
        """By now the time in the guest's configuration is older by a boot."""
        stopwatch.lap("guest")
        timed = live.agent.set_time(time.time_ns(), timeout_s=told.timeout_s)
        return Told([*told.stages, ("", timed)], told.timeout_s)

    async def _add(self, live: Live, newcomer: Newcomer, contents: Contents, stopwatch: Stopwatch) -> Told:
        """To a VM that runs."""
        stopwatch.kind = "shared"
        self._claim.extend(contents)
        own = [newcomer.image] if newcomer.image else []
        for root in await self._supplies.roots([*own, *volume_images(contents.volumes.values())]):
            await plug.image(live.vm, self.record, root)
        disks = await storage.disks(contents.volumes.values(), self._supplies.volumes, self._folder)
        await plug.volumes(live.vm, self.record.value, contents.volumes, disks, self._supplies.volumes)
        await self._find_servers(contents, self.network)
        stopwatch.lap("prepare")
        return self._tell(live, newcomer, contents, OPERATION_S)

    async def _find_servers(self, contents: Contents, network: Network) -> None:
        volumes, networks = contents.volumes.values(), self._supplies.networks
        what = f"a VM that is brought up for files of {contents.name}" if self._bare else contents.name
        self._servers = await nfs.addresses(volumes, self._supplies.volumes, network, networks.names, what)

    def _tell(
        self,
        live: Live,
        newcomer: Newcomer,
        contents: Contents,
        timeout_s: float,
        config: VmConfig | None = None,
    ) -> Told:
        stages: list[tuple[str, asyncio.Future[None]]] = []
        if config is not None:
            stages.append(("configure", live.agent.configure(config, timeout_s=timeout_s)))
        volumes, shares = contents.volumes.values(), live.vm.record.shares
        store, servers = self._supplies.volumes, self._servers
        plans = storage.plans(self.record.value, volumes, shares, servers, store, self._folder)
        missing = {name: plan for name, plan in plans.items() if name not in self.record.value.mounted}
        if missing:
            serials = {name: storage.plugged(plan) for name, plan in missing.items()}
            self.record.change(mounted=self.record.value.mounted | serials)
        for name, plan in missing.items():
            adding = live.agent.add_volume(plan, timeout_s=timeout_s)
            stages.append(("", storage.added(volumes, name, servers, store, adding)))
        return Told([*stages, *newcomer.tell(timeout_s)], timeout_s)

    def image_part(self, diff_ids: tuple[str, ...]) -> ImagePart:
        """Where the VM that runs has the image."""
        return layout.part_of(self.record.value.images, diff_ids)

    async def explain(self, newcomer: Newcomer, error: AgentError) -> HyperError:
        """The error to tell the user of a start: what the guest said, or, where it said nothing, why its VM came to
        nothing."""
        if wrong := await self._doubts.behind(error):
            return wrong
        of_one = isinstance(error, AgentTimeout) and self.used_by_others(newcomer.id)
        if isinstance(error, GuestError) or self._last is None or of_one:
            return error
        if isinstance(error, AgentTimeout | AgentProtocolError):
            await self.end(orderly=False)
        # Else the channel closed because the VM is going, and that will say why.
        vm_exit = await self._last.ended()
        return noted(explained(newcomer.what, error, vm_exit, self.record.value.memory_mib))

    async def _end_of_clone(self, error: BaseException | None) -> VMExit | None:
        """The same, of a clone that has come to nothing by this error."""
        if isinstance(error, GuestGone) and self._last is not None:
            return await self._last.ended()
        return await self.end(orderly=False)

    # ------------------------------------------------------------------------------------- while it runs

    @property
    def stands_still(self) -> bool:
        return self.record.value.paused or (self.live is not None and not self.live.going.is_set())

    async def pause(self, freeze: Callable[[], Awaitable[None]]) -> None:
        """The VM stands still: nobody in it is answered, and it costs no CPU.  Starts that are under way come first,
        then ``freeze``."""
        async with self._pausing:
            try:
                await self._gate.shut()
                await freeze()
                async with self.busy:
                    await self._pause()
            except BaseException:
                if not self.record.value.paused:
                    self._gate.open()
                raise

    async def _pause(self) -> None:
        live = self.running()
        self.record.change(paused=True)
        try:
            await live.pause()
        except HyperError:
            self.record.change(paused=False)
            raise

    async def resume(self) -> None:
        async with self.busy:
            if self.live is not None:
                await self.live.resume()
            self.record.change(paused=False)
            self._gate.open()

    async def discard(self, container: str) -> None:
        """What a container that is removed has written goes from the pod's disk: now, or when the VM runs next."""
        self.record.change(stale=(*self.record.value.stale, layout.directory(container)))
        async with self.busy, self.awake():
            await self._discard_stale()

    async def _discard_stale(self) -> None:
        if self.live is not None:
            await leavings.discard_stale(self.live, self.record)

    async def tidy(self, contents: Contents) -> None:
        """Takes disks that came with containers that are gone out of a VM that runs on, and removes those that were
        theirs alone."""
        async with self.busy:
            if self.live is not None and self._users:
                await leavings.unplug(self.live, self.record, contents, self._claim)
            await leavings.remove_disks(self._folder, self.record.value, contents)

    # ------------------------------------------------------------------------------------- ended, let go of

    async def ended(self) -> VMExit | None:
        """Waits for the end of the VM that runs or ran last."""
        return None if self._last is None else await self._last.ended()

    async def end(self, *, orderly: bool) -> VMExit | None:
        """Ends the VM, whatever state it is in; orderly: what the guest has written is on its disk first."""
        return None if self.live is None else await self.live.end(orderly=orderly)

    async def close(self) -> None:
        """Lets go of the VM, which lives on."""
        if self._last is not None:
            await self._last.close()

    # ------------------------------------------------------------------------------------- another hyperd's

    async def adopted(self) -> Welcome | None:
        """The VM of an earlier hyperd is taken back, once for all who ask; None when it is gone, or cannot be spoken
        to and was ended.  One that stood still goes on until ``settle``."""
        if self._adoption is None:
            self._adoption = asyncio.create_task(self._adopt(), name=f"adoption {self.id[:12]}")
        return await asyncio.shield(self._adoption)

    async def settle(self) -> None:
        """All that an earlier hyperd left in it is taken back."""
        if self.record.value.paused and self.live is not None:
            await self.live.pause()

    async def _adopt(self) -> Welcome | None:
        """Unavailable where its driver is not there: then it is not known to be gone."""
        if self.record.value.vm is None:
            self._claim.drop()
            return None
        record = VMRecord.from_json(self.record.value.vm)
        self._bare = not self.record.value.attachments and self.record.value.networks[:1] != (Join(NONE),)
        driver = self._supplies.drivers.of(record)
        try:
            vm = await driver.adopt(record)
            if vm is None:
                self._gone()
                return None
            if await vm.paused():
                await vm.resume()
            live = await self._hold(vm, resumed=True)
            welcome = await live.greeted(WELCOME_S)
            if not self._bare:
                return welcome
            await self.end(orderly=True)  # whoever it was started for is gone
            return None
        except HyperError as error:
            log.warning("%s: %s", self.what, error)
        if await self.end(orderly=False) is None:
            with contextlib.suppress(HyperError):
                await driver.destroy(record)
            self._gone()
        return None
