"""As ``guest_machine``, on devices of VirtualBox's and of ESX's machines: a CD boots the guest, a 16550 is its port.

QEMU imitates the same chips: SATA, VDI and e1000 of the one; pvscsi, VMDK and vmxnet3 of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from guest_machine import MEMORY_MIB, QemuMachine
from hypercontainer.hypervisor import boot_iso
from hypercontainer.hypervisor.boot_iso import Loader
from hypercontainer.hypervisor.line_pipe import LinePipe
from hypercontainer.kernel import Kernel, build_initrd, command_line
from hypercontainer.linux import tsc

# The machine has them in the other order.
MACS = ("52:54:00:12:34:56", "52:54:00:12:34:57")


@dataclass(frozen=True)
class Hardware:
    """``controller``: of disks; ``disk`` goes with a drive, its place and its name.  ``places``: whether the guest is
    told where they stand, and not by the disks."""

    name: str
    controller: tuple[str, ...]
    disk: str
    format: str
    nic: str
    cd: tuple[str, ...]
    places: str = ""


VIRTUALBOX = Hardware(
    name="virtualbox",
    controller=("-device", "ahci,id=disks"),
    disk="ide-hd,bus=disks.{place},drive={name},serial={name}",
    format="vdi",
    nic="e1000,romfile=",
    cd=("-device", "ide-cd,bus=disks.5,drive=cd,bootindex=0"),
)
ESX = Hardware(
    name="esx",
    controller=("-device", "pvscsi,id=disks"),
    # What ESX calls a disk is ESX's choice.
    disk="scsi-hd,bus=disks.0,scsi-id={place},drive={name},serial=6000c29{place}",
    format="vmdk",
    nic="vmxnet3,romfile=",
    cd=("-device", "ide-cd,bus=ide.1,drive=cd,bootindex=0"),
    places="6000c290:lower,0:0:1:0:upper",
)


class HardwareMachine(QemuMachine):
    """``connect`` is over the line; the former pipe is closed."""

    pipe: LinePipe | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await self.close()
        self.pipe, reader, writer = await LinePipe.open(*await super().connect())
        return reader, writer

    async def close(self) -> None:
        if self.pipe is not None:
            await self.pipe.close()


def convert(disk: Path, format: str) -> Path:
    out = disk.with_suffix(f".{format}")
    subprocess.run(["qemu-img", "convert", "-q", "-O", format, disk, out], check=True)
    return out


def qemu_command(hardware: Hardware, cd: Path, disks: Iterable[tuple[str, Path]]) -> list[str]:
    """All but the character devices "agent" and "console"."""
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "pc,usb=off,vmport=off", "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY_MIB)),
        *("-serial", "chardev:console", "-serial", "chardev:agent"),
        *hardware.controller,
        *("-drive", f"if=none,id=cd,format=raw,readonly=on,media=cdrom,file={cd}", *hardware.cd),
    ]
    for place, (name, path) in enumerate(disks):
        argv += ["-drive", f"if=none,id={name},format={hardware.format},file={path}"]
        argv += ["-device", hardware.disk.format(place=place, name=name)]
    for number, mac in reversed(list(enumerate(MACS))):
        argv += ["-netdev", f"user,id=net{number},restrict=on,net=10.0.{2 + number}.0/24"]
        argv += ["-device", f"{hardware.nic},netdev=net{number},mac={mac}"]
    return argv


@asynccontextmanager
async def hardware_machine(
    hardware: Hardware, kernel: Kernel, hyperstart: Path, directory: Path, disks: Iterable[tuple[str, Path]]
) -> AsyncIterator[HardwareMachine]:
    """A VM with these disks (serial, raw file, which is converted), ended when the context is left."""
    directory.mkdir(exist_ok=True)
    assert kernel.bzimage, "a kernel for boot loaders: make kernel FLAVOUR=wide"
    extra = ["hyper.port=serial:/dev/ttyS1", *([f"hyper.disks={hardware.places}"] if hardware.places else [])]
    words = command_line(kernel, emulated=True, console=True, extra=tuple(extra), tsc_khz=tsc.rate_khz())
    cd, agent, console = directory / "cd.iso", directory / "agent", directory / "console"
    boot_iso.write(cd, kernel.bzimage, build_initrd(hyperstart, kernel, directory), words, Loader())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(agent))
        listener.listen()
        argv = [
            *qemu_command(hardware, cd, [(name, convert(path, hardware.format)) for name, path in disks]),
            *("-chardev", f"file,id=console,path={console}"),
            *("-chardev", f"socket,id=agent,fd={listener.fileno()},server=on,wait=off"),
        ]
        qemu = await asyncio.create_subprocess_exec(*argv, pass_fds=[listener.fileno()])
    machine = HardwareMachine(qemu, agent, console)
    try:
        yield machine
    finally:
        await machine.close()
        with contextlib.suppress(ProcessLookupError):
            qemu.kill()
        await qemu.wait()
        agent.unlink(missing_ok=True)
