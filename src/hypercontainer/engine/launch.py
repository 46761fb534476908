"""From a container's record to a running process: disks, kernel, VM, and one burst of operations to the guest.

Whatever goes wrong on the way becomes one error that says why: the hypervisor's
stderr and the guest's last lines, or what the guest said.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

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
from hypercontainer.engine import addresses, plan
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod import Pod
from hypercontainer.engine.process import Process
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import (
    AgentError,
    AgentProtocolError,
    AgentTimeout,
    GuestError,
    HyperError,
    LaunchError,
    NotFound,
)
from hypercontainer.hypervisor.driver import (
    Accelerator,
    DiskSpec,
    ExitReason,
    PortForward,
    UserNetwork,
    VMSpec,
    choose_accelerator,
)
from hypercontainer.hypervisor.resources import limits_for, vcpus_for
from hypercontainer.kernel import Kernel, build_initrd, command_line
from hypercontainer.linux import tsc
from hypercontainer.rootfs import RootDisk
from hypercontainer.types.spec import PortMapping

IMAGE_SERIAL = "image"
DISK_SERIAL = "disk"
INIT = 1  # the first process's number in its VM
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
    pod: Pod, record: ContainerRecord, parts: Parts, write_log: Callable[[int, bytes], None] | None
) -> Process:
    """Boots the pod's VM and starts the container's process in it; its output does not flow yet."""
    root = await asyncio.to_thread(parts.layers.root_disk, record.diff_ids)
    spec = await _vm_spec(pod, record, parts, root)
    await pod.launch(spec)
    try:
        return await _start_process(pod, record, root, write_log, parts.config.machine.boot_timeout_s)
    except AgentError as error:
        raise await _explain(pod, record, error) from error


async def _vm_spec(pod: Pod, record: ContainerRecord, parts: Parts, root: RootDisk) -> VMSpec:
    wish = pod.record
    kernel = await asyncio.to_thread(find_kernel, parts, wish.kernel)
    initrd = Path(wish.initrd) if wish.initrd else await asyncio.to_thread(_initrd, parts, kernel)
    asked = wish.accelerator or parts.config.machine.accelerator
    accelerator = (
        await choose_accelerator(parts.driver, None if asked == "auto" else Accelerator(asked), kernel.path)
    ).accelerator
    arguments = command_line(
        kernel,
        emulated=accelerator is Accelerator.TCG,
        console=True,
        extra=wish.kernel_args,
        tsc_khz=await asyncio.to_thread(tsc.rate_khz),
    )
    boot_files_bytes = _size_bytes(kernel.path) + _size_bytes(initrd)
    published = addresses.publish(wish.ports)
    pod.change(
        published=published,
        vm_kernel=str(kernel.path),
        vm_kernel_args=arguments,
        vm_accelerator=accelerator.value,
    )
    return VMSpec(
        id=wish.id[:12],
        name=record.name,
        run_dir=parts.run_dir(wish.id),
        kernel=kernel.path,
        initrd=initrd,
        kernel_args=arguments,
        memory_mib=wish.memory_mib,
        vcpus=vcpus_for(wish.cpus),
        disks=_disks(record, parts, root),
        network=_network(wish.mac, published) if wish.network != "none" else None,
        accelerator=accelerator,
        owner_uid=wish.uid,
        limits=limits_for(wish.memory_mib, wish.cpus, accelerator, boot_files_bytes=boot_files_bytes),
    )


def runs_as_root() -> bool:
    return os.geteuid() == 0


def _disks(record: ContainerRecord, parts: Parts, root: RootDisk) -> tuple[DiskSpec, ...]:
    image = DiskSpec(
        IMAGE_SERIAL, tuple((extent.path, extent.size_bytes) for extent in root.extents), read_only=True
    )
    if record.spec.read_only:
        return (image,)
    path = disk_path(parts, record.id)
    return (image, DiskSpec(DISK_SERIAL, ((path, path.stat().st_size),), read_only=False))


def disk_path(parts: Parts, identifier: str) -> Path:
    return parts.container_dir(identifier) / "disk.img"


def _network(mac: str, published: tuple[PortMapping, ...]) -> UserNetwork:
    return UserNetwork(
        mac=mac,
        guest_cidr=f"{addresses.GUEST_ADDRESS}/{addresses.GUEST_PREFIX}",
        gateway=addresses.GATEWAY,
        dns=addresses.NAME_SERVER,
        forwards=tuple(
            PortForward(port.host_ip, port.host_port, port.container_port, port.protocol)
            for port in published
        ),
    )


def find_kernel(parts: Parts, wish: str | None) -> Kernel:
    """The kernel called ``wish``: a path, or a name that `hyper kernel ls` shows; without one the default."""
    name = wish or parts.config.machine.kernel
    if name is None:
        return parts.kernels.default()
    if "/" in name:
        return parts.kernels.user(Path(name))
    for kernel in parts.kernels.list():
        if name in (kernel_name(kernel), kernel.version):
            return kernel
    raise NotFound(f"no kernel called {name}", hint="`hyper kernel ls` lists them; a path has a slash in it")


def kernel_name(kernel: Kernel) -> str:
    return f"{kernel.source}-{kernel.version}"


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise NotFound(f"boot file {path}: {error.strerror}", hint="see --kernel and --initrd") from error


def _initrd(parts: Parts, kernel: Kernel) -> Path:
    return build_initrd(parts.hyperstart(), kernel, parts.config.cache)


async def _start_process(
    pod: Pod,
    record: ContainerRecord,
    root: RootDisk,
    write_log: Callable[[int, bytes], None] | None,
    boot_s: float,
) -> Process:
    agent = pod.agent
    planned = plan.start(record.spec, record.effective, record.id, _facts(record, root, pod))
    # These two lie in the pipe until the guest has booted, and the root is mounted by the time it greets.
    configured = agent.configure(vm_config(pod, record), timeout_s=boot_s)
    created = agent.create_container(planned.container, timeout_s=boot_s)
    await pod.greeted(boot_s)
    # By now the time in the configuration is older by a boot.
    timed = agent.set_time(time.time_ns(), timeout_s=boot_s)
    started = agent.start_process(planned.process, timeout_s=boot_s)
    process = Process(
        agent,
        INIT,
        tty=record.spec.tty,
        stdin=record.spec.stdin_open,
        close_stdin=record.spec.stdin_once,
        record=write_log,
    )
    pod.add(process)
    await asyncio.gather(configured, created, timed, started)
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


def vm_config(pod: Pod, record: ContainerRecord) -> VmConfig:
    interfaces: tuple[Interface, ...] = ()
    if pod.record.network != "none":
        interfaces = (
            Interface(
                mac=bytes.fromhex(pod.record.mac.replace(":", "")),
                name="eth0",
                addresses=(f"{addresses.GUEST_ADDRESS}/{addresses.GUEST_PREFIX}",),
                gateways=(addresses.GATEWAY,),
            ),
        )
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
