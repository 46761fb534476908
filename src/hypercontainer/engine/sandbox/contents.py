"""What a VM is to have for those who live in it, as values: whose they are is the pod's to know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from hypercontainer.contract.volumes import DiskImage, NamedVolume, Volume


@dataclass(frozen=True)
class Brought:
    """A volume, and on whose behalf files of the host are opened for it; None: hyperd's own."""

    volume: Volume
    asked_by: int | None


def brought(volume: Volume, asked_by: int | None, written: Collection[str]) -> Brought:
    """``written``: names of volumes that somebody writes to.  A disk that nobody does is read-only for the VM, so that
    others can read it too."""
    if isinstance(volume.source, NamedVolume | DiskImage) and volume.name not in written:
        volume = msgspec.structs.replace(volume, read_only=True)
    return Brought(volume, asked_by)


@dataclass(frozen=True)
class Contents:
    """``name`` is for people; ``images``: the diff IDs of each container's; ``volumes``: all that may be mounted, by
    name."""

    name: str
    images: tuple[tuple[str, ...], ...]
    volumes: Mapping[str, Brought]

    @property
    def keeps_data(self) -> bool:
        """What the guest has written must be on its disks when the VM ends: some outlive it."""
        return any(
            isinstance(brought.volume.source, NamedVolume | DiskImage) and not brought.volume.read_only
            for brought in self.volumes.values()
        )
