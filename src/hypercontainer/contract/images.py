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
    coming: bool = False  # it is used while its layers come


class ImageInspect(ImageSummary, frozen=True, kw_only=True):
    """``config`` is the image's config blob as it is, parsed; {} of an artifact."""

    config: dict[str, Any]
    layers: tuple[str, ...] = ()


class HistoryLine(Struct, frozen=True, kw_only=True):
    id: str
    created: str
    created_by: str
    size_bytes: int
    comment: str


class Removed(Struct, frozen=True, omit_defaults=True):
    """Exactly one of the two is set."""

    untagged: str = ""
    deleted: str = ""


class LayerProgress(Struct, frozen=True):
    layer: str
    status: str
    current: int
    total: int
