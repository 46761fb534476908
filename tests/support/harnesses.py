"""The drivers of this project behind the suite's harness: the fake, QEMU, User Mode Linux and libvirt."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fake_driver import FakeDriver, FakeMachine
from hypercontainer.hypervisor.driver import VM, Driver, ExitReason
from hypercontainer.hypervisor.kinds import Host
from hypercontainer.hypervisor.libvirt.driver import LibvirtDriver
from hypercontainer.hypervisor.libvirt.settings import Asked
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.spec import Accelerator, VMSpec
from hypercontainer.hypervisor.uml.argv import Mode
from hypercontainer.hypervisor.uml.driver import UmlDriver
from hypercontainer.suite.harness import BANNER, FLOOD, HALT, MEBIBYTE, POWER_OFF, REBOOT, UNPLUG, Harness
from hypercontainer.suite.leftovers import descriptors
from hypercontainer.suite.linux import LinuxHarness
from libvirt_bed import settled, the_bed
from uml_kernel import uml_kernel

# More letters of these drivers' own.
COUNT, KEEP = "m", "k"


def linux_image() -> bytes:
    """A kernel image (Linux boot protocol 2.03, Documentation/arch/x86/boot.rst) that is all setup code.

    It prints its banner to the serial port and then, by the first byte of its command line: s waits some tenths of a
    second (reads of a port) and powers off (ACPI PM1a control, port 0x604); r does the same with a reset (port
    0xcf9); f floods the port for ever; d gives up every device that it is asked for (docs/specs/acpi_pci_hotplug of
    QEMU, at port 0xcc0), pausing in between, or QEMU would never get to free one; m counts up in a byte of memory
    and prints its low six bits as one of 64 characters from 0 on, some hundred a second; anything else halts.
    """
    code = bytes.fromhex(
        "8cd88ed0bc008f"  # stack below the command line
        "be3203ac84c07405e87500ebf6"  # the banner, byte by byte
        "668b3628026681ee00000900ac"  # the byte at cmd_line_ptr
        "3c7374203c7274283c66742f3c6474323c6d7463f4ebfd"  # s, r, f, d, m; 1: hlt; jmp 1b
        "66bb80841e00e461664b75fac3"  # wait
        "e8f0ffba0406b80020efebe4"  # s
        "e8e4ffbaf90cb006eeebd9"  # r
        "b078e82600ebf9"  # f
        "f3906631dbbad00c6689d866efbac40c66ed6685c07405bac80c66ef4383fb0872e3ebdc"  # d: pause, 8 buses
        "bafd0388c4eca82074fb88e0baf803eec3"  # put a byte
        "fe063103a03103243f0430e8e1ff66bb50c30000e88fffebe700"  # m: with a shorter wait; the byte
    )
    image = bytearray(6 * 512)
    image[0x1F1] = 4  # sectors of setup after the first
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x200:0x206] = b"\xeb\x7eHdrS"
    struct.pack_into("<H", image, 0x206, 0x0203)
    code += BANNER.encode() + b"\n\0"
    image[0x280 : 0x280 + len(code)] = code
    return bytes(image)


class QemuHarness(LinuxHarness):
    """Its letters need no more than an image that is started in a moment."""

    def recipe(self) -> Callable[[], Driver]:
        return partial(QemuDriver, self.folder / "facts.json")

    def another_driver(self) -> Driver:
        return self.recipe()()

    def guest(self, letter: str) -> dict[str, Any]:
        kernel = self.folder / "kernel"
        kernel.write_bytes(linux_image())
        return {"kernel": kernel, "kernel_args": (letter,), "memory_mib": 16}


class UmlHarness(LinuxHarness):
    accelerator = Accelerator.NATIVE
    lacks = frozenset({"keeps"})  # its kernel gives up a disk that nobody has open

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.probed = uml_kernel().path
        super().__init__(folder, stack)

    def recipe(self, mode: Mode = Mode.SECCOMP) -> Callable[[], Driver]:
        return partial(UmlDriver, self.folder / "facts.json", mode=mode)

    def another_driver(self, mode: Mode = Mode.SECCOMP) -> Driver:
        return self.recipe(mode)()

    def guest(self, letter: str) -> dict[str, Any]:
        if letter == KEEP:
            return self.linux(
                "until [ -b /dev/ubda ]; do usleep 50000; done; exec 3</dev/ubda; echo kept; sleep 1000000"
            )
        return super().guest(letter)


class FakeHarness(Harness):
    """Of its guests, what the letters make of them; they are in this process."""

    lacks = frozenset({"process", "no process", "locks"})

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        super().__init__(folder, stack)
        self._fake = FakeDriver(ahead=True)
        self.driver = self._fake

    def another_driver(self) -> Driver:
        return FakeDriver(ahead=True)

    def guest(self, letter: str) -> dict[str, Any]:
        return {"kernel": self.file("kernel"), "memory_mib": 16}

    async def launch(self, letter: str = HALT, **changes: Any) -> VM:
        driver = FakeDriver(unplugs=letter == UNPLUG, ahead=True)
        vm = self.owned(await driver.launch(self.spec(letter, **changes)))
        machine = driver.machine(vm.record.id)
        machine.write_console(f"{BANNER}\n".encode())
        if letter == FLOOD:
            machine.write_console(b"x" * MEBIBYTE)
        elif letter in (POWER_OFF, REBOOT):
            end = machine.power_off if letter == POWER_OFF else machine.reboot
            asyncio.get_running_loop().call_later(0.3, ending, machine, end)
        return vm

    async def launch_to_save(self, letter: str = HALT, **changes: Any) -> VM:
        vm = await super().launch_to_save(letter, **changes)
        self._fake.machine(vm.record.id).write_console(f"{BANNER}\n".encode())
        return vm

    async def crash(self, vm: VM) -> None:
        self._fake.machine(vm.record.id).end(-9, ExitReason.CRASH)


def ending(machine: FakeMachine, end: Callable[[], None]) -> None:
    """The guest's end, for which it has to run."""
    if machine.paused:
        asyncio.get_running_loop().call_later(0.05, ending, machine, end)
    else:
        end()


class LibvirtHarness(QemuHarness):
    """By a libvirtd of its own, which all cases share (``libvirt_bed.the_bed``)."""

    lacks = frozenset({"numbers", "status"})  # a domain's UUID names it, and libvirt keeps QEMU's status

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.bed = the_bed()
        self._before = descriptors()
        super().__init__(folder, stack)

    def recipe(self) -> Callable[[], LibvirtDriver]:
        folder = self.bed.folder
        host = Host(folder / "facts.json", folder / "state")
        return partial(LibvirtDriver, "libvirt", Asked(self.bed.uri), host)

    def another_driver(self) -> Driver:
        driver = self.recipe()()
        self.stack.push_async_callback(driver.link.close)
        return driver

    def spec(self, letter: str = HALT, **changes: Any) -> VMSpec:
        spec = super().spec(letter, **changes)
        short = self.bed.folder / "r" / spec.id  # libvirt makes sockets at short paths only
        return spec if "run_dir" in changes else replace(spec, run_dir=short)

    @asynccontextmanager
    async def foreign(self, name: str) -> AsyncIterator[None]:
        uuid = self.bed.foreign(name)
        yield
        assert self.bed.virsh("domuuid", name).stdout.strip() == uuid
        self.bed.virsh("destroy", name)

    async def leftovers(self) -> list[str]:
        await settled(self._before)
        return [*self.bed.domains(), *map(str, self.bed.folder.glob("r/*"))]


HARNESSES: dict[str, Callable[[Path, AsyncExitStack], Harness]] = {
    "fake": FakeHarness,
    "qemu": QemuHarness,
    "uml": UmlHarness,
    "libvirt": LibvirtHarness,
}
