"""What is answered of images, as ``answers.py`` has the rest."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class ImageSummary(Struct, frozen=True, kw_only=True):
    id: str
    references: tuple[str, ...]
    repo_digests: tuple[str, ...]
    created: str
    size_bytes: int
    architecture: str
    os: str
    variant: str = ""
    artifact_type: str = ""  # of what is no container image
    labels: dict[str, str] = field(default_factory=dict)
    containers: int = 0
    content_bytes: int = 0  # of its blobs as they came; ``size_bytes``: unpacked
    manifest_digest: str = ""
    manifest_type: str = ""
    manifest_bytes: int = 0
    coming: bool = False  # it is used while its layers come


class ImageInspect(ImageSummary, frozen=True, kw_only=True):
    """``config`` is the image's config blob as it is, parsed; {} of an artifact."""

    config: dict[str, Any]
    layers: tuple[str, ...] = ()
    tagged: str = ""  # when it last got a name, RFC 3339; "" where nobody knows


class HistoryLine(Struct, frozen=True, kw_only=True):
    id: str
    created: str
    created_by: str
    size_bytes: int
    comment: str
    references: tuple[str, ...] = ()  # the image's, of the newest step


class Removed(Struct, frozen=True, omit_defaults=True):
    """Exactly one of the two is set."""

    untagged: str = ""
    deleted: str = ""


class LayerProgress(Struct, frozen=True):
    layer: str
    status: str
    current: int
    total: int


class ImagesPruned(Struct, frozen=True):
    removed: tuple[Removed, ...]
    space_reclaimed_bytes: int


class PullTarget(Struct, frozen=True):
    """What a reference has led to at its registry, before anything more of it comes.  ``digest``: of the image, or of
    the index that it is in; ``known``: the reference leads to it here already, ``here``: or another one does."""

    digest: str
    known: bool
    here: bool


class Described(Struct, frozen=True):
    """What a registry has under a reference.  ``platforms``: architecture, os and, where it has one, variant."""

    digest: str
    media_type: str
    size_bytes: int  # of the manifest or index
    platforms: tuple[dict[str, str], ...]


class SearchResult(Struct, frozen=True):
    name: str
    description: str
    stars: int
    official: bool
