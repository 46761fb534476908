"""The calls of volumes and their snapshots, as ``calls.py`` has the rest."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.calls import Filters, Name, PlacePath, Request, Wrapper
from hypercontainer.contract.volumes import NfsShare, SnapshotInfo


class VolumeBody(Request, frozen=True):
    """``name`` None: it gets an ID, and is one that nobody has named.  ``nfs``: it is this directory of a server, and
    neither ``size_bytes`` nor ``kind`` is said."""

    name: Name | None = None
    size_bytes: Annotated[int, Meta(ge=1, le=2**62)] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    kind: str | None = None  # "disk" or "shared"; None: as hyperd is configured
    nfs: NfsShare | None = None


class ConvertVolumeBody(Request, frozen=True):
    """``size_bytes``: of a disk."""

    kind: str
    size_bytes: Annotated[int, Meta(ge=1, le=2**62)] | None = None


class ResizeVolumeBody(Request, frozen=True):
    size_bytes: Annotated[int, Meta(ge=1, le=2**62)]


class UnpackVolumeQuery(Request, frozen=True):
    """``replace``: a directory may take the place of a file, and a file that of a directory."""

    path: PlacePath
    replace: bool = False


class SnapshotBody(Request, frozen=True):
    """``snapshot`` None: named by the time."""

    snapshot: Name | None = None


class SnapshotQuery(Request, frozen=True):
    snapshot: Name


class RestoreBody(Request, frozen=True):
    snapshot: Name


class CloneBody(Request, frozen=True):
    """``snapshot`` None: of what the volume is now."""

    target: Name
    snapshot: Name | None = None
    labels: dict[str, str] = field(default_factory=dict)


class PruneVolumesBody(Request, frozen=True):
    """``filters``: all, label, label!."""

    all: bool = False
    filters: Filters = field(default_factory=dict)


class VolumeList(Wrapper, frozen=True):
    volumes: list[VolumeInfo]


class SnapshotList(Wrapper, frozen=True):
    snapshots: list[SnapshotInfo]


class VolumesPruned(Struct, frozen=True):
    removed: tuple[str, ...]
    space_reclaimed_bytes: int
