"""The drivers of Cloud Hypervisor and Firecracker with what acts as these (``fake_vmm``), in their jail."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fake_vmm
from hypercontainer.hypervisor import jail, kvm, programs
from hypercontainer.hypervisor.cloudhypervisor import kind as cloud_hypervisor
from hypercontainer.hypervisor.driver import VM, Driver
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.firecracker import kind as firecracker
from hypercontainer.hypervisor.firecracker.vmm import Firecracker
from hypercontainer.hypervisor.kinds import Host
from hypercontainer.hypervisor.spec import Accelerator, VMSpec
from hypercontainer.hypervisor.vmm import tapped
from hypercontainer.linux.confine import Means
from nics import nat_nic

KINDS = {"cloud-hypervisor": cloud_hypervisor.make, "firecracker": firecracker.make}
TITLES = {"cloud-hypervisor": "Cloud Hypervisor", "firecracker": "Firecracker"}
TEST_UID = 760_000 + os.getpid() % 50_000  # nobody else's, of those who test beside us
# Stands for /dev/kvm, which nobody but root may have here.
DEVICE = Path("/dev/null")


def program(name: str, folder: Path) -> Path:
    """What acts as the program of this name; made in ``folder``."""
    path = folder / name
    if not path.exists():
        text = Path(fake_vmm.__file__).read_text().replace('"/dev/kvm"', f'"{DEVICE}"')
        path.write_text(f"#!{_python()} -SI\n{text}")
        path.chmod(0o755)
    return path


def _python() -> str:
    return str(Path(sys.executable).resolve())


@contextmanager
def acting(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """The program may run Python; and guests boot, as far as anybody asks for KVM's device."""
    real = programs.libraries

    async def libraries(path: Path, *arguments: str, preloaded: tuple[str, ...] = ()) -> tuple[str, ...]:
        if path.name not in KINDS:
            return await real(path, *arguments, preloaded=preloaded)
        linked = await real(Path(_python()), "--version")
        return tuple(dict.fromkeys((_python(), *linked, sysconfig.get_path("stdlib"))))

    means = jail.means

    async def without_landlock(cache: FactCache, *, refresh: bool = False) -> Means:
        """Python lists directories, for which a jail's files have no right."""
        return replace(await means(cache, refresh=refresh), landlock=0)

    with patch.context() as held:
        held.setattr(programs, "libraries", libraries)
        held.setattr(jail, "means", without_landlock)
        tun = folder / "tun"  # which udev has open to all, and some machines to root alone
        os.mknod(tun, stat.S_IFCHR | 0o666, os.stat(tapped.TUN).st_rdev)
        tun.chmod(0o666)
        held.setattr(Firecracker, "devices", ((str(tun), str(tapped.TUN)),))
        held.setattr(tapped, "TUN", tun)
        held.setattr(kvm, "DEVICE", DEVICE)
        held.setattr(kvm, "device_problem", lambda: None)
        held.setattr(kvm, "access_problem", lambda: None)
        held.setattr(kvm, "groups_for_vm", lambda: ())
        yield


def driver(name: str, folder: Path, path: Path | None = None) -> Driver:
    """``path``: of the program, where not what acts as it."""
    host = Host(folder / "facts.json", folder / "state")
    return KINDS[name](name, {"program": str(path or program(name, folder))}, host)


class VmmHarness:
    """VMs of one of the two, ended with ``stack``."""

    accelerator = Accelerator.KVM
    probed: Path | None = None
    filesystem = ""

    def __init__(self, name: str, folder: Path, stack: AsyncExitStack, real: Path | None = None) -> None:
        self.name = name
        self.title = TITLES[name]
        self._folder, self._stack, self._real = folder, stack, real
        self._count = 0
        self.driver = self.another_driver()

    def another_driver(self) -> Driver:
        return driver(self.name, self._folder, self._real)

    def spec(self, guest: str = "h", **changes: Any) -> VMSpec:
        self._count += 1
        name = f"contract-{os.getpid()}-{self._count}"
        kernel = self._folder / "kernel"
        kernel.write_bytes(b"k")
        spec = VMSpec(
            id=name,
            name=name,
            run_dir=self._folder / "run" / name,
            kernel=kernel,
            initrd=None,
            kernel_args=(guest,),
            memory_mib=16,
            vcpus=1,
            nics=(nat_nic(),),
            accelerator=Accelerator.KVM,
            owner_uid=TEST_UID if os.geteuid() == 0 else None,
            hotplug_slots=0,
        )
        return replace(spec, **changes)

    async def launch(self, guest: str = "h", **changes: Any) -> VM:
        vm = await self.driver.launch(self.spec(guest, **changes))
        self._stack.push_async_callback(self._kill, vm)
        return vm

    async def _kill(self, vm: VM) -> None:
        await vm.close()
        await self.another_driver().destroy(vm.record)
