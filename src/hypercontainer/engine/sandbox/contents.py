"""What a VM is to have for those who live in it, as values: whose they are is the pod's to know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from hypercontainer.contract.volumes import DiskImage, HostPath, NamedVolume, NetworkDisk, NfsShare, Volume
from hypercontainer.engine.state import ContainerRecord, PodRecord
from hypercontainer.volume import network

OF_HOST = HostPath | DiskImage | NetworkDisk  # what only users of this machine may have
_LASTING = NamedVolume | DiskImage | NetworkDisk | NfsShare


@dataclass(frozen=True)
class Brought:
    """A volume, and on whose behalf files of the host are opened for it; None: hyperd's own.  ``diff_ids``: of an
    image's, its layers."""

    volume: Volume
    asked_by: int | None
    diff_ids: tuple[str, ...] | None = None


def brought(record: ContainerRecord | PodRecord, volume: Volume, written: Collection[str]) -> Brought:
    """One that ``record`` brings.  ``written``: names of volumes that somebody writes to.  A disk that nobody does is
    read-only for the VM, so that others can read it too."""
    unwritten = isinstance(volume.source, _LASTING) and volume.name not in written
    if unwritten or network.is_snapshot(volume.source):
        volume = msgspec.structs.replace(volume, read_only=True)
    image = record.volume_images.get(volume.name)
    return Brought(volume, record.asked_by, image.diff_ids if image else None)


@dataclass(frozen=True)
class Contents:
    """``name`` is for people; ``roots``: the diff IDs of each container's image; ``volumes``: all that may be mounted,
    by name; ``has_api``: a container has Docker's API."""

    name: str
    roots: tuple[tuple[str, ...], ...]
    volumes: Mapping[str, Brought]
    has_api: bool = False

    @property
    def images(self) -> tuple[tuple[str, ...], ...]:
        """The diff IDs of all that it needs, the containers' before those that are volumes."""
        return (*self.roots, *volume_images(self.volumes.values()))

    @property
    def reaches_host(self) -> bool:
        """Who is in the VM may have more of this machine than a VM."""
        return self.has_api or any(isinstance(each.volume.source, OF_HOST) for each in self.volumes.values())

    @property
    def keeps_data(self) -> bool:
        """What the guest has written must be written back when the VM ends: some of it outlives that."""
        return any(
            isinstance(brought.volume.source, _LASTING) and not brought.volume.read_only
            for brought in self.volumes.values()
        )


def volume_images(volumes: Iterable[Brought]) -> tuple[tuple[str, ...], ...]:
    """The diff IDs of those that are images."""
    return tuple(one.diff_ids for one in volumes if one.diff_ids is not None)
