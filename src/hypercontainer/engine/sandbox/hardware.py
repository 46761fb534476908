"""What a VM is made of, as a boot and as a clone.

A template and its clones have the same devices: drives that are empty until a disk is put in, and a network
interface whose MAC address each clone's guest replaces by its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network.network import Network
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.spec import DriveSpec, VMSpec

IMAGE_SERIAL = "image"
DISK_SERIAL = "disk"
DRIVES = (DriveSpec(IMAGE_SERIAL, read_only=True), DriveSpec(DISK_SERIAL, read_only=False))


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
        """Whether a clone can have all this: disks beyond its drives are plugged in, and neither can shares be,
        nor disks of servers, nor NICs."""
        plugged = len(self.spec.disks) - len(DRIVES)
        served = self.spec.shares or self.spec.remotes
        return not served and len(self.spec.nics) <= 1 and plugged <= self.spec.hotplug_slots

    @property
    def clone(self) -> VMSpec:
        """With the devices that the template has; published ports, which a guest does not see, are its own."""
        return self._clone(self.published)

    def unowned(self, kind: str, uid: int | None) -> VMSpec:
        """A clone that is nobody's yet, with a name, a run directory and a user ID of its own, publishing nothing."""
        clone, name = self._clone(()), f"{kind}-{secrets.token_hex(6)}"
        return replace(clone, id=name, name=name, run_dir=clone.run_dir.with_name(name), owner_uid=uid)

    def _clone(self, published: Sequence[PortMapping]) -> VMSpec:
        return replace(self.spec, disks=(), drives=DRIVES, nics=self.network.template_nics(published))
