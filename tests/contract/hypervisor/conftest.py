"""The drivers behind one harness, and the proof that a test leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from fake_driver import FakeDriver, FakeMachine
from free_port import free_port
from hypercontainer.hypervisor import shares
from hypercontainer.hypervisor.driver import VM, Driver
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import P9, VIRTIOFS, Accelerator, VMSpec
from hypercontainer.hypervisor.uml.argv import Mode
from hypercontainer.hypervisor.uml.driver import UmlDriver
from hypercontainer.kernel import KernelStore, cache_dir, command_line
from hypercontainer.kernel.initrd import Entry, cpio
from hypercontainer.linux import netns, tsc
from nics import nat_nic
from passing import children, groups, of_user
from tap_space import TapSpace
from uml_kernel import uml_kernel

# What the first letter of the kernel arguments makes the guest do, once it has said that it is up.
HALT, POWER_OFF, REBOOT, FLOOD, UNPLUG, COUNT, KEEP = "h", "s", "r", "f", "d", "m", "k"
BANNER = "test guest is up"
TEST_UID = 700_000 + os.getpid() % 50_000  # nobody else's, of those who test beside us
MEBIBYTE = 1 << 20


class Harness(Protocol):
    """``guest`` is one of the letters above."""

    driver: Driver

    def another_driver(self) -> Driver:
        """As a later daemon would have it."""

    async def launch(self, guest: str = HALT, **changes: Any) -> VM: ...

    async def launch_to_save(self, guest: str = HALT, **changes: Any) -> VM: ...

    async def saved(self, guest: str = HALT, **changes: Any) -> Snapshot:
        """Of a VM that has not been waited for; closed with the harness."""

    async def clone(self, snapshot: Snapshot, **changes: Any) -> VM: ...

    def spec(self, guest: str = HALT, **changes: Any) -> VMSpec: ...


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


class Base:
    driver: Driver
    filesystem = ""
    accelerator = Accelerator.TCG
    probed: Path | None = None  # a kernel without which there is nothing to probe

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self._count = 0

    def spec(self, guest: str = HALT, **changes: Any) -> VMSpec:
        self._count += 1
        name = f"contract-{os.getpid()}-{self._count}"
        kernel = self.directory / "kernel"
        kernel.write_bytes(linux_image())
        spec = VMSpec(
            id=name,
            name=name,
            run_dir=self.directory / "run" / name,
            kernel=kernel,
            initrd=None,
            kernel_args=(guest,),
            memory_mib=16,
            vcpus=1,
            nics=(nat_nic(),),
            owner_uid=TEST_UID if os.geteuid() == 0 else None,
        )
        return replace(spec, **changes)

    async def launch_to_save(self, guest: str = HALT, **changes: Any) -> VM:
        return self._owned(await self.driver.launch_to_save(self.spec(guest, **changes)))

    async def saved(self, guest: str = HALT, **changes: Any) -> Snapshot:
        snapshot = await (await self.launch_to_save(guest, **changes)).save()
        self._stack.callback(snapshot.close)
        return snapshot

    async def clone(self, snapshot: Snapshot, **changes: Any) -> VM:
        return self._owned(await self.driver.clone(self.spec(**changes), snapshot))

    def _owned(self, vm: VM) -> VM:
        self._stack.push_async_callback(self._kill, vm)
        return vm

    async def _kill(self, vm: VM) -> None:
        driver = self.another_driver()
        await vm.close()
        await driver.destroy(vm.record)

    def another_driver(self) -> Driver:
        raise NotImplementedError


class QemuHarness(Base):
    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        super().__init__(directory, stack)
        self.driver = self.another_driver()

    def another_driver(self) -> Driver:
        return QemuDriver(self.directory / "facts.json")

    async def launch(self, guest: str = HALT, **changes: Any) -> VM:
        return self._owned(await self.driver.launch(self.spec(guest, **changes)))


# What the letters make a Linux do.
SCRIPTS = {
    HALT: "sleep 1000000",
    UNPLUG: "sleep 1000000",
    POWER_OFF: "sleep 1",  # to be paused before, on a busy machine, too
    REBOOT: "sleep 1; reboot -f",
    KEEP: "until [ -b /dev/ubda ]; do sleep 0.05; done; exec 3</dev/ubda; echo kept > /dev/console; sleep 1000000",
    FLOOD: "yes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx | tr -d '\\n'",
}


class UmlHarness(Base):
    accelerator = Accelerator.NATIVE

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        super().__init__(directory, stack)
        self.driver = self.another_driver()
        self.probed = uml_kernel().path

    def another_driver(self, mode: Mode = Mode.SECCOMP) -> Driver:
        return UmlDriver(self.directory / "facts.json", mode=mode)

    def spec(self, guest: str = HALT, **changes: Any) -> VMSpec:
        kernel = uml_kernel()
        initrd = self.directory / f"initrd-{guest}"
        if not initrd.exists():
            busybox_initrd(initrd, f"echo {BANNER} > /dev/console; {SCRIPTS[guest]}")
        own = {
            "kernel": kernel.path,
            "initrd": initrd,
            "kernel_args": command_line(kernel, emulated=False, console=True, extra=()),
            "memory_mib": 64,
        }
        return super().spec(guest, **own | changes)

    async def launch(self, guest: str = HALT, **changes: Any) -> VM:
        return self._owned(await self.driver.launch(self.spec(guest, **changes)))


class FakeHarness(Base):
    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        super().__init__(directory, stack)
        self._driver = FakeDriver(ahead=True)
        self.driver = self._driver

    def another_driver(self) -> Driver:
        return FakeDriver(ahead=True)

    async def launch(self, guest: str = HALT, **changes: Any) -> VM:
        driver = FakeDriver(unplugs=guest == UNPLUG, ahead=True)
        vm = self._owned(await driver.launch(self.spec(guest, **changes)))
        machine = driver.machine(vm.record.id)
        machine.write_console(f"{BANNER}\n".encode())
        if guest == FLOOD:
            machine.write_console(b"x" * MEBIBYTE)
        elif guest in (POWER_OFF, REBOOT):
            end = machine.power_off if guest == POWER_OFF else machine.reboot
            asyncio.get_running_loop().call_later(0.3, ending, machine, end)
        return vm

    async def launch_to_save(self, guest: str = HALT, **changes: Any) -> VM:
        vm = await super().launch_to_save(guest, **changes)
        self._driver.machine(vm.record.id).write_console(f"{BANNER}\n".encode())
        return vm


def ending(machine: FakeMachine, end: Callable[[], None]) -> None:
    """The guest's end, for which it has to run."""
    if machine.paused:
        asyncio.get_running_loop().call_later(0.05, ending, machine, end)
    else:
        end()


def descriptors() -> list[str]:
    links = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            links.append(os.readlink(entry).partition(":")[0])
    return sorted(links)


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """After the test: no process, descriptor, cgroup, run directory or temporary file more than before."""
    before, others = descriptors(), children()  # a session may have daemons of its own
    yield
    assert children() <= others
    assert not (of_user(TEST_UID) if os.geteuid() == 0 else ())
    assert not [each for each in groups() if each.name.startswith(f"contract-{os.getpid()}-")]
    assert descriptors() == before
    run = tmp_path / "run"
    assert not run.exists() or not list(run.iterdir())
    shutil.rmtree(tmp_path)


HARNESSES = {"fake": FakeHarness, "qemu": QemuHarness, "uml": UmlHarness}
REAL = [pytest.param(name, marks=pytest.mark.vm) for name in ("qemu", "uml")]
Test = Callable[[Any], Awaitable[None]]


def running(kind: Callable[[Path, AsyncExitStack], Any], directory: Path) -> Callable[[Test], None]:
    async def main(test: Test) -> None:
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            await test(kind(directory, stack))

    return lambda test: asyncio.run(main(test))


@pytest.fixture(params=["fake", *REAL])
def run(request: pytest.FixtureRequest, tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """Runs a coroutine function with a harness, in a fresh event loop, and ends its VMs."""
    return running(HARNESSES[request.param], tmp_path)


@pytest.fixture(params=REAL)
def run_real(request: pytest.FixtureRequest, tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """The same for what only real guests have."""
    return running(HARNESSES[request.param], tmp_path)


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Iterator[TapSpace]:
    """Where taps are."""
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces and taps here")
    with TapSpace() as one:
        monkeypatch.setattr(netns, "tap", one.tap)
        yield one


@pytest.fixture(params=["fake", REAL[0]])
def run_whole(request: pytest.FixtureRequest, tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """The same, for what needs a driver with templates and formats of disks."""
    return running(HARNESSES[request.param], tmp_path)


# Who serves shares how; where there is no virtiofsd, QEMU and its helper.
SHARING = (("qemu", VIRTIOFS), ("qemu", P9), ("uml", VIRTIOFS))


@pytest.fixture(params=SHARING, ids="-".join)
def run_sharing(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> Callable[[Test], None]:
    """The same for what only real servers of shares have, of each kind; ``harness.filesystem`` says which."""
    name, filesystem = request.param
    if filesystem == P9:
        monkeypatch.setattr(shares, "PROGRAM", "virtiofsd-of-nobody")

    def make(directory: Path, stack: AsyncExitStack) -> Any:
        harness = HARNESSES[name](directory, stack)
        harness.filesystem = filesystem
        return harness

    return running(make, tmp_path)


@pytest.fixture
def run_qemu(tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """The same for what only real QEMU has."""
    return running(QemuHarness, tmp_path)


@pytest.fixture
def run_uml(tmp_path: Path, nothing_left: None) -> Callable[[Test], None]:
    """The same for what only User Mode Linux has."""
    return running(UmlHarness, tmp_path)


def busybox_initrd(path: Path, script: str) -> Path:
    """busybox, with ``script`` run by root; it powers off at the script's end."""
    init = (
        "#!/bin/sh\nexport PATH=/bin\n/bin/busybox --install -s /bin\n"
        "mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev\n"
        f"echo 'user:x:99:98::/:/bin/sh' > /etc/passwd; echo inside > /etc/inside\n{script}\npoweroff -f\n"
    )
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in ("dev", "proc", "sys", "bin", "mnt", "etc")]
    entries += [
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry("bin/busybox", stat.S_IFREG | 0o755, Path("/bin/busybox").read_bytes()),
        Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
        Entry("init", stat.S_IFREG | 0o755, init.encode()),
    ]
    path.write_bytes(b"".join(cpio(entries)))
    return path


@pytest.fixture
def linux(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The changes to a specification that make its guest a Linux of our own, which runs a script and powers off."""
    kernels = KernelStore(cache_dir()).list()
    machine = next((one for one in kernels if one.source == "own" and not one.program), None)
    assert machine is not None, "there is no kernel of our own: run `make kernel`"

    def changes(script: str, accelerator: Accelerator = Accelerator.TCG) -> dict[str, Any]:
        native = accelerator is Accelerator.NATIVE
        own = uml_kernel() if native else machine
        khz = None if native else tsc.rate_khz()
        arguments = command_line(own, emulated=not native, console=True, extra=(), tsc_khz=khz)
        initrd = busybox_initrd(tmp_path / "initrd", script)
        return {"kernel": own.path, "initrd": initrd, "kernel_args": arguments, "memory_mib": 96}

    return changes


@pytest.fixture(name="free_port")
def _free_port() -> int:
    return free_port()
