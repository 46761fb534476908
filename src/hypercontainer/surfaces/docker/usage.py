"""What everything takes on the disk: ``docker system df``.

Up to 1.51 the answer has all things one by one, and the client adds them up; from 1.52 on there are sums, with the
things where ``verbose`` asks for them.  1.52 has both, where it does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypercontainer.contract.answers import Summary
from hypercontainer.contract.images import ImageSummary
from hypercontainer.engine.build.builds import Cached
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.surfaces.docker import image_views, listing, versions, volumes
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.http.answers import Reply

# By their names in a query: what a list of them is called, and their sums.
_KINDS = {
    "image": ("Images", "ImageUsage"),
    "container": ("Containers", "ContainerUsage"),
    "volume": ("Volumes", "VolumeUsage"),
    "build-cache": ("BuildCache", "BuildCacheUsage"),
}
_TYPED, _SUMMED = (1, 42), (1, 52)  # since when kinds can be chosen, and there are sums
_IN_USE = ("running", "paused", "restarting")


@dataclass(frozen=True)
class _Of:
    """Of one kind.  ``active``: how many are in use."""

    things: list[dict[str, Any]]
    active: int
    size_bytes: int
    reclaimable_bytes: int

    def sums(self, *, items: bool) -> dict[str, Any]:
        return {
            "ActiveCount": self.active,
            "TotalCount": len(self.things),
            "TotalSize": self.size_bytes,
            "Reclaimable": self.reclaimable_bytes,
            **({"Items": self.things} if items else {}),
        }


async def usage(call: Call) -> Reply:
    wanted = _wanted(call)
    told = await call.engine.system.disk_usage()
    totals = told["totals"]
    shared = await call.engine.images.shared_bytes()
    kinds = {
        "image": _images(told["images"], shared, totals, call),
        "container": await _containers(told["containers"], totals, call),
        "volume": _volumes([volumes.used(each, call.engine) for each in told["volumes"]], totals),
        "build-cache": _cached(await call.engine.builds.cache() if "build-cache" in wanted else ()),
    }
    shown: dict[str, Any] = {}
    if call.version < _SUMMED:
        shown = {
            "BuilderSize": kinds["build-cache"].size_bytes,
            "LayersSize": 0,
            **{listed: None for listed, _ in _KINDS.values()},
        }
    verbose = call.version >= _SUMMED and call.query.flag("verbose")
    for kind in wanted:
        listed, sums = _KINDS[kind]
        if not verbose:
            shown[listed] = kinds[kind].things
            shown |= {"LayersSize": kinds[kind].size_bytes} if kind == "image" else {}
        if call.version >= _SUMMED:
            shown[sums] = kinds[kind].sums(items=verbose)
    return found(versions.shaped("usage", shown, call.version))


def _wanted(call: Call) -> Sequence[str]:
    given = call.query.many("type") if call.version >= _TYPED else []
    if unknown := [each for each in given if each not in _KINDS]:
        raise InvalidArgument(f"unknown object type: {unknown[0][:80]}", hint=", ".join(_KINDS))
    return given or list(_KINDS)


def _images(
    images: Sequence[ImageSummary], shared: Mapping[str, int], totals: Mapping[str, int], call: Call
) -> _Of:
    """As they came, and what was made of their layers."""
    shown = [image_views.summary(each, shared.get(each.id, 0), None) for each in images]
    return _Of(
        versions.shaped("images", shown, call.version),
        sum(each.containers > 0 for each in images),
        totals["images_bytes"] + totals["layers_bytes"],
        totals["images_reclaimable_bytes"] + totals["layers_reclaimable_bytes"],
    )


async def _containers(containers: Sequence[Summary], totals: Mapping[str, int], call: Call) -> _Of:
    shown = []
    for each in containers:
        with contextlib.suppress(NotFound):  # removed meanwhile
            line = await listing.as_listed(await call.container(each.id), each.image, call.version, {})
            shown.append({**line, "SizeRw": each.size_bytes or 0})
    return _Of(
        shown,
        sum(each.state in _IN_USE for each in containers),
        totals["containers_bytes"],
        totals["containers_reclaimable_bytes"],
    )


def _cached(things: Sequence[Cached]) -> _Of:
    """What is shared with images counts with these."""
    own = [each for each in things if not each.shared]
    return _Of(
        [_cache(each) for each in things],
        sum(each.in_use for each in things),
        sum(each.size for each in own),
        sum(each.size for each in own if not each.in_use),
    )


def _cache(of: Cached) -> dict[str, Any]:
    parents = of.parents or ([of.parent] if of.parent else [])
    return {
        "ID": of.id,
        "Parent": parents[0] if parents else "",
        "Parents": list(parents) or None,
        "Type": of.type,
        "Description": of.description,
        "InUse": of.in_use,
        "Shared": of.shared,
        "Size": of.size,
        "CreatedAt": of.created_at,
        "LastUsedAt": of.last_used_at,
        "UsageCount": of.usage_count,
    }


def _volumes(shown: list[dict[str, Any]], totals: Mapping[str, int]) -> _Of:
    used = sum(each["UsageData"]["RefCount"] > 0 for each in shown)
    return _Of(shown, used, totals["volumes_bytes"], totals["volumes_reclaimable_bytes"])
