"""A container of busybox in a guest with the agent, and what its processes say."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

from hypercontainer.agent.operations import ContainerPlan, Disk, Mount, ProcessPlan
from hypercontainer.agent.session import Agent
from hypercontainer.agent.wire import Stream
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.rootfs.convert import convert
from hypercontainer.rootfs.limits import LayerLimits
from hypercontainer.suite.linux import BUSYBOX, LinuxHarness

WELCOME_S = 30
NAME, SERIAL = "one", "image"
MOUNTS = (Mount("proc", "/proc"), Mount("tmpfs", "/dev", data="mode=755"))


def image(path: Path) -> DiskSpec:
    """A root with busybox in it."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("bin", "proc", "dev", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        program = tarfile.TarInfo("bin/busybox")
        program.mode, program.size = 0o755, BUSYBOX.stat().st_size
        with BUSYBOX.open("rb") as file:
            archive.addfile(program, file)
        shell = tarfile.TarInfo("bin/sh")
        shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(shell)
    tar.seek(0)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        convert(tar, fd, compression="none", limits=LayerLimits(), layer="busybox", uuid=bytes(16))
        size = os.fstat(fd).st_size
    finally:
        os.close(fd)
    assert stat.S_ISREG(path.stat().st_mode)
    return DiskSpec(SERIAL, ((path, size),), read_only=True)


class Container:
    """In a VM of its own, with ``more`` in its specification; ``vm`` and ``agent`` are the test's."""

    vm: VM
    agent: Agent

    def __init__(self, harness: LinuxHarness) -> None:
        self._harness = harness
        self._processes = 0

    async def begin(self, **more: Any) -> None:
        disks = (image(self._harness.folder / SERIAL), *more.pop("disks", ()))
        self.vm = await self._harness.launch(**self._harness.hyperstart() | {"disks": disks} | more)
        self.agent = await self._harness.agent(self.vm)
        await self.agent.welcome(self._harness.patient(WELCOME_S))
        plan = ContainerPlan(NAME, Disk(SERIAL, "erofs"), scratch=True, mounts=MOUNTS)
        await self.agent.create_container(plan)
        await self.agent.start_process(self._plan("exec /bin/busybox sleep 1000000", init=True))

    def _plan(self, script: str, **changes: Any) -> ProcessPlan:
        self._processes += 1
        return ProcessPlan(NAME, self._processes, ("/bin/sh", "-c", script), env=("PATH=/bin",), **changes)

    async def says(self, script: str, stdin: bytes | None = None) -> bytes:
        """What a shell in it writes to its output, to its end, while it reads ``stdin``."""
        said = bytearray()

        async def take(data: bytes) -> None:
            said.extend(data)

        plan = self._plan(f"/bin/busybox --install -s /bin 2>/dev/null; {script}", stdin=stdin is not None)
        number = plan.process
        started = self.agent.start_process(plan)
        output = self.agent.attach_output(number, Stream.STDOUT, 0, take)
        await started
        if stdin is not None:
            await self.agent.input(number).write(stdin)
            await self.agent.input(number).eof()
        async with asyncio.timeout(self._harness.patient(30)):
            await output.finished()
        return bytes(said)
