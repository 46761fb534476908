"""A driver from outside the project, as small as one can be that keeps the contract: plain QEMU, emulated.

Its QEMU is not shut in, has no limits, and leads its guests to the host's loopback address: this is no way to run what
one does not trust.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from pathlib import Path

from hypercontainer.errors import HypervisorError, InvalidArgument, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor import helpers
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import (
    Capabilities,
    Check,
    ExitReason,
    Verdict,
    VMExit,
    VMRecord,
)
from hypercontainer.hypervisor.ending import clean, destroyed
from hypercontainer.hypervisor.kinds import Host, Reading, Settings
from hypercontainer.hypervisor.launching import Gate, Launches, recorded, stdio, words
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.plain import PlainDriver, PlainVM
from hypercontainer.hypervisor.process_vm import ProcessVM
from hypercontainer.hypervisor.qemu.qmp import Event, QmpClient
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import NAT, Accelerator, Limits, UserNat, VMSpec
from hypercontainer.hypervisor.supervision import Ending
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.linux import unix
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.cgroup import Cgroup
from hypercontainer.linux.confine import gated
from hypercontainer.linux.process import Process

REASONS = {"guest-shutdown": ExitReason.GUEST_SHUTDOWN, "guest-reset": ExitReason.GUEST_RESET}
QMP_FD, AGENT_FD, CONSOLE_FD = 4, 5, 6  # 3 is the gate


def make(name: str, settings: Settings, host: Host) -> ToyDriver:
    """``program``: QEMU's, by a name in PATH or a path."""
    reading = Reading(settings)
    program = reading.text("program", "qemu-system-x86_64")
    reading.done()
    return ToyDriver(name, program)


def argv(program: str, spec: VMSpec) -> list[str]:
    """Pure: of a specification that is checked."""
    words = [program, "-nodefaults", "-display", "none", "-no-reboot", "-S", "-accel", "tcg", "-cpu", "max"]
    words += ["-machine", "q35,usb=off", "-m", f"{spec.memory_mib}M", "-smp", str(spec.vcpus)]
    words += ["-kernel", str(spec.kernel), "-append", " ".join(spec.kernel_args)]
    words += ["-initrd", str(spec.initrd)] if spec.initrd is not None else []
    words += [*sockets(), "-serial", "chardev:console", "-device", "virtio-serial-pci"]
    words += ["-device", "virtserialport,chardev=agent,name=hyper.agent", "-device", "virtio-rng-pci"]
    for disk in spec.disks:
        path, mode = str(disk.extents[0][0]).replace(",", ",,"), "on" if disk.read_only else "off"
        words += ["-drive", f"if=none,id=disk-{disk.serial},format=raw,readonly={mode},file={path}"]
        words += ["-device", f"virtio-blk-pci,drive=disk-{disk.serial},serial={disk.serial}"]
    for place, nic in enumerate(spec.nics):
        assert isinstance(nic.backend, UserNat)
        words += ["-netdev", netdev(nic.backend, place), "-device"]
        words += [f"virtio-net-pci,netdev=net{place},mac={nic.mac},romfile="]
    return words


def sockets() -> list[str]:
    words = []
    for name, fd in (("qmp", QMP_FD), ("agent", AGENT_FD), ("console", CONSOLE_FD)):
        words += ["-chardev", f"socket,id={name},fd={fd},server=on,wait=off"]
    return [*words, "-mon", "chardev=qmp,mode=control"]


def netdev(nat: UserNat, place: int) -> str:
    guest, _, bits = nat.guest_cidr.partition("/")
    words = f"user,id=net{place},net={guest}/{bits},host={nat.gateway},dns={nat.dns},dhcpstart={guest}"
    words += ",restrict=on" if nat.restrict else ""
    for port in nat.forwards:
        words += f",hostfwd={port.protocol}:{port.host_ip}:{port.host_port}-{guest}:{port.container_port}"
    return words


class ToyVM(ProcessVM, PlainVM):
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self, record: VMRecord, process: Process, output: Output, qmp: QmpClient, said: list[ExitReason]
    ) -> None:
        super().__init__(record, process, output)
        self._run = RunDir(record.run_dir)
        self._qmp, self._said = qmp, said
        self._ending = Ending(record, self._supervise())

    async def _reach_agent(self) -> Pair:
        try:
            return await asyncio.open_unix_connection(sock=unix.connect(self._run.agent))
        except OSError as error:
            raise HypervisorError(f"VM {self.record.id}: its agent port: {error.strerror}") from error

    async def pause(self) -> None:
        await self._qmp.execute("stop")

    async def resume(self) -> None:
        await self._qmp.execute("cont")

    async def paused(self) -> bool:
        answer = await self._qmp.execute("query-status")
        return isinstance(answer, dict) and answer.get("status") == "paused"

    async def close(self) -> None:
        await self._ending.let_go()
        await self._let_go()

    async def _let_go(self) -> None:
        self._agent.part()
        await self._qmp.close()
        self.output.close()
        self._processes.close()

    async def _supervise(self) -> VMExit:
        lost = await self._processes.lost()
        code = await self._processes.ended()
        await self.output.finish()
        await self._qmp.wait_closed()
        said = self._said[-1] if self._said else None
        ended = self._processes.exit(code, killed=self._killed, said=said, lost=lost, output=self.output)
        await self._let_go()
        clean(self._run, self.record)
        return ended


class ToyDriver(PlainDriver):
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    architecture = AMD64
    vm = ToyVM

    def __init__(self, name: str, program: str) -> None:
        self.name = name
        self.program = program
        self._launches: Launches[ToyVM] = Launches()

    def check(self, spec: VMSpec) -> None:
        """What it has not, it refuses."""
        check_spec(spec)
        plain = all(len(disk.extents) == 1 and disk.format == "raw" for disk in spec.disks)
        nat = all(isinstance(nic.backend, UserNat) for nic in spec.nics)
        if spec.shares or spec.remotes or spec.drives or not plain or not nat:
            raise NotSupported(f"VM {spec.name}: the toy driver has disks of one raw file, and NAT")

    def command(self, spec: VMSpec, run: RunDir) -> list[str]:
        """QEMU's, for a directory that is there."""
        return argv(self.program, spec)

    def check_installed(self) -> None:
        if shutil.which(self.program) is None:
            raise Unavailable(f"there is no {self.program}", hint="install QEMU")

    async def capabilities(self) -> Capabilities:
        self.check_installed()
        return Capabilities(
            self.name,
            "",
            frozenset({Accelerator.TCG}),
            plugs=False,
            nics=frozenset({NAT}),
            live_ports=False,
            grows=False,
            not_limited=("memory", "cpu", "tasks"),
        )

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        return Verdict(accelerator, accelerator is Accelerator.TCG, "it emulates, and nothing else")

    async def diagnose(self) -> list[Check]:
        return [Check("toy", None, "plain QEMU, which is not shut in")]

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        return Limits((memory_mib << 20) + boot_files_bytes, cpus)

    async def launch_to_save(self, spec: VMSpec) -> ToyVM:
        self._refuse("VMs that are saved")

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> ToyVM:
        self._refuse("VMs that are saved")

    async def launch(self, spec: VMSpec) -> ToyVM:
        self.check(spec)
        return await self._launches.run(self._launch(spec), spec.id)

    async def _launch(self, spec: VMSpec) -> ToyVM:
        """Each step that is done stands on a stack of what undoes it; the gate keeps QEMU until it is written down."""
        async with contextlib.AsyncExitStack() as undo:
            try:
                run = _begun(spec, undo)
                with contextlib.ExitStack() as fds:
                    listeners = [
                        fds.enter_context(unix.listen(path)).fileno()
                        for path in (run.qmp, run.agent, run.console)
                    ]
                    opener, gate = (fds.enter_context(end) for end in socket.socketpair())
                    command = gated(Path("/"), self.command(spec, run))
                    process = Process.spawn(
                        command,
                        env={"PATH": os.environ["PATH"]},
                        stdio=stdio(run, fds),
                        inherited=[gate.fileno(), *listeners],
                    )
                    undo.callback(process.close)
                    record = recorded(self.name, spec, Accelerator.TCG, process, Cgroup(()), ())
                    undo.push_async_callback(destroyed, record)
                    run.write_record(record)
                    output = Output(run, unix.connect(run.console).detach(), new=True)
                    undo.callback(output.close)
                    gate.close()
                    Gate(opener).open()
            except (OSError, InvalidArgument) as error:
                raise LaunchError(f"VM {spec.name} cannot be started: {words(error)}") from error
            try:
                vm = await self._held(record, process, output)
                undo.push_async_callback(vm.kill)
                await vm.resume()
            except HypervisorError as error:
                await output.finish()
                said = output.stderr()
                raise LaunchError(
                    f"VM {spec.name} did not start: {said or error.message}", stderr=said
                ) from error
            undo.pop_all()
        return vm

    async def adopt(self, record: VMRecord) -> ToyVM | None:
        found = helpers.taken_up(record)
        if found is None:
            await self.destroy(record)
            return None
        run, process = RunDir(record.run_dir), found[0]
        with contextlib.ExitStack() as undo:
            try:
                output = Output(run, unix.connect(run.console).detach(), new=False)
                undo.callback(output.close)
                vm = await self._held(record, process, output)
            except (OSError, HypervisorError) as error:
                gone = await helpers.ends(process)  # it was at its gate still
                process.close()
                if not gone:
                    raise HypervisorError(f"VM {record.name}: it cannot be reached: {error}") from error
                await self.destroy(record)
                return None
            undo.pop_all()
        return vm

    async def destroy(self, record: VMRecord) -> None:
        await destroyed(record)

    async def _held(self, record: VMRecord, process: Process, output: Output) -> ToyVM:
        said: list[ExitReason] = []

        def hear(event: Event) -> None:
            if event.name == "SHUTDOWN":
                said.append(REASONS.get(str(event.data.get("reason")), ExitReason.HOST_KILL))

        qmp = await QmpClient.connect(RunDir(record.run_dir).qmp, hear, timeout_s=30)
        return self.vm(record, process, output, qmp, said)


def _begun(spec: VMSpec, undo: contextlib.AsyncExitStack) -> RunDir:
    for path, size in (extent for disk in spec.disks for extent in disk.extents):
        if path.stat().st_size < size:
            raise InvalidArgument(f"{path} has fewer than {size} bytes")
    run = RunDir(spec.run_dir)
    run.create()
    undo.callback(run.remove)
    return run
