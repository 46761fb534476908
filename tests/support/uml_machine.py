"""As `guest_machine`, with User Mode Linux, by the driver itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from guest_machine import MEMORY_MIB, Machine
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import DiskSpec, VMSpec
from hypercontainer.hypervisor.uml.driver import UmlDriver
from hypercontainer.kernel import build_initrd, command_line
from nics import nat_nic
from uml_kernel import uml_kernel


class UmlMachine(Machine):
    def __init__(self, vm: VM, directory: Path) -> None:
        super().__init__(vm.pid, directory / "console")
        self._vm = vm

    @property
    def console(self) -> str:
        return self._vm.console_tail()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self._vm.connect_agent()

    async def plug(self, serial: str, path: Path) -> None:
        await self._vm.attach_disk(DiskSpec(serial, ((path, path.stat().st_size),), read_only=False))

    async def ended(self) -> int:
        code = (await self._vm.wait()).exit_code
        assert code is not None
        return code


@asynccontextmanager
async def uml_machine(
    hyperstart: Path, directory: Path, disks: Iterable[tuple[str, Path, bool]]
) -> AsyncIterator[Machine]:
    """A VM with these disks (serial, file, whether read-only), ended when the context is left."""
    directory.mkdir(parents=True, exist_ok=True)
    kernel = uml_kernel()
    spec = VMSpec(
        id=f"guest-{os.getpid()}",
        name="guest",
        run_dir=directory / "run",
        kernel=kernel.path,
        initrd=build_initrd(hyperstart, kernel, directory),
        kernel_args=command_line(kernel, emulated=False, console=True, extra=()),
        memory_mib=MEMORY_MIB,
        vcpus=1,
        nics=(nat_nic(),),
        disks=tuple(
            DiskSpec(serial, ((path, path.stat().st_size),), read_only=read_only)
            for serial, path, read_only in disks
        ),
    )
    vm = await UmlDriver(directory / "facts.json").launch(spec)
    try:
        yield UmlMachine(vm, directory)
    finally:
        await vm.kill()
