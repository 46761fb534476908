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
from collections.abc import Callable, Mapping
from functools import partial

from hypercontainer.agent.operations import (
    Disk,
    Interface,
    ProcessExited,
    ProcessState,
    Sysctl,
    VmConfig,
    Welcome,
)
from hypercontainer.agent.wire import split_stream_id
from hypercontainer.engine import addresses, plan, vm_plan
from hypercontainer.engine.factory import Found
from hypercontainer.engine.hardware import DISK_SERIAL, IMAGE_SERIAL, TEMPLATE_MAC, Hardware
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod import Pod
from hypercontainer.engine.process import Process
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.engine.timings import Stopwatch
from hypercontainer.errors import (
    AgentError,
    AgentProtocolError,
    AgentTimeout,
    GuestError,
    HyperError,
    LaunchError,
)
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.rootfs import RootDisk

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
    """Has the pod's VM run and starts the container's process in it; its output does not flow yet.

    A clone is as good as a boot, or it is given up: only what its guest says of the container counts as an error.
    """
    root = await asyncio.to_thread(parts.layers.root_disk, record.diff_ids)
    hardware = await vm_plan.plan_hardware(pod, record, parts, root)
    stopwatch.lap("prepare")
    start = Start(pod, record, root, write_log, stopwatch)
    with parts.factory.starting():
        while record.spec.template and (found := await parts.factory.find(hardware)) is not None:
            try:
                return await start.in_clone(found, hardware)
            except NoCloneError as error:
                await pod.end(orderly=False)
                await parts.factory.failed(found, error)
        stopwatch.kind = "cold"
        await pod.launch(hardware.spec)
        stopwatch.lap("vm")
        try:
            return await start.in_boot(parts.config.machine.boot_timeout_s)
        except AgentError as error:
            raise await _explain(pod, record, error) from error


class NoCloneError(Exception):
    """A clone has come to nothing before its guest spoke.  There is one less to be found now: try again."""


class Start:
    """One start of a container in a VM that runs or stands ready: what is told to the guest, in which order."""

    def __init__(
        self,
        pod: Pod,
        record: ContainerRecord,
        root: RootDisk,
        write_log: Callable[[int, bytes], None] | None,
        stopwatch: Stopwatch,
    ) -> None:
        self._pod = pod
        self._record = record
        self._planned = plan.start(record.spec, record.effective, record.id, _facts(record, root, pod))
        self._write_log = write_log
        self._stopwatch = stopwatch

    async def in_boot(self, boot_s: float) -> Process:
        told = self._tell(vm_config(self._pod, self._record), boot_s)
        # All that lies in the pipe until the guest has booted, and the root is mounted by the time it greets.
        await self._pod.greeted(boot_s)
        return await self._process(told, boot_s)

    async def in_clone(self, found: Found, hardware: Hardware) -> Process:
        pod, vm = self._pod, found.vm
        try:
            await pod.take(vm)
            pod.change(uid=found.uid)
            await asyncio.gather(*(vm.insert_disk(disk) for disk in hardware.spec.disks))
            told = self._tell(vm_config(pod, self._record, clone=True), OPERATION_S)
            await vm.resume()
            self._stopwatch.kind = found.kind
            self._stopwatch.lap("vm")
            await pod.greeted(CLONE_GREETING_S)
        except (HyperError, OSError) as error:
            raise NoCloneError(str(error)) from error
        try:
            return await self._process(told, OPERATION_S)
        except AgentError as error:
            raise await _explain(pod, self._record, error) from error

    def _tell(self, config: VmConfig, timeout_s: float) -> tuple[Future[None], Future[None]]:
        agent = self._pod.agent
        configured = agent.configure(config, timeout_s=timeout_s)
        created = agent.create_container(self._planned.container, timeout_s=timeout_s)
        return configured, created

    async def _process(self, told: tuple[Future[None], Future[None]], timeout_s: float) -> Process:
        """After the guest's greeting.  By now the time in its configuration is older by a boot."""
        agent, stopwatch, spec = self._pod.agent, self._stopwatch, self._record.spec
        stopwatch.lap("guest")
        for future, stage in zip(told, ("configure", "root"), strict=True):
            future.add_done_callback(partial(stopwatch.lap, stage))
        timed = agent.set_time(time.time_ns(), timeout_s=timeout_s)
        started = agent.start_process(self._planned.process, timeout_s=timeout_s)
        process = Process(
            agent,
            INIT,
            tty=spec.tty,
            stdin=spec.stdin_open,
            close_stdin=spec.stdin_once,
            record=self._write_log,
        )
        self._pod.add(process)
        await asyncio.gather(*told, timed, started)
        stopwatch.lap("process")
        return process


def _facts(record: ContainerRecord, root: RootDisk, pod: Pod) -> plan.Facts:
    online = pod.record.network != "none"
    return plan.Facts(
        lower=Disk(IMAGE_SERIAL, root.filesystem),
        upper=None if record.spec.read_only else Disk(DISK_SERIAL, "ext4"),
        process=INIT,
        address=addresses.GUEST_ADDRESS if online else "",
        gateway=addresses.GATEWAY if online else "",
        name_servers=(record.spec.dns or (addresses.NAME_SERVER,)) if online else (),
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


def drain_others(pod: Pod, welcome: Welcome, init: int) -> None:
    """Execs of an earlier hyperd have lost their clients: what they still write is read and dropped."""
    for state in welcome.processes:
        if state.process == init:
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


def _release(pod: Pod, number: int, _: object) -> None:
    pod.release(number)
