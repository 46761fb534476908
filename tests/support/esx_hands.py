"""What runs a machine of the simulated vSphere: QEMU with the devices, disks and serial ports that it says it has.

So the whole way of the driver is gone, but for ESX itself: the disc and the disks are those that were uploaded, the
serial ports come to the driver by TLS and telnet, and what the guest wrote is there to be exported.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pyVmomi import vim, vmodl

from esx_host import Port
from hypercontainer.errors import HyperError
from hypercontainer.hypervisor.esx import inventory, transfer, vmdk
from hypercontainer.hypervisor.esx.session import Session
from hypercontainer.hypervisor.esx.settings import take
from simulated_vsphere import Simulator

QEMU = (
    *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
    *("-machine", "pc,usb=off,vmport=off", "-accel", "tcg", "-cpu", "max", "-device", "pvscsi,id=scsi"),
)
LOOK_S = 0.2
AGAIN_S = 0.2  # after which a host connects a serial port anew


def file_of(datastore: Path, name: str) -> Path:
    """Of "[datastore] path"."""
    return datastore / name.partition("] ")[2]


class Disk:
    """As the host has it after it was taken in: raw, and for a child a copy of its parent.  Its own is exported once it
    is given back."""

    def __init__(self, device: Any, datastore: Path, folder: Path) -> None:
        self.unit: int = device.unitNumber
        parent = device.backing.parent
        self._stream = file_of(datastore, (parent or device.backing).fileName)
        self._own = parent is None
        self._held = self._stream.open("rb")
        if self._own:
            fcntl.flock(self._held, fcntl.LOCK_EX)
        self.raw = folder / f"unit{self.unit}.raw"
        subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", self._stream, self.raw], check=True)

    @property
    def arguments(self) -> list[str]:
        drive = f"if=none,id=d{self.unit},format=raw,file={self.raw}"
        return ["-drive", drive, "-device", f"scsi-hd,bus=scsi.0,scsi-id={self.unit},drive=d{self.unit}"]

    def give_back(self) -> None:
        """As an export has it."""
        with self._held:
            if self._own:
                self._write_back()

    def _write_back(self) -> None:
        size = self.raw.stat().st_size
        with self.raw.open("rb") as file:
            grains = transfer.grains([(file.fileno(), size)])
            self._stream.write_bytes(b"".join(vmdk.write(size, grains)))


class Serial:
    """A serial port of a machine's: ``chip`` is QEMU's side of it.  Where its connection is lost, the host connects
    anew, for as long as the machine runs."""

    def __init__(self, backing: Any, certificate: Path, chip: socket.socket) -> None:
        host, number = backing.proxyURI.partition("//")[2].partition("#")[0].split(":")
        self._asked = ((host, int(number)), certificate, backing.serviceURI)
        self._chip = chip
        self._over = threading.Event()
        self._port: Port | None = None
        self._connect()  # before its guest speaks
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._out, self._back)]
        for thread in self._threads:
            thread.start()

    def _connect(self) -> None:
        with contextlib.suppress(OSError):
            self._port = Port(*self._asked)

    def _out(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # QEMU was killed
            while data := self._chip.recv(65536):
                with contextlib.suppress(OSError, AttributeError):  # nobody hears it
                    self._port.send(data)  # type: ignore[union-attr]

    def _back(self) -> None:
        while not self._over.is_set():
            if self._port is None:
                self._over.wait(AGAIN_S)
                self._connect()
                continue
            port = self._port
            with contextlib.suppress(OSError):
                while data := port.receive():
                    self._chip.sendall(data)
            self._port = None
            port.close()

    def close(self) -> None:
        """Once QEMU has ended."""
        self._threads[0].join(10)  # what it has said to the end is sent
        self._over.set()
        if (port := self._port) is not None:
            with contextlib.suppress(OSError):
                port.socket.shutdown(socket.SHUT_RDWR)
        self._threads[1].join(10)


@contextlib.asynccontextmanager
async def run_by_hand(
    machine: Any, datastore: Path, folder: Path, certificate: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, which ends with the context; then the disks are as it left them."""
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
    for each in (each for each in devices if isinstance(each, kinds.VirtualVmxnet3)):
        argv += ["-nic", f"user,restrict=on,model=vmxnet3,mac={each.macAddress}"]
    serial = [each.backing for each in devices if isinstance(each, kinds.VirtualSerialPort)]
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in serial]
        for end in (end for pair in pairs for end in pair):
            stack.enter_context(end)
        for _, chip in pairs:
            name = f"s{chip.fileno()}"
            argv += ["-chardev", f"socket,id={name},fd={chip.fileno()}", "-serial", f"chardev:{name}"]
        asked = zip(serial, pairs, strict=True)
        ports = [await asyncio.to_thread(Serial, backing, certificate, ours) for backing, (ours, _) in asked]
        qemu = await asyncio.create_subprocess_exec(*argv, pass_fds=[chip.fileno() for _, chip in pairs])
        for _, chip in pairs:
            chip.close()
        try:
            yield qemu
        finally:
            with contextlib.suppress(ProcessLookupError):
                qemu.kill()
            await qemu.wait()
            for port in ports:
                await asyncio.to_thread(port.close)
            for disk in disks:
                await asyncio.to_thread(disk.give_back)


class Hands:
    """Runs the machines of ours that are powered on in the simulator, and turns off there whose guest has turned itself
    off.  In a thread of its own, as long as the context is."""

    def __init__(self, simulator: Simulator, folder: Path, certificate: Path) -> None:
        self._simulator, self._folder, self._certificate = simulator, folder, certificate
        self._session = Session(take(simulator.settings))
        self._over = threading.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._count = 0
        self.faults: list[BaseException] = []

    def __enter__(self) -> Hands:
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(),))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._session.close()
        assert not self.faults, self.faults

    async def _main(self) -> None:
        while not await asyncio.to_thread(
            self._over.wait, LOOK_S
        ):  # a simulator tells of no machine that is new
            try:
                self._follow(await asyncio.to_thread(self._session.call, "looking", _powered))
            except HyperError as error:  # one was removed just now, or the test has failed
                self.faults.append(error)
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _follow(self, found: dict[str, Any]) -> None:
        for name, machine in found.items():
            if name not in self._running:
                self._count += 1
                self._running[name] = asyncio.create_task(self._run(machine, self._count))
        for name in self._running.keys() - found.keys():
            self._running.pop(name).cancel()  # where it has not ended by itself

    async def _run(self, machine: Any, number: int) -> None:
        store, folder = self._simulator.datastores[0], self._folder / f"hands{number}"
        try:
            async with run_by_hand(machine, store, folder, self._certificate) as qemu:
                await qemu.wait()
        except Exception as error:
            self.faults.append(error)
            raise
        with contextlib.suppress(HyperError):  # somebody was quicker
            await asyncio.to_thread(self._session.call, "its end", lambda live: machine.ShutdownGuest())


def _powered(live: Any) -> dict[str, Any]:
    """Machines of ours that are on, by what names them for good."""
    found = {}
    view = live.content.viewManager.CreateContainerView(live.content.rootFolder, [vim.VirtualMachine], True)
    for machine in view.view:
        with contextlib.suppress(vmodl.fault.ManagedObjectNotFound):
            config = machine.config  # None of one that is being made
            ours = config is not None and any(each.key == inventory.ID for each in config.extraConfig)
            if ours and machine.runtime.powerState == "poweredOn":
                found[machine._moId] = machine
    view.Destroy()
    return found
