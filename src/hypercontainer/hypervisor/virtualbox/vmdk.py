"""A disk of raw files for VirtualBox: a VMDK descriptor of flat extents, which copies nothing."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.hypervisor.spec import DiskSpec

SECTOR_BYTES = 512
_NONE = str(uuid.UUID(int=0))
# What an old BIOS is told; the last of the cylinders may not be whole.
_HEADS, _SECTORS, _MOST_CYLINDERS = 16, 63, 16383


def descriptor(disk: DiskSpec, identity: uuid.UUID) -> bytes:
    """VirtualBox writes nothing into it that is there already: each medium has an ``identity`` of its own.

    Raises ``InvalidArgument`` for a path that cannot stand there.
    """
    access = "RDONLY" if disk.read_only else "RW"
    extents = [f'{access} {size // SECTOR_BYTES} FLAT "{_named(path)}" 0' for path, size in disk.extents]
    sectors = sum(size for _, size in disk.extents) // SECTOR_BYTES
    cylinders = max(1, min(_MOST_CYLINDERS, sectors // (_HEADS * _SECTORS)))
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        "CID=fffffffe",
        "parentCID=ffffffff",
        f'createType="{"monolithicFlat" if len(extents) == 1 else "twoGbMaxExtentFlat"}"',
        "",
        "# Extent description",
        *extents,
        "",
        "# The Disk Data Base",
        "#DDB",
        "",
        'ddb.virtualHWVersion = "4"',
        'ddb.adapterType="ide"',
        f'ddb.geometry.cylinders="{cylinders}"',
        f'ddb.geometry.heads="{_HEADS}"',
        f'ddb.geometry.sectors="{_SECTORS}"',
        f'ddb.uuid.image="{identity}"',
        f'ddb.uuid.parent="{_NONE}"',
        f'ddb.uuid.modification="{_NONE}"',
        f'ddb.uuid.parentmodification="{_NONE}"',
    ]
    return ("\n".join(lines) + "\n").encode()


def _named(path: Path) -> str:
    """Between quotation marks, for which there is no other way to be written."""
    name = str(path)
    if '"' in name or not name.isprintable():
        raise InvalidArgument(f"disk {name!r}: a VMDK descriptor cannot name it")
    return name


def check(disks: Sequence[DiskSpec]) -> None:
    """``NotSupported`` for what VirtualBox would open by its path, with its own rights, and read as it likes."""
    for disk in disks:
        path = disk.extents[0][0]
        if disk.format != "raw":
            what = f"VirtualBox is given raw disks, not {disk.format}"
        elif disk.user is not None:
            what = "VirtualBox opens a disk with its own rights, not with its user's"
        elif disk.device:
            what = "VirtualBox is given files, not block devices"
        else:
            continue
        raise NotSupported(f"disk {path}: {what}", hint="run it on QEMU: hypervisor qemu")
