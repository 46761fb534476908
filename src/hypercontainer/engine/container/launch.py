"""From a container's record to a running process: disks, kernel, VM, and one burst of operations to the guest.

Whatever goes wrong on the way becomes one error that says why: the hypervisor's
stderr and the guest's last lines, or what the guest said.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import time
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hypercontainer.agent.operations import (
    Interface,
    ProcessExited,
    ProcessState,
    Sysctl,
    VmConfig,
    Welcome,
)
from hypercontainer.agent.wire import split_stream_id
from hypercontainer.engine.container.process import Process
from hypercontainer.engine.container.timings import Stopwatch
from hypercontainer.engine.network import user as addresses
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox import layout, plug, storage
from hypercontainer.engine.sandbox import machine as vm_plan
from hypercontainer.engine.sandbox.factory import Found
from hypercontainer.engine.sandbox.hardware import TEMPLATE_MAC, Hardware
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import (
    AgentError,
    AgentProtocolError,
    AgentTimeout,
    GuestError,
    HyperError,
    LaunchError,
)
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.linux import signals
from hypercontainer.rootfs import RootDisk, chain_id
from hypercontainer.semantics import docker as plan

INIT = 1  # the first process's number in its VM
OPERATION_S = 30.0
# A clone speaks within tenths of a second; one that has not by now never will, on however busy a host.
CLONE_GREETING_S = 15.0
START_OPERATION = "process start"

_ENDINGS = {
    ExitReason.GUEST_SHUTDOWN: "the guest powered off",
    ExitReason.GUEST_RESET: "the guest's kernel panicked or rebooted",
    ExitReason.OUT_OF_MEMORY: "the hypervisor needed more memory than its limit",
    ExitReason.CRASH: "the hypervisor crashed or was killed",
}
# Programs map more than they touch (postgres, Java, a forking redis).  On a host with a limit for the container that
# works; in a VM of that size the kernel's guess would refuse it.
VM_SYSCTLS = (Sysctl("vm.overcommit_memory", "1"),)

# execve(2)'s answers that mean "there is no such program"; any other failure means "it cannot be run".
_NOT_FOUND = frozenset({errno.ENOENT, errno.ENOTDIR})


async def start(
    pod: Pod,
    record: ContainerRecord,
    parts: Parts,
    write_log: Callable[[int, bytes], None] | None,
    stopwatch: Stopwatch,
) -> Process:
    """Starts the container's process in the pod's VM, which runs or is made to; its output does not flow yet.

    A clone is as good as a boot, or it is given up: only what its guest says of the container counts as an error.
    """
    begun = Start(pod, record, parts, write_log, stopwatch)
    with parts.factory.starting():
        async with pod.machine:
            told = await (begun.bring_up() if pod.vm is None else begun.join())
            await pod.discard_stale()
        return await begun.process(told)


class NoCloneError(Exception):
    """A clone has come to nothing before its guest spoke.  There is one less to be found now: try again."""


@dataclass
class Told:
    """What a guest was told and has not answered, by the stage that its answer ends."""

    stages: list[tuple[str, Future[None]]]
    timeout_s: float


class Start:
    """One start of a container, and of its pod's VM where it is the first."""

    def __init__(
        self,
        pod: Pod,
        record: ContainerRecord,
        parts: Parts,
        write_log: Callable[[int, bytes], None] | None,
        stopwatch: Stopwatch,
    ) -> None:
        self._pod = pod
        self._record = record
        self._parts = parts
        self._write_log = write_log
        self._stopwatch = stopwatch
        self._number = INIT if pod.vm is None and not pod.named else pod.new_process_number()
        self._planned: plan.Start

    # ------------------------------------------------------------------------------------- the VM

    async def bring_up(self) -> Told:
        """Has the VM run, with all that its containers need, and tells it of this one."""
        pod, parts, stopwatch = self._pod, self._parts, self._stopwatch
        roots = await asyncio.to_thread(_roots, parts, pod.records())
        hardware = await vm_plan.plan_hardware(pod, parts, roots)
        chosen = {"published": pod.record.published, "images": pod.record.images}
        stopwatch.lap("prepare")
        template = pod.record.spec.template if pod.record.spec is not None else self._record.spec.template
        while template and hardware.clones and (found := await parts.factory.find(hardware)) is not None:
            try:
                return await self._in_clone(found, hardware)
            except NoCloneError as error:
                await pod.end(orderly=False)
                pod.change(**chosen)
                await parts.factory.failed(found, error)
        stopwatch.kind = "cold"
        await pod.launch(hardware.spec)
        stopwatch.lap("vm")
        boot_s = parts.config.machine.boot_timeout_s
        try:
            told = self._tell(boot_s, config=vm_config(pod, self._record))
            # All that lies in the pipe until the guest has booted, and the root is mounted by the time it greets.
            await pod.greeted(boot_s)
        except AgentError as error:
            raise await _explain(pod, self._record, error) from error
        return self._greeted(told)

    async def _in_clone(self, found: Found, hardware: Hardware) -> Told:
        pod, vm = self._pod, found.vm
        try:
            await pod.take(vm)
            pod.change(uid=found.uid)
            drives = {drive.serial for drive in hardware.clone.drives}
            for disk in hardware.spec.disks:
                if disk.serial not in drives:
                    await vm.attach_disk(disk)
            await asyncio.gather(
                *(vm.insert_disk(disk) for disk in hardware.spec.disks if disk.serial in drives)
            )
            told = self._tell(OPERATION_S, config=vm_config(pod, self._record, clone=True))
            await vm.resume()
            self._stopwatch.kind = found.kind
            self._stopwatch.lap("vm")
            await pod.greeted(CLONE_GREETING_S)
        except (HyperError, OSError) as error:
            raise NoCloneError(str(error)) from error
        return self._greeted(told)

    def _greeted(self, told: Told) -> Told:
        """By now the time in the guest's configuration is older by a boot."""
        self._stopwatch.lap("guest")
        timed = self._pod.agent.set_time(time.time_ns(), timeout_s=told.timeout_s)
        return Told([*told.stages, ("", timed)], told.timeout_s)

    async def join(self) -> Told:
        """Tells the VM, which runs for other containers, of this one."""
        pod, stopwatch = self._pod, self._stopwatch
        stopwatch.kind = "shared"
        root = (await asyncio.to_thread(_roots, self._parts, [self._record]))[0]
        await plug.image(pod, root)
        await plug.volumes(pod, await storage.disks(pod, self._parts))
        stopwatch.lap("prepare")
        return self._tell(OPERATION_S)

    # ------------------------------------------------------------------------------------- the container

    def _tell(self, timeout_s: float, *, config: VmConfig | None = None) -> Told:
        agent, pod, record = self._pod.agent, self._pod, self._record
        stages: list[tuple[str, Future[None]]] = []
        if config is not None:
            stages.append(("configure", agent.configure(config, timeout_s=timeout_s)))
        stages += [("", added) for added in storage.add(pod, timeout_s=timeout_s)]
        facts = _facts(record, pod, self._number)
        self._planned = plan.start(record.spec, record.effective, record.id, facts)
        stages.append(("root", agent.create_container(self._planned.container, timeout_s=timeout_s)))
        return Told(stages, timeout_s)

    async def process(self, told: Told) -> Process:
        stopwatch, spec = self._stopwatch, self._record.spec
        try:
            agent = self._pod.agent
            for stage, future in told.stages:
                if stage:
                    future.add_done_callback(partial(stopwatch.lap, stage))
            started = agent.start_process(self._planned.process, timeout_s=told.timeout_s)
            process = Process(
                agent,
                self._number,
                tty=spec.tty,
                stdin=spec.stdin_open,
                close_stdin=spec.stdin_once,
                record=self._write_log,
            )
            self._pod.add(process)
            await asyncio.gather(*(future for _, future in told.stages), started)
        except AgentError as error:
            raise await _explain(self._pod, self._record, error) from error
        stopwatch.lap("process")
        return process


def _roots(parts: Parts, records: Sequence[ContainerRecord]) -> list[RootDisk]:
    return [parts.layers.root_disk(record.diff_ids) for record in records]


def _facts(record: ContainerRecord, pod: Pod, number: int) -> plan.Facts:
    online = pod.record.network != "none"
    part = pod.image_part(chain_id(record.diff_ids))
    assert part is not None  # a VM is told of a container when it has its image
    return plan.Facts(
        lower=layout.lower(part),
        upper=layout.upper(pod.record, record),
        process=number,
        address=addresses.GUEST_ADDRESS if online else "",
        gateway=addresses.GATEWAY if online else "",
        name_servers=(record.spec.dns or (addresses.NAME_SERVER,)) if online else (),
        single_files=storage.single_files(pod.volumes.values()),
        shared_memory=storage.memory_volume(pod, record.spec),
        in_pod=pod.named,
    )


def clone_interface(mac: str) -> Interface:
    """As its template has it, but for its MAC."""
    return Interface(
        mac=addresses.mac_bytes(TEMPLATE_MAC), name=addresses.INTERFACE, new_mac=addresses.mac_bytes(mac)
    )


def vm_config(pod: Pod, record: ContainerRecord, *, clone: bool = False) -> VmConfig:
    mac = pod.record.mac
    interfaces: tuple[Interface, ...] = ()
    if pod.record.network != "none":
        interfaces = (clone_interface(mac) if clone else addresses.interface(mac),)
    return VmConfig(
        hostname=record.effective.hostname,
        domainname=record.spec.domainname,
        time_ns=time.time_ns(),
        entropy=secrets.token_bytes(64),
        interfaces=interfaces,
        sysctls=VM_SYSCTLS,
    )


async def _explain(pod: Pod, record: ContainerRecord, error: AgentError) -> HyperError:
    """The error to tell the user: what the guest said, or, where it said nothing, why its VM came to nothing."""
    if isinstance(error, GuestError):
        return error
    if isinstance(error, AgentTimeout) and pod.used_by_others(record.id):
        return error
    if isinstance(error, AgentTimeout | AgentProtocolError):
        await pod.end(orderly=False)
    # Else the channel closed because the VM is going, and that will say why.
    vm_exit = await pod.ended()
    return LaunchError(
        f"container {record.name}: its VM did not start: {_ENDINGS.get(vm_exit.reason, error.message)}",
        exit_code=vm_exit.exit_code,
        stderr=vm_exit.stderr,
        console=vm_exit.console,
        hint="are kernel, initrd, kernel arguments and memory (-m) right? `hyper doctor` checks hyper's own",
    )


def exit_status(error: BaseException) -> int:
    """What a container that could not be started has as its exit status, as Docker's users know it."""
    if isinstance(error, GuestError) and error.operation == START_OPERATION:
        return 127 if error.errno in _NOT_FOUND else 126
    return 128


def resume(
    pod: Pod,
    record: ContainerRecord,
    state: ProcessState,
    offsets: Mapping[int, int],
    write_log: Callable[[int, bytes], None] | None,
) -> Process:
    """Takes a running container's process back; its output goes on where the log ends."""
    process = Process(
        pod.agent,
        state.process,
        tty=record.spec.tty,
        stdin=record.spec.stdin_open,
        close_stdin=record.spec.stdin_once,
        record=write_log,
    )
    pod.add(process)
    kept = {split_stream_id(stream.stream)[1]: stream for stream in state.streams}
    process.open_output(
        {
            channel: min(max(offsets.get(channel, 0), kept[channel].acked_bytes), kept[channel].end_bytes)
            for channel in process.channels
            if channel in kept
        }
    )
    if state.exited:
        process.ended.set_result(ProcessExited(state.process, state.wait_status, state.time_ns, state.oom))
    return process


def drain_others(pod: Pod, welcome: Welcome, container: str, init: int) -> None:
    """Execs of an earlier hyperd have lost their clients: what they still write is read and dropped."""
    for state in welcome.processes:
        if state.container != container or state.process == init:
            continue
        if state.exited:
            pod.release(state.process)
            continue
        which = {split_stream_id(stream.stream)[1] for stream in state.streams}
        process = Process(pod.agent, state.process, tty=2 not in which, stdin=False, close_stdin=False)
        pod.add(process)
        kept = {split_stream_id(stream.stream)[1]: stream.acked_bytes for stream in state.streams}
        process.open_output(kept)
        process.ended.add_done_callback(partial(_release, pod, state.process))


def end_vm_processes(pod: Pod, welcome: Welcome) -> None:
    """Those outside of containers did something for an earlier hyperd, which nobody waits for any more."""
    drain_others(pod, welcome, "", 0)
    for state in welcome.processes:
        if not state.container and not state.exited:
            pod.agent.signal(state.process, signals.parse("TERM")).add_done_callback(_looked_at)


def _looked_at(answer: Future[None]) -> None:
    if not answer.cancelled():
        answer.exception()


def _release(pod: Pod, number: int, _: object) -> None:
    pod.release(number)
