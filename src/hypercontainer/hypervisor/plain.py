"""The least that a VM and a driver can do: what not every hypervisor has is refused here, by name.

A driver begins with these, and overrides what its ``Capabilities`` state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import NotSupported
from hypercontainer.hypervisor.driver import Lan, VMRecord
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import DiskSpec, Nic, VMSpec


class PlainVM:
    """See ``hypercontainer.hypervisor.driver.VM``; ``record`` is whoever is this to set."""

    record: VMRecord

    def _refuse(self, what: str) -> NoReturn:
        raise NotSupported(f"VM {self.record.name}: the driver {self.record.driver} has no {what}")

    def on_stall(self, told: Callable[[bool], None]) -> None:
        """The guest is told of a full disk, and goes on."""

    async def attach_disk(self, disk: DiskSpec) -> None:
        self._refuse("disks that are plugged in")

    async def detach_disk(self, serial: str, *, timeout_s: float = 10.0) -> None:
        self._refuse("disks that are plugged in")

    async def grow_disk(self, serial: str, size_bytes: int) -> None:
        self._refuse("disks that grow")

    async def insert_disk(self, disk: DiskSpec) -> None:
        self._refuse("drives")

    async def eject_disk(self, serial: str) -> None:
        self._refuse("drives")

    async def attach_nic(self, nic: Nic) -> None:
        self._refuse("network interfaces that are plugged in")

    async def detach_nic(self, mac: str, *, timeout_s: float = 10.0) -> None:
        self._refuse("network interfaces that are plugged in")

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        self._refuse("ports that come while a VM runs")

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        self._refuse("ports that go while a VM runs")

    async def save(self) -> Snapshot:
        self._refuse("VMs that are saved")


class PlainDriver:
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    name: str

    def _refuse(self, what: str) -> NoReturn:
        raise NotSupported(f"the driver {self.name} has no {what}")

    async def lan(self) -> Lan:
        self._refuse("network of its own")

    async def fingerprint(self, spec: VMSpec) -> str:
        plain = replace(spec.as_seen(), id="", name="", run_dir=Path(), owner_uid=None, limits=None)
        return repr(plain)
