"""What a VM is made of, as a boot and as a clone.

A template and its clones have the same devices: drives that are empty until a disk is put in, and a network
interface with ``TEMPLATE_MAC``, which each clone's guest replaces by its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network.network import Network
from hypercontainer.hypervisor.driver import Driver, DriveSpec, VMSpec

IMAGE_SERIAL = "image"
DISK_SERIAL = "disk"
DRIVES = (DriveSpec(IMAGE_SERIAL, read_only=True), DriveSpec(DISK_SERIAL, read_only=False))
TEMPLATE_MAC = "02:00:00:00:00:01"


@dataclass(frozen=True)
class Hardware:
    """``spec`` is for a boot by ``driver``, with the ``published`` ports in it; ``release_disks``: the kernel reads a
    disk's size only when its driver is bound."""

    spec: VMSpec
    driver: Driver
    release_disks: bool
    cpus: float
    network: Network
    published: tuple[PortMapping, ...] = ()

    @property
    def clones(self) -> bool:
        """Whether a clone can have all this: disks beyond its drives are plugged in, shares cannot be."""
        return not self.spec.shares and len(self.spec.disks) - len(DRIVES) <= self.spec.hotplug_slots

    @property
    def clone(self) -> VMSpec:
        """With the devices that the template has; published ports, which a guest does not see, are its own."""
        return self._clone(self.published)

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The network as it is prepared in a template's guest."""
        return self.network.attach(TEMPLATE_MAC).interfaces

    def unowned(self, kind: str, uid: int | None) -> VMSpec:
        """A clone that is nobody's yet, with a name, a run directory and a user ID of its own, publishing nothing."""
        clone, name = self._clone(()), f"{kind}-{secrets.token_hex(6)}"
        return replace(clone, id=name, name=name, run_dir=clone.run_dir.with_name(name), owner_uid=uid)

    def _clone(self, published: Sequence[PortMapping]) -> VMSpec:
        nics = self.network.attach(TEMPLATE_MAC, published).nics
        return replace(self.spec, disks=(), drives=DRIVES, nics=nics)
