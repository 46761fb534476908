"""Images as Docker's clients read them; pure.  What one version has and another has not: `versions.FIELDS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypercontainer.contract.images import Described, HistoryLine, ImageInspect, Removed, SearchResult
from hypercontainer.contract.images import ImageSummary as Image
from hypercontainer.engine.times import to_ns
from hypercontainer.image.reference import parse

Containers = Mapping[str, list[str]]  # an image's ID -> IDs of those that are of it

MISSING = "<missing>"  # the ID of what went into an image and is none itself


def seconds(created: str) -> int:
    """Unix time; 0 where nobody has said."""
    try:
        return to_ns(created) // 10**9
    except ValueError:
        return 0


def summary(image: Image, shared_bytes: int, users: Containers | None) -> dict[str, Any]:
    """``shared_bytes``: -1 where nobody asked; ``users`` None where nobody asked for manifests."""
    shown = {
        "Containers": image.containers,
        "Created": seconds(image.created),
        "Id": image.id,
        "Labels": image.labels or None,
        "ParentId": "",
        "Descriptor": descriptor(image),
        "RepoDigests": [parse(each).familiar() for each in image.repo_digests],
        "RepoTags": [parse(each).familiar() for each in image.references],
        "SharedSize": shared_bytes,
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
    }
    return _with_manifests(shown, image, users)


def descriptor(image: Image) -> dict[str, Any]:
    return {
        "mediaType": image.manifest_type,
        "digest": image.manifest_digest,
        "size": image.manifest_bytes,
    }


def _with_manifests(shown: dict[str, Any], image: Image, users: Containers | None) -> dict[str, Any]:
    """Of which an image here has one."""
    if users is None:
        return shown
    platform = {"architecture": image.architecture, "os": image.os}
    if image.variant:
        platform["variant"] = image.variant
    content, unpacked = image.content_bytes, image.size_bytes
    manifest = {
        "ID": image.manifest_digest,
        "Descriptor": descriptor(image) | {"platform": platform},
        "Available": True,
        "Size": {"Content": content, "Total": content + unpacked},
        "Kind": "unknown" if image.artifact_type else "image",
        "ImageData": {
            "Platform": platform,
            "Containers": users.get(image.id, []),
            "Size": {"Unpacked": unpacked},
        },
    }
    return shown | {"Manifests": [manifest]}


def inspected(image: ImageInspect, shown: dict[str, Any], users: Containers | None) -> dict[str, Any]:
    """``shown``: as `semantics.image_shape` has it; ``users`` as for `summary`."""
    return _with_manifests(shown | {"Descriptor": descriptor(image)}, image, users)


def history(lines: Sequence[HistoryLine]) -> list[dict[str, Any]]:
    return [
        {
            "Id": each.id or MISSING,
            "Created": seconds(each.created),
            "CreatedBy": each.created_by,
            "Tags": [parse(name).familiar() for name in each.references] or None,
            "Size": each.size_bytes,
            "Comment": each.comment,
        }
        for each in lines
    ]


def removed(lines: Sequence[Removed]) -> list[dict[str, str]]:
    return [
        {"Untagged": parse(each.untagged).familiar()} if each.untagged else {"Deleted": each.deleted}
        for each in lines
    ]


def distribution(found: Described) -> dict[str, Any]:
    return {
        "Descriptor": {"mediaType": found.media_type, "digest": found.digest, "size": found.size_bytes},
        "Platforms": list(found.platforms),
    }


def search(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "description": each.description,
            "star_count": each.stars,
            "is_official": each.official,
            "is_automated": False,
        }
        for each in results
    ]
