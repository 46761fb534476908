"""Bounds on what a layer may hold, and the refusal of what exceeds them or breaks the rules."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class LayerLimits:
    """``max_bytes``: the uncompressed tar.  ``max_entries``: files with the directories they imply.
    ``max_path_bytes``: a name from the root, Linux's PATH_MAX.  ``max_image_bytes``: the disk image's apparent
    size, which sparse files can make larger than the tar.  ``max_metadata_bytes``: names, link targets, xattrs
    and sparse maps, which are held in memory.  ``max_header_bytes``: one extended header of an entry."""

    max_bytes: int = 64 * GIB
    max_entries: int = 1_000_000
    max_path_bytes: int = 4096
    max_image_bytes: int = 1024 * GIB
    max_metadata_bytes: int = 256 * MIB
    max_header_bytes: int = MIB


class Refusal(Exception):
    """Why an entry is refused.  Internal: whoever knows layer and entry makes it a LayerError."""
