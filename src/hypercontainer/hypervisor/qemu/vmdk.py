"""Several raw files as one disk: a VMDK descriptor of flat extents (VMware's "Virtual Disk Format 1.1")."""

from __future__ import annotations

from collections.abc import Iterable

SECTOR_BYTES = 512


def descriptor(extents: Iterable[tuple[str, int]]) -> bytes:
    """The text for ``(file name as QEMU opens it, bytes)``, in disk order; bytes are multiples of 512.

    No line before the extents is blank: QEMU 7.2 takes the first extent twice after one.
    """
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        "CID=fffffffe",
        "parentCID=ffffffff",
        'createType="twoGbMaxExtentFlat"',
    ]
    lines += [f'RW {size // SECTOR_BYTES} FLAT "{name}" 0' for name, size in extents]
    return ("\n".join(lines) + "\n").encode()
