"""What a driver's author brings, for the suite to run VMs on the driver and to know what their guests do."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hypercontainer.contract.spec import PortMapping
from hypercontainer.hypervisor.driver import VM, Capabilities, Driver, VMRecord
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import NICS, TAP, Accelerator, DiskSpec, Nic, VMSpec
from hypercontainer.suite.nics import nat_nic
from hypercontainer.suite.ports import free_port

# What a letter makes the guest do, once it has said that it is up: it waits for ever; it powers off, or reboots, after
# some tenths of a second; it writes without an end; it gives up every device that it is asked for.
HALT, POWER_OFF, REBOOT, FLOOD, UNPLUG = LETTERS = ("h", "s", "r", "f", "d")
BANNER = "test guest is up"
TEST_UID = 700_000 + os.getpid() % 50_000  # nobody else's, of those who test beside us
MEBIBYTE = 1 << 20
NO = "no "
PRINTED_S = 40.0
# What a harness has unless it says that it lacks it: guests that do what a letter says; VMs that are processes of this
# machine, which their records name by nothing but numbers, and whose exit status is known, and that others than their
# driver can kill; a guest, HALT's, that does not give up a disk; disks that are locked; a reset that ends its guest;
# disks that say in the guest that they are not to be written to, and that are as long as they were asked for.
WORDS = frozenset(
    {"letters", "process", "numbers", "status", "crash", "keeps", "locks", "resets", "read-only", "exact"}
)
_FIELDS = frozenset(field.name for field in fields(Capabilities))


class Harness:
    """One case's.  ``folder`` is the case's own; what is to be ended with it is pushed on ``stack``.

    ``accelerator`` is what VMs are run by.  ``probed``: a kernel without which there is nothing to probe.
    ``patience``: how many times as long as by themselves things may take, where VMs are much slower than elsewhere.
    ``lacks``: words of ``WORDS``, or others that cases need, which this driver has not, whatever its capabilities say.
    """

    accelerator = Accelerator.TCG
    probed: Path | None = None
    patience = 1.0
    lacks: frozenset[str] = frozenset()
    capabilities: Capabilities

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.driver = self.another_driver()
        self._count = 0

    # -- what a driver's author says

    def another_driver(self) -> Driver:
        """As a later daemon would have it."""
        raise NotImplementedError

    def guest(self, letter: str) -> dict[str, Any]:
        """What a specification has for a guest that does what a letter says: kernel, initrd, memory ..."""
        raise NotImplementedError

    def nic(self, place: int = 0, *forwards: PortMapping) -> Nic:
        """The network interface at this place of a VM's."""
        return nat_nic(*forwards, mac=f"52:54:00:12:34:{0x56 + place:02x}")

    def foreign(self, name: str) -> AbstractAsyncContextManager[Any]:
        """In the hypervisor runs a VM of this name that is not ours; it fails where that has been touched."""
        raise NotImplementedError

    async def crash(self, vm: VM) -> None:
        """Somebody kills the VM who is not its driver."""
        os.kill(vm.pid, signal.SIGKILL)

    async def leftovers(self) -> list[str]:
        """In words, what the case's VMs have left in the hypervisor.  Asked when all of them have ended."""
        return []

    # -- what cases use

    async def begin(self) -> None:
        """Before the case."""
        self.capabilities = await self.driver.capabilities()

    def has(self, word: str) -> bool:
        """A field of ``Capabilities``, a backend of its ``nics``, or a word of ``WORDS``; or "no" and one of these."""
        if word in self.lacks:
            return False
        if word.startswith(NO):
            return not self.has(word.removeprefix(NO))
        if word in NICS:
            return word in self.capabilities.nics and (word != TAP or os.geteuid() == 0)
        if word in ("foreign", "linux"):
            return word == "foreign" and type(self).foreign is not Harness.foreign
        assert word in _FIELDS | WORDS, f"no such need: {word}"
        return word in WORDS or bool(getattr(self.capabilities, word))

    def spec(self, letter: str = HALT, **changes: Any) -> VMSpec:
        """Of a VM of its own."""
        self._count += 1
        name = f"contract-{os.getpid()}-{self._count}"
        plain: dict[str, Any] = {
            "id": name,
            "name": name,
            "run_dir": self.folder / "run" / name,
            "initrd": None,
            "kernel_args": (),
            "memory_mib": 64,
            "vcpus": 1,
            "nics": (self.nic(),),
            "accelerator": self.accelerator,
            "owner_uid": TEST_UID if os.geteuid() == 0 else None,
        }
        brings_kernel = {} if "kernel" in changes and "initrd" in changes else self.guest(letter)
        return VMSpec(**(plain | brings_kernel | changes))

    async def launch(self, letter: str = HALT, **changes: Any) -> VM:
        return self.owned(await self.driver.launch(self.spec(letter, **changes)))

    async def launch_to_save(self, letter: str = HALT, **changes: Any) -> VM:
        return self.owned(await self.driver.launch_to_save(self.spec(letter, **changes)))

    async def saved(self, letter: str = HALT, **changes: Any) -> Snapshot:
        """Of a VM that has not been waited for; closed with the harness."""
        snapshot = await (await self.launch_to_save(letter, **changes)).save()
        self.stack.callback(snapshot.close)
        return snapshot

    async def clone(self, snapshot: Snapshot, **changes: Any) -> VM:
        return self.owned(await self.driver.clone(self.spec(**changes), snapshot))

    def owned(self, vm: VM) -> VM:
        """It is ended with the case."""
        self.stack.push_async_callback(self._kill, vm)
        return vm

    async def _kill(self, vm: VM) -> None:
        driver = self.another_driver()
        await vm.close()
        await driver.destroy(vm.record)

    async def adopted(self, vm: VM) -> VM:
        """The same by a later daemon; it is let go of before."""
        await vm.close()
        return await self.taken_up(vm.record)

    async def taken_up(self, record: VMRecord) -> VM:
        again = await self.another_driver().adopt(record)
        assert again is not None, f"VM {record.name} is gone"
        self.stack.push_async_callback(again.close)
        return again

    def file(self, name: str, size: int = MEBIBYTE, content: bytes = b"") -> Path:
        """Made anew, with ``content`` at its beginning."""
        path = self.folder / name
        path.write_bytes(content)
        os.truncate(path, size)
        return path

    def disk(
        self,
        serial: str,
        size: int = MEBIBYTE,
        content: bytes = b"",
        *,
        read_only: bool = False,
        **changes: Any,
    ) -> DiskSpec:
        """Of a file of its own, of this name."""
        disk = DiskSpec(serial, ((self.file(serial, size, content), size),), read_only)
        return replace(disk, **changes)

    def free_port(self) -> int:
        """Of the loopback address."""
        return free_port()

    def lacking(self, needs: tuple[str, ...]) -> str:
        """Why a case with these needs cannot be, in words, or ""."""
        missing = [word for word in needs if not self.has(word)]
        if not missing:
            return ""
        word = missing[0]
        return f"{self.driver.name} has {word.removeprefix(NO) if word.startswith(NO) else NO + word}"

    def patient(self, seconds: float) -> float:
        return seconds * self.patience

    async def printed(self, vm: VM, text: str = BANNER) -> str:
        """What the guest has said once that is in it: there is no event for it, since nobody but a test waits."""
        try:
            async with asyncio.timeout(self.patient(PRINTED_S)):
                while text not in vm.console_tail():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"the guest did not say {text!r}, but {vm.console_tail()!r}") from None
        return vm.console_tail()
