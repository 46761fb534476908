"""What runs a machine of the simulated vSphere: QEMU with the devices, disks and serial ports that it says it has.

So the whole way of the driver is gone, but for ESX itself: the disc and the disks are those that were uploaded, the
serial ports come to the driver by TLS and telnet, and what the guest wrote is there to be exported.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pyVmomi import vim

from esx_host import Port
from hypercontainer.hypervisor.esx import vmdk

QEMU = (
    *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
    *("-machine", "pc,usb=off,vmport=off", "-accel", "tcg", "-cpu", "max", "-device", "pvscsi,id=scsi"),
)


def file_of(datastore: Path, name: str) -> Path:
    """Of "[datastore] path"."""
    return datastore / name.partition("] ")[2]


class Disk:
    """As the host has it after it was taken in: raw, and for a child a copy of its parent."""

    def __init__(self, device: Any, datastore: Path, folder: Path) -> None:
        self.unit: int = device.unitNumber
        parent = device.backing.parent
        self._stream = file_of(datastore, (parent or device.backing).fileName)
        self._own = parent is None
        self.raw = folder / f"unit{self.unit}.raw"
        subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", self._stream, self.raw], check=True)

    @property
    def arguments(self) -> list[str]:
        drive = f"if=none,id=d{self.unit},format=raw,file={self.raw}"
        return ["-drive", drive, "-device", f"scsi-hd,bus=scsi.0,scsi-id={self.unit},drive=d{self.unit}"]

    def give_back(self) -> None:
        """As an export has it."""
        if not self._own:
            return
        size = self.raw.stat().st_size
        with self.raw.open("rb") as file:
            grains = [(at, file.read(vmdk.GRAIN)) for at in range(0, size, vmdk.GRAIN)]
        self._stream.write_bytes(b"".join(vmdk.write(size, grains)))


def _lead(port: Port, chip: socket.socket) -> list[threading.Thread]:
    """A serial port's bytes, both ways, until either side ends."""

    def out() -> None:
        with contextlib.suppress(OSError):
            while data := chip.recv(65536):
                port.send(data)
            port.socket.shutdown(socket.SHUT_RDWR)

    def back() -> None:
        with contextlib.suppress(OSError):
            while data := port.receive():
                chip.sendall(data)

    threads = [threading.Thread(target=each, daemon=True) for each in (out, back)]
    for thread in threads:
        thread.start()
    return threads


def _asked(backing: Any, certificate: Path) -> Port:
    host, port = backing.proxyURI.partition("//")[2].partition("#")[0].split(":")
    return Port((host, int(port)), certificate, backing.serviceURI)


@contextlib.asynccontextmanager
async def run_by_hand(
    machine: Any, datastore: Path, folder: Path, certificate: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process; afterwards the disks are as it left them."""
    folder.mkdir()
    kinds, config = vim.vm.device, machine.config
    devices = config.hardware.device
    disks = [Disk(each, datastore, folder) for each in devices if isinstance(each, kinds.VirtualDisk)]
    (disc,) = [
        file_of(datastore, each.backing.fileName)
        for each in devices
        if isinstance(getattr(each, "backing", None), kinds.VirtualCdrom.IsoBackingInfo)
    ]
    argv = [*QEMU, "-m", str(config.hardware.memoryMB), "-boot", "d", "-cdrom", str(disc)]
    for disk in disks:
        argv += disk.arguments
    with contextlib.ExitStack() as stack:
        threads, theirs = [], []
        for each in (each for each in devices if isinstance(each, kinds.VirtualSerialPort)):
            port = await asyncio.to_thread(_asked, each.backing, certificate)
            stack.callback(port.close)
            ours, chip = (stack.enter_context(end) for end in socket.socketpair())
            theirs.append(chip)
            name = f"s{chip.fileno()}"
            argv += ["-chardev", f"socket,id={name},fd={chip.fileno()}", "-serial", f"chardev:{name}"]
            threads += _lead(port, ours)
        qemu = await asyncio.create_subprocess_exec(*argv, pass_fds=[chip.fileno() for chip in theirs])
        for chip in theirs:
            chip.close()
        try:
            yield qemu
        finally:
            with contextlib.suppress(ProcessLookupError):
                qemu.kill()
            await qemu.wait()
            for thread in threads[::2]:
                await asyncio.to_thread(thread.join, 10)
    for disk in disks:
        disk.give_back()
