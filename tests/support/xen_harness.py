"""The driver of Xen behind the suite's harness, and what there is of domains on a machine: used inside a dom0."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hypercontainer.hypervisor.driver import VM, Driver
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.hypervisor.xen import blocks
from hypercontainer.hypervisor.xen.config import Mode, domain_name, xl_config
from hypercontainer.hypervisor.xen.driver import XenDriver
from hypercontainer.hypervisor.xen.xl import Listing
from hypercontainer.suite.linux import LinuxHarness

# What a test outside has put there: `letters` (xen_letters.S), among others.
HANDED = Path(os.environ.get("XEN_HANDED", "/mnt/out"))
# Of domains.  The letters are for PV alone.
MODE = Mode(os.environ.get("XEN_MODE", Mode.PV))
OURS = ("usernet", "netns", "xl")  # processes beside VMs


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def left() -> dict[str, list[str]]:
    """All that there is of domains on this machine."""
    return {
        "domains": [line.split()[0] for line in said("xl", "list").splitlines()[2:]],
        "loops": [name for _, name in blocks.named()],
        "mapped": [line for line in said("dmsetup", "ls").splitlines() if line.startswith("hyper-")],
        "links": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "backends": sorted(
            f"{kind}/{domain}"
            for kind in ("vbd", "vif", "console")
            for domain in _listed(f"/local/domain/0/backend/{kind}")
        ),
        "helpers": _processes(),
    }


@cache
def at_first() -> dict[str, list[str]]:
    """Before the first case: nobody else makes domains in a dom0 of the tests."""
    return left()


def _listed(path: str) -> list[str]:
    done = subprocess.run(["xenstore-list", path], capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def _processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            name = path.read_text().strip()
        except OSError:
            continue
        if name in OURS:
            found.append(name)
    return sorted(found)


class XenHarness(LinuxHarness):
    """Its letters are a kernel of their own, its Linux the wide kernel."""

    accelerator = Accelerator.OWN
    # A domain is no process of dom0's, and its UUID names it.
    lacks = frozenset({"process", "numbers", "status"})
    patience = 5.0  # an emulation in an emulation

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        at_first()
        super().__init__(folder, stack)

    def another_driver(self) -> Driver:
        return XenDriver("xen", self.folder / "facts.json", MODE)

    def guest(self, letter: str) -> dict[str, Any]:
        return {"kernel": HANDED / "letters", "kernel_args": (letter,), "memory_mib": 16}

    @asynccontextmanager
    async def foreign(self, name: str) -> AsyncIterator[None]:
        """A domain that is called as ours would be."""
        ours, config = str(uuid.uuid4()), self.folder / "foreign.cfg"
        one = self.spec(id=name, disks=(), nics=())
        config.write_text(xl_config(one, ours, Mode.PV))
        said("xl", "create", "-p", "-e", "-q", str(config))
        said("xl", "unpause", domain_name(one))
        try:
            yield
            found = await Listing().find(ours)
            assert found is not None and found.ending is None and not found.paused, found
        finally:
            said("xl", "destroy", domain_name(one))

    async def crash(self, vm: VM) -> None:
        found = await Listing().find(vm.record.foreign["uuid"])
        assert found is not None
        said("xl", "destroy", str(found.id))

    async def leftovers(self) -> list[str]:
        now = await asyncio.to_thread(left)
        return [f"{what}: {now[what]}, before {was}" for what, was in at_first().items() if now[what] != was]
