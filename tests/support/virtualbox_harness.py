"""VirtualBox behind the suite's harness, with guests of some hundred bytes (``pc_guest``)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pc_guest
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.spec import Accelerator, VMSpec
from hypercontainer.hypervisor.virtualbox.driver import VirtualBoxDriver
from hypercontainer.suite.harness import HALT, Harness
from virtualbox_bed import VirtualBoxBed


class VirtualBoxHarness(Harness):
    accelerator = Accelerator.OWN

    def __init__(self, bed: VirtualBoxBed, folder: Path, stack: AsyncExitStack) -> None:
        self.bed = bed
        super().__init__(folder, stack)

    def recipe(self) -> Callable[[], Driver]:
        facts, installation = self.folder / "facts.json", self.bed.installation
        return partial(VirtualBoxDriver, facts, _boot, _raw, installation=installation)

    def another_driver(self) -> Driver:
        return self.recipe()()

    def guest(self, letter: str = HALT) -> dict[str, Any]:
        kernel = self.folder / f"kernel-{letter}"
        kernel.write_bytes(pc_guest.disc(letter))
        return {"kernel": kernel, "memory_mib": 16}

    @contextlib.asynccontextmanager
    async def foreign(self, name: str) -> AsyncIterator[str]:
        """Its UUID."""
        place = self.folder / "foreign"
        words = ("--ostype", "Linux26_64", "--register", "--platform-architecture", "x86")
        made = self.bed.manage("createvm", "--name", name, *words, "--basefolder", str(place))
        identity = made.split("UUID: ")[1].split()[0]
        try:
            yield identity
            assert f'"{name}" {{{identity}}}' in self.bed.manage("list", "vms")
        finally:
            self.bed.manage("unregistervm", identity)

    async def leftovers(self) -> list[str]:
        lists = [self.bed.manage("list", what).splitlines() for what in ("vms", "hdds", "dvds")]
        return [*(line for lines in lists for line in lines), *self.bed.programs()]


def _boot(spec: VMSpec, path: Path) -> None:
    """The kernel is a disc."""
    if spec.initrd is not None:
        spec.initrd.read_bytes()
    path.write_bytes(spec.kernel.read_bytes())


async def _raw(pair: Pair) -> Pair:
    return pair
