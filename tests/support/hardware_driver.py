"""The toy driver on the hardware of VirtualBox's machines: a disc that a BIOS starts, AHCI, e1000 and two 16550s.

What VirtualBox's driver makes for its guests the same functions make here: the disc, the descriptors of disks, and the
line on the second serial port.  QEMU has the same chips.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import Capabilities, Driver
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import UserNat, VMSpec
from hypercontainer.hypervisor.virtualbox import argv, doctor, guests, vmdk
from hypercontainer.suite.linux import LinuxHarness
from toy_driver import hyper_toy_driver as toy

NAME = "virtualbox's hardware"
AHCI_PORTS = 6  # of a controller of QEMU's; VirtualBox's has 30


class HardwareVM(toy.ToyVM):
    async def _reach_agent(self) -> Pair:
        return await guests.reliable(await super()._reach_agent())


class HardwareDriver(toy.ToyDriver):
    vm = HardwareVM

    async def capabilities(self) -> Capabilities:
        found = await super().capabilities()
        return replace(found, devices=doctor.DEVICES, line=f"serial:{argv.AGENT_DEVICE}")

    def check(self, spec: VMSpec) -> None:
        super().check(replace(spec, disks=()))
        vmdk.check(spec.disks)

    def command(self, spec: VMSpec, run: RunDir) -> list[str]:
        folder = run.path / "machine"
        folder.mkdir()
        disc = folder / "boot.iso"
        guests.write_disc(spec, disc)
        words = [
            self.program,
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-S",
            "-accel",
            "tcg",
            "-cpu",
            "max",
        ]
        words += ["-machine", "pc,usb=off,vmport=off", "-m", f"{spec.memory_mib}M", "-smp", str(spec.vcpus)]
        words += [*toy.sockets(), "-serial", "chardev:console", "-serial", "chardev:agent"]
        for controller in range(1 + len(spec.disks) // AHCI_PORTS):
            words += ["-device", f"ahci,id=ahci{controller}"]
        words += ["-drive", f"if=none,id=disc,format=raw,readonly=on,media=cdrom,file={disc}"]
        words += ["-device", "ide-cd,bus=ahci0.0,drive=disc,bootindex=0"]
        for place, disk in enumerate(spec.disks, 1):
            path = folder / f"{disk.serial}.vmdk"
            # QEMU's hard disks may all be written, and so may the extents that it takes: of a copy here.
            path.write_bytes(vmdk.descriptor(replace(disk, read_only=False), uuid.uuid4()))
            copied = "on" if disk.read_only else "off"
            controller, port = divmod(place, AHCI_PORTS)
            words += ["-drive", f"if=none,id=disk{place},format=vmdk,snapshot={copied},file={path}"]
            words += ["-device", f"ide-hd,bus=ahci{controller}.{port},drive=disk{place},serial={disk.serial}"]
        for place, nic in enumerate(spec.nics):
            assert isinstance(nic.backend, UserNat)
            words += ["-netdev", toy.netdev(nic.backend, place)]
            words += ["-device", f"e1000,netdev=net{place},mac={nic.mac},romfile="]
        return words


class HardwareHarness(LinuxHarness):
    lacks = frozenset({"locks", "read-only"})
    patience = 3.0  # a BIOS, and a kernel that unpacks itself

    def recipe(self) -> Callable[[], Driver]:
        return partial(HardwareDriver, NAME, "qemu-system-x86_64")

    def another_driver(self) -> Driver:
        return self.recipe()()
