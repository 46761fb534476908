"""The drivers of Cloud Hypervisor and Firecracker with what acts as these (``fake_vmm``), in their jail."""

from __future__ import annotations

import os
import signal
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fake_vmm
from hypercontainer.hypervisor import jail, kvm, nics, programs
from hypercontainer.hypervisor.cloudhypervisor import kind as cloud_hypervisor
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.firecracker import kind as firecracker
from hypercontainer.hypervisor.firecracker.vmm import Firecracker
from hypercontainer.hypervisor.kinds import Host
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.hypervisor.vmm import probe, tapped
from hypercontainer.linux.confine import Means
from hypercontainer.suite.harness import Harness

KINDS = {"cloud-hypervisor": cloud_hypervisor.make, "firecracker": firecracker.make}
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


def acting(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The program may run Python; and guests boot, as far as anybody asks for KVM's device.

    It lasts as long as ``patch``: a second one that ends before this one would bring its changes back when it ends."""
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

    patch.setattr(programs, "libraries", libraries)
    patch.setattr(jail, "means", without_landlock)
    tun = folder / "tun"  # which udev has open to all, and some machines to root alone
    os.mknod(tun, stat.S_IFCHR | 0o666, os.stat(tapped.TUN).st_rdev)
    tun.chmod(0o666)
    patch.setattr(Firecracker, "devices", ((str(tun), str(tapped.TUN)),))
    patch.setattr(tapped, "TUN", tun)
    patch.setattr(probe, "GUEST_TIMEOUT_S", 30.0)  # Python begins, on a busy machine
    patch.setattr(probe, "KERNEL_TIMEOUT_S", 30.0)
    patch.setattr(kvm, "DEVICE", DEVICE)
    patch.setattr(kvm, "device_problem", lambda: None)
    patch.setattr(kvm, "access_problem", lambda: None)
    patch.setattr(kvm, "groups_for_vm", lambda: ())


def driver(name: str, folder: Path, path: Path | None = None) -> Driver:
    """``path``: of the program, where not what acts as it."""
    host = Host(folder / "facts.json", folder / "state")
    return KINDS[name](name, {"program": str(path or program(name, folder))}, host)


def acted(name: str, folder: Path) -> Driver:
    """In a process of its own, for as long as that is there."""
    acting(pytest.MonkeyPatch(), Path(tempfile.mkdtemp(dir=folder)))
    return driver(name, folder)


def dying(name: str, folder: Path) -> Driver:
    """Killed in its first launch, when there is a network namespace, and no process in it."""
    nics.serve = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    return acted(name, folder)


class VmmHarness(Harness):
    """Of one of the two, by its ``name``; of its guests it acts what the letters make of them."""

    accelerator = Accelerator.KVM
    name: str
    title: str
    real: Path | None = None  # the program, where it is not acted

    def recipe(self) -> Callable[[], Driver]:
        return partial(acted, self.name, self.folder)

    def another_driver(self) -> Driver:
        return driver(self.name, self.folder, self.real)

    def guest(self, letter: str) -> dict[str, Any]:
        return {"kernel": self.file("kernel", 512), "kernel_args": (letter,), "memory_mib": 16}


class CloudHypervisorHarness(VmmHarness):
    name, title = "cloud-hypervisor", "Cloud Hypervisor"


class FirecrackerHarness(VmmHarness):
    name, title = "firecracker", "Firecracker"


HARNESSES = {harness.name: harness for harness in (CloudHypervisorHarness, FirecrackerHarness)}
