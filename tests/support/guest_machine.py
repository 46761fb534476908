"""A virtual machine with nothing but hyperstart in it, and a session with that: for tests of the guest side.

QEMU under software emulation, the project's kernel, the initrd that hyperd would use, an image of busybox.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypercontainer.agent.operations import (
    ContainerPlan,
    Device,
    Disk,
    Event,
    Mount,
    ProcessExited,
    ProcessPlan,
    VmConfig,
)
from hypercontainer.agent.session import Agent
from hypercontainer.agent.wire import Stream
from hypercontainer.engine.process.process import exit_status
from hypercontainer.errors import AgentError, StreamClosed
from hypercontainer.kernel import Kernel, build_initrd, command_line
from hypercontainer.linux import tsc

ROOT = Path(__file__).parents[2]
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
DEADLINE_S = 60.0
MEMORY_MIB = 256
# Docker's default set: chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw
# sys_chroot mknod audit_write setfcap
DOCKER_CAPABILITIES = 0xA80425FB
APPLETS = (
    "cat chmod chown cp cut date dd df echo env expr false find grep groups head hostname id ifconfig ip ipcrm ipcs "
    "kill killall ln ls md5sum mkdir mknod mount mv nc nproc od pidof ping ps pwd readlink reboot rm route sed seq "
    "sh sha256sum sleep sort stat stty sync tail tee test touch tr true tty umount uname wc which yes"
).split()


def build_hyperstart(directory: Path) -> Path:
    """The program, built as ``make guest`` does."""
    out = directory / "hyperstart"
    subprocess.run(["make", "-s", "-C", ROOT / "guest/init", f"OUT={out}"], check=True)
    return out


def busybox_root(directory: Path) -> Path:
    """A small image's files: no /proc, /dev or /sys in it, as in many real ones."""
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\nbroken:x:many:::\n"
    )
    (root / "etc/group").write_text("root:x:0:\nusers:x:1001:\nextra:x:1002:other,user\nmore:x:1003:user\n")
    (root / "bin/noexec").write_text("not a program\n")
    (root / "bin/noformat").write_text("not a program\n")
    (root / "bin/noformat").chmod(0o755)
    (root / "bin/nointerpreter").write_text("#!/nowhere\n")
    (root / "bin/nointerpreter").chmod(0o755)
    (root / "etc/outside").symlink_to("../../../../outside")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return root


def erofs(directory: Path, root: Path, name: str = "lower.erofs") -> Path:
    out = directory / name
    subprocess.run(["mkfs.erofs", "--quiet", "--all-root", out, root], check=True, stdout=subprocess.DEVNULL)
    return out


def ext4(path: Path, size: str = "64M") -> Path:
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", path, size], check=True)
    return path


STANDARD_MOUNTS = (
    Mount("proc", "/proc", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC),
    Mount("tmpfs", "/dev", flags=MS_NOSUID, data="mode=755,size=65536k"),
    Mount(
        "devpts",
        "/dev/pts",
        flags=MS_NOSUID | MS_NOEXEC,
        data="newinstance,ptmxmode=0666,mode=0620,gid=5",
    ),
    Mount("tmpfs", "/dev/shm", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC, data="mode=1777,size=65536k"),
    Mount("mqueue", "/dev/mqueue", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC),
    Mount("sysfs", "/sys", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC, read_only=True),
    Mount("cgroup2", "/sys/fs/cgroup", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC, read_only=True),
)
STANDARD_DEVICES = tuple(
    Device(f"/dev/{name}", stat.S_IFCHR | 0o666, major, minor)
    for name, major, minor in (
        *(("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8)),
        *(("urandom", 1, 9), ("tty", 5, 0)),
    )
)


def container_plan(name: str, **changes: Any) -> ContainerPlan:
    """A container as Docker would plan it, with its writable root in memory unless ``upper`` is given."""
    plan = ContainerPlan(
        name,
        Disk("lower", "erofs"),
        scratch="upper" not in changes,
        mounts=STANDARD_MOUNTS,
        devices=STANDARD_DEVICES,
        masked_paths=("/proc/kcore", "/proc/keys", "/sys/firmware"),
        readonly_paths=("/proc/sys", "/proc/sysrq-trigger"),
    )
    return replace(plan, **changes)


def process_plan(container: str, process: int, *args: str, **changes: Any) -> ProcessPlan:
    plan = ProcessPlan(
        container,
        process,
        args,
        cwd="/",
        env=("PATH=/bin",),
        cap_bounding=DOCKER_CAPABILITIES,
        cap_effective=DOCKER_CAPABILITIES,
        cap_permitted=DOCKER_CAPABILITIES,
    )
    return replace(plan, **changes)


@dataclass
class Session:
    """A session with the guest, and what it said unasked."""

    agent: Agent
    writer: asyncio.StreamWriter  # closes its transport when nobody holds it
    events: list[Event] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    next_process: int = 1

    def take(self, event: Event) -> None:
        self.events.append(event)
        self.changed.set()

    async def event(self, kind: type[Event], **wanted: object) -> Event:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and all(getattr(event, k) == v for k, v in wanted.items()):
                        return event
                self.changed.clear()
                await self.changed.wait()

    async def status(self, process: int) -> int:
        """The exit status, as a shell shows it."""
        event = await self.event(ProcessExited, process=process)
        assert isinstance(event, ProcessExited)
        return exit_status(event.wait_status)

    def collect(self, process: int, which: Stream = Stream.STDOUT) -> Collected:
        return Collected(self.agent, process, which)

    async def run(
        self, container: str, *args: str, stdin: bytes | None = None, **changes: Any
    ) -> tuple[int, str]:
        """One more process to its end: status and what it wrote to both streams."""
        process = 100000 + self.next_process
        self.next_process += 1
        plan = process_plan(container, process, *args, stdin=stdin is not None, **changes)
        started = self.agent.start_process(plan)
        both = [self.collect(process)]
        if not plan.tty:
            both.append(self.collect(process, Stream.STDERR))
        await started
        if stdin is not None:
            with suppress(StreamClosed):
                await self.agent.input(process).write(stdin)
                await self.agent.input(process).eof()
        texts = [await collected.text() for collected in both]
        status = await self.status(process)
        await self.agent.forget(process)
        return status, "".join(texts)


class Collected:
    """All of an output stream, in memory."""

    def __init__(self, agent: Agent, process: int, which: Stream, offset: int = 0) -> None:
        self.data = bytearray()
        self._grown = asyncio.Event()
        self.stream = agent.attach_output(process, which, offset, self._take)

    async def _take(self, data: bytes) -> None:
        self.data += data
        self._grown.set()

    async def text(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            await self.stream.finished()
        return self.data.decode()

    async def reaches(self, size: int) -> bool:
        """Waits for so many bytes; False where the stream ends before."""
        ended = asyncio.ensure_future(self.stream.finished())
        try:
            async with asyncio.timeout(DEADLINE_S):
                while len(self.data) < size and not ended.done():
                    self._grown.clear()
                    grown = asyncio.ensure_future(self._grown.wait())
                    await asyncio.wait((grown, ended), return_when=asyncio.FIRST_COMPLETED)
                    grown.cancel()
            return len(self.data) >= size
        finally:
            ended.cancel()

    async def until(self, wanted: bytes) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            while wanted not in self.data:
                self._grown.clear()
                await self._grown.wait()
        return bytes(self.data)


class Machine:
    """A running VM.  ``session`` may be opened again and again."""

    def __init__(self, pid: int, console: Path) -> None:
        self.pid = pid
        self.console_path = console
        self._sessions = 0

    @property
    def console(self) -> str:
        return self.console_path.read_text(errors="replace") if self.console_path.exists() else ""

    @property
    def last_words(self) -> str:
        """For who looks at a test that failed."""
        return self.console

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new peer of the agent's port."""
        raise NotImplementedError

    async def plug(self, serial: str, path: Path) -> None:
        """One more disk."""
        raise NotImplementedError

    async def session(self) -> Session:
        pair = await self.connect()
        return self._begin(*pair, resumed=self._sessions > 0)

    async def session_after(self, ended: Session) -> Session:
        """On the connection of one that the guest has ended, and greeted: it waits for that as after its boot."""
        session = self._begin(asyncio.StreamReader(), ended.writer, resumed=False)
        await session.agent.welcome(DEADLINE_S)
        return session

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, resumed: bool) -> Session:
        holder: list[Session] = []
        agent = Agent.open(reader, writer, resumed=resumed, on_event=lambda e: holder[0].take(e))
        holder.append(Session(agent, writer, next_process=self._sessions * 1000 + 1))
        self._sessions += 1
        return holder[0]

    async def greeted(self) -> Session:
        """A session that the guest has welcomed, at the first attempt that succeeds.

        QEMU may take a connection for the one that ended just before, and a 16550 swallows what comes before
        the guest has booted.
        """
        for _ in range(20):
            session = await self.session()
            with suppress(AgentError):
                await session.agent.welcome(3)
                return session
            session.agent.close()
        raise AssertionError("no session with the guest")

    async def ended(self) -> int:
        raise NotImplementedError


class Monitor:
    """QEMU's control socket, just enough of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def do(self, command: str, **arguments: Any) -> None:
        self._writer.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            reply = json.loads(await self._reader.readline())
            assert "error" not in reply, reply
            if "return" in reply:
                return


class QemuMachine(Machine):
    def __init__(self, qemu: asyncio.subprocess.Process, socket_path: Path, console: Path) -> None:
        super().__init__(qemu.pid, console)
        self._qemu = qemu
        self._socket_path = socket_path

    @property
    def last_words(self) -> str:
        code = self._qemu.returncode
        return f"{self.console}\nQEMU {'runs' if code is None else f'has ended with status {code}'}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self._socket_path))

    async def plug(self, serial: str, path: Path) -> None:
        """By the monitor beside the console."""
        reader, writer = await asyncio.open_unix_connection(str(self.console_path.with_name("monitor")))
        await reader.readline()
        monitor = Monitor(reader, writer)
        await monitor.do("qmp_capabilities")
        file = {"driver": "file", "filename": str(path)}
        await monitor.do("blockdev-add", **{"driver": "raw", "node-name": serial, "file": file})
        await monitor.do("device_add", driver="virtio-blk-pci", drive=serial, serial=serial, id=serial)
        writer.close()

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await self._qemu.wait()


def qemu_command(
    kernel: Kernel, initrd: Path, disks: Iterable[tuple[str, Path, bool]], serial: bool
) -> list[str]:
    """All but the sockets and files: the character devices "agent" and "console" are the caller's."""
    line = command_line(
        kernel,
        emulated=True,
        console=True,
        extra=("hyper.port=/dev/ttyS1",) if serial else (),
        tsc_khz=tsc.rate_khz(),
    )
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "pc,usb=off,vmport=off", "-accel", "tcg", "-cpu", "max,-erms", "-m", str(MEMORY_MIB)),
        *("-kernel", str(kernel.path), "-initrd", str(initrd), "-append", " ".join(line)),
        *("-serial", "chardev:console"),
        *("-netdev", "user,id=net,restrict=on"),
        *("-device", "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:12:34:56"),
    ]
    if serial:
        argv += ["-serial", "chardev:agent"]
    else:
        argv += ["-device", "virtio-serial-pci"]
        argv += ["-device", "virtserialport,nr=1,chardev=agent,name=hyper.agent"]
    for name, path, read_only in disks:
        mode = "on" if read_only else "off"
        argv += ["-drive", f"if=none,id={name},format=raw,readonly={mode},file={path},file.locking=off"]
        argv += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
    return argv


@asynccontextmanager
async def machine(
    kernel: Kernel,
    hyperstart: Path,
    directory: Path,
    disks: Iterable[tuple[str, Path, bool]],
    extra: Iterable[str] = (),
    *,
    serial: bool = False,
) -> AsyncIterator[Machine]:
    """A VM with these disks (serial, file, whether read-only), ended when the context is left.

    ``extra``: more of QEMU's arguments.  ``serial``: the agent's carrier is a 16550.
    """
    directory.mkdir(parents=True, exist_ok=True)
    initrd = build_initrd(hyperstart, kernel, directory)
    path, console = directory / f"a{time.monotonic_ns()}.sock", directory / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        argv = [
            *qemu_command(kernel, initrd, disks, serial),
            *("-chardev", f"file,id=console,path={console}"),
            *("-chardev", f"socket,id=agent,fd={listener.fileno()},server=on,wait=off"),
            *extra,
        ]
        qemu = await asyncio.create_subprocess_exec(*argv, pass_fds=[listener.fileno()])
    try:
        yield QemuMachine(qemu, path, console)
    finally:
        if qemu.returncode is None:
            qemu.kill()
        await qemu.wait()
        path.unlink(missing_ok=True)


Scenario = Callable[[Machine, Session], Awaitable[None]]
RunScenario = Callable[[Scenario], None]


def vm_config(**changes: Any) -> VmConfig:
    return replace(VmConfig("guest", "", time.time_ns(), os.urandom(64)), **changes)
