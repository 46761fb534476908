"""How large a disk may be that comes from somewhere else."""

from __future__ import annotations

from hypercontainer.errors import InvalidArgument

SECTOR_BYTES = 512
MAX_BYTES = 1 << 44  # what a drive can hold


def check_size(name: str, size: int) -> None:
    """Of the disk ``name``; InvalidArgument."""
    if not 0 < size <= MAX_BYTES or size % SECTOR_BYTES:
        raise InvalidArgument(
            f"disk {name}: {size} bytes: a disk has a positive multiple of {SECTOR_BYTES}, at most {MAX_BYTES}"
        )
