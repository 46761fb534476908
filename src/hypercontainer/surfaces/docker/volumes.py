"""Volumes, all of hyperd's own: driver `local`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from hypercontainer.config.loading import size
from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.volumes import NfsShare
from hypercontainer.engine.engine import Engine
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.semantics import volume_shape
from hypercontainer.surfaces.docker import absent
from hypercontainer.surfaces.docker.call import Call, done, found
from hypercontainer.surfaces.http.answers import Reply

_KINDS = ("disk", "shared")
_ELSEWHERE = {
    "tmpfs": "a volume in memory would be another one in each virtual machine: a service's `tmpfs` says the same",
    "none": "a directory of the host is no volume here: mount it where it is wanted, as /path:/target",
}


class Wish(Struct, frozen=True, rename="pascal"):
    name: str | None = None
    driver: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster: dict[str, Any] | None = field(default=None, name="ClusterVolumeSpec")


async def find(call: Call) -> Reply:
    volumes = await call.engine.volumes.find(filters=call.query.filters())
    return found({"Volumes": [shown(info, call.engine) for info in volumes], "Warnings": None})


async def inspect(call: Call) -> Reply:
    with _worded(call.name):
        return found(shown(await call.engine.volumes.inspect(call.name), call.engine))


def shown(info: VolumeInfo, engine: Engine) -> dict[str, Any]:
    told = msgspec.to_builtins(info)
    usual = info.kind == "disk" and info.size_bytes == engine.volumes.default_bytes
    return {
        **volume_shape.volume(told),
        "CreatedAt": f"{info.created[:19]}Z",
        "Labels": info.labels or None,
        "Options": None if usual else volume_shape.options(told),
    }


def used(info: VolumeInfo, engine: Engine) -> dict[str, Any]:
    """And what it takes."""
    return {**shown(info, engine), "UsageData": volume_shape.usage(msgspec.to_builtins(info))}


async def create(call: Call) -> Reply:
    wish = call.json(Wish, empty=True)
    if wish.cluster is not None:
        return await absent.of_swarm(call)
    name, driver = wish.name or "", wish.driver or volume_shape.DRIVER
    if driver != volume_shape.DRIVER:
        words = (
            f'create {name}: error looking up volume plugin {driver[:80]}: plugin "{driver[:80]}" not found'
        )
        raise NotFound(words)
    kind = _kind(wish.driver_opts or {}, f"create {name}")
    made = await call.engine.volumes.create(name or None, labels=wish.labels or {}, **kind)
    return found(shown(made, call.engine), 201)


def _kind(options: Mapping[str, str], what: str) -> dict[str, Any]:
    """What a new volume is, as arguments of the engine's."""
    kind = options.get("type", "")
    if kind in volume_shape.NFS_TYPES:
        _only(options, ("type", *volume_shape.NFS_OPTIONS), what)
        return {"nfs": msgspec.convert(volume_shape.share(options, what), NfsShare)}
    if why := _ELSEWHERE.get("none" if "bind" in options.get("o", "").split(",") else kind):
        raise InvalidArgument(f"{what}: {why}")
    _only(options, ("type", "size"), what)
    if kind not in ("", *_KINDS):
        raise InvalidArgument(
            f"{what}: volumes of type {kind[:80]!r} are not to be had", hint="disk, shared, nfs"
        )
    asked: dict[str, Any] = {"kind": kind} if kind else {}
    if text := options.get("size"):
        try:
            asked["size_bytes"] = size(text)
        except ValueError as error:
            raise InvalidArgument(f"{what}: invalid size {text[:80]!r}: {error}") from None
    return asked


def _only(options: Mapping[str, str], known: tuple[str, ...], what: str) -> None:
    for name in options:
        if name not in known:
            raise InvalidArgument(f'{what}: invalid option: "{name[:80]}"')


async def remove(call: Call) -> Reply:
    force = call.query.flag("force")
    with contextlib.suppress(*([NotFound] if force else [])), _worded(call.name):
        await call.engine.volumes.remove(call.name, force=force)
    return done()


async def prune(call: Call) -> Reply:
    """Before 1.42, of all volumes that nobody uses."""
    everything = call.version < (1, 42)
    pruned = await call.engine.volumes.prune(filters=call.query.filters(pruning=True), all=everything)
    return found({"VolumesDeleted": list(pruned.removed), "SpaceReclaimed": pruned.space_reclaimed_bytes})


@contextlib.contextmanager
def _worded(name: str) -> Iterator[None]:
    """A name that no volume may have is one that none has."""
    try:
        yield
    except (NotFound, InvalidArgument) as error:
        raise NotFound(f"get {name}: no such volume") from error
