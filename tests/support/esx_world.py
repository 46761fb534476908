"""A driver of vSphere, and another user of the same simulator, who sees everything."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pyVmomi import vim, vmodl

from hypercontainer.errors import HyperError
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.esx.driver import EsxDriver
from hypercontainer.hypervisor.esx.session import Session
from hypercontainer.hypervisor.esx.settings import take
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, VMSpec
from simulated_vsphere import Simulator

MIB = 1 << 20
NETWORK = "VM Network"
SOON_S = 10.0


class World:
    """A driver, and another user of the same server, who sees everything."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self.folder = folder
        self.drivers: list[EsxDriver] = []
        self.driver = self.another_driver()
        self.other = Session(take(simulator.settings))
        for name in self.ours():  # what another test has left, when it failed, and its images
            self.call_off(name)
        self.foreign = sorted(self.machines())
        self._count = 0

    def another_driver(self, **changes: Any) -> EsxDriver:
        """As a later hyperd would have it."""
        made = EsxDriver("esx", take(self.simulator.settings | changes), self.folder / "state", lost_s=0.3)
        self.drivers.append(made)
        return made

    def spec(self, **changes: Any) -> VMSpec:
        self._count += 1
        name = f"pod-{self._count}"
        spec = VMSpec(
            id=name,
            name=name,
            run_dir=self.folder / "run" / name,
            kernel=self.image().extents[0][0],
            initrd=self.image().extents[0][0],
            kernel_args=("quiet",),
            memory_mib=64,
            vcpus=2,
            accelerator=Accelerator.OWN,
        )
        return dataclasses.replace(spec, **changes)

    def image(self, name: str = "image", content: bytes = b"an image" * 8192) -> DiskSpec:
        path = self.folder / f"{name}.img"
        if not path.exists():
            path.write_bytes(content)
        return DiskSpec(name, ((path, path.stat().st_size),), read_only=True)

    def written(self, content: bytes = b"what was there") -> DiskSpec:
        path = self.folder / "disk.img"
        with path.open("wb") as file:
            file.write(content)
            file.truncate(4 * MIB)
        return DiskSpec("disk", ((path, 4 * MIB),), read_only=False)

    def machines(self) -> dict[str, Any]:
        def find(live: Any) -> dict[str, Any]:
            view = live.content.viewManager.CreateContainerView(
                live.content.rootFolder, [vim.VirtualMachine], True
            )
            found = {}
            for each in view.view:
                with contextlib.suppress(vmodl.fault.ManagedObjectNotFound):  # removed just now
                    found[each.name] = each
            return found

        return self.other.call("looking", find)

    def machine(self, vm: VM) -> Any:
        return self.machines()[vm.record.name]

    def ours(self) -> list[str]:
        return sorted(name for name in self.machines() if name.startswith(("pod-", "hyper-image-")))

    def call_off(self, name: str) -> None:
        machine = self.machines()[name]
        with contextlib.suppress(HyperError):
            self.do(lambda live: live.finish(machine.PowerOffVM_Task()))
        self.do(lambda live: live.finish(machine.Destroy_Task()))

    def do(self, work: Callable[[Any], Any]) -> Any:
        """As the other user."""
        return self.other.call("doing", work)

    def nothing_left(self, *, images: int = 0) -> None:
        """Of any VM."""
        assert len(self.ours()) == images, self.ours()
        assert len({name.partition("/")[0] for name in self.simulator.files()}) == images, (
            self.simulator.files()
        )
        assert not list((self.folder / "run").glob("*"))
        assert not list((self.folder / "state" / "vms").glob("*"))


Test = Callable[[World], Awaitable[None]]
