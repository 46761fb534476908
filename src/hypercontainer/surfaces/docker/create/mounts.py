"""Binds, Mounts, Tmpfs, Volumes and VolumesFrom of the body: volumes and mounts (contract/volumes.py)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hypercontainer.contract.sizes import size_bytes
from hypercontainer.contract.spec import ContainerSpec, Tmpfs
from hypercontainer.contract.volumes import (
    HostPath,
    ImageVolume,
    NamedVolume,
    Source,
    Volume,
    VolumeMount,
)
from hypercontainer.engine.names import NAME
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.surfaces.docker.create import body
from hypercontainer.surfaces.docker.create.body import Body, HostConfig

# What each option of a bind is about; as with Docker, each is spoken of once.
_ABOUT: Final = {
    "ro": "access",
    "rw": "access",
    "nocopy": "copy",
    "z": "label",
    "Z": "label",
    "cached": "consistency",
    "consistent": "consistency",
    "delegated": "consistency",
    "private": "propagation",
    "rprivate": "propagation",
}
_PROPAGATES: Final = frozenset(("shared", "rshared", "slave", "rslave"))
PROPAGATION: Final = "nothing propagates between the host and a VM: its mounts are private"
_DRIVER: Final = "volumes are hyperd's own; there is the driver 'local'"


@dataclass(frozen=True)
class _Wish:
    """``volume``: what is mounted, unless it is one that is there already, by ``name``."""

    path: str
    source: Source | None
    name: str = ""
    read_only: bool = False
    copy: bool = True
    sub_path: str = ""


class Mounts:
    """What one container asks for, place by place; ``taken`` says what is at each."""

    def __init__(self) -> None:
        self.volumes: dict[tuple[Any, ...], Volume] = {}
        self.mounts: dict[str, VolumeMount] = {}
        self.tmpfs: dict[str, Tmpfs] = {}

    def add(self, wish: _Wish) -> None:
        path = self._place(wish.path)
        volume = self._volume(wish)
        host = isinstance(volume.source, HostPath)
        copy = wish.copy and isinstance(volume.source, NamedVolume)
        self.mounts[path] = VolumeMount(
            volume.name, path, wish.sub_path, read_only=wish.read_only, copy_up=copy and not host
        )

    def add_tmpfs(self, path: str, options: str) -> None:
        place = self._place(path)
        self.tmpfs[place] = Tmpfs(place, options)

    def has(self, path: str) -> bool:
        return path in self.mounts or path in self.tmpfs

    def _place(self, path: str) -> str:
        clean = cleaned(path)
        if self.has(clean):
            raise InvalidArgument(f"Duplicate mount point: {clean}")
        return clean

    def _volume(self, wish: _Wish) -> Volume:
        """One that two places want is one; a directory that is only read cannot be written by the VM either."""
        source, read_only = wish.source, wish.read_only and isinstance(wish.source, HostPath)
        assert source is not None
        what = getattr(source, "path", "") or getattr(source, "reference", "") or wish.name
        key = (type(source), what or cleaned(wish.path), read_only)
        name = wish.name or f"{_PREFIX[type(source)]}-{os.urandom(8).hex()}"
        return self.volumes.setdefault(key, Volume(name, source, read_only=read_only))


_PREFIX: Final = {HostPath: "host", NamedVolume: "anonymous", ImageVolume: "image"}


def cleaned(path: str) -> str:
    """As the container has it."""
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid mount path: {path!r} mount path must be absolute")
    clean = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    if clean == "/":
        raise InvalidArgument("invalid specification: destination can't be '/'")
    return clean


def fields(
    given: Body, host: HostConfig, from_others: Iterable[tuple[ContainerSpec, bool]]
) -> dict[str, Any]:
    """``volumes``, ``mounts`` and ``tmpfs`` of a ContainerSpec.  ``from_others``: the containers of VolumesFrom, and
    whether theirs are only to be read."""
    made = Mounts()
    for typed in host.binds or ():
        made.add(_bind(typed))
    for mount in host.mounts or ():
        _long_form(made, mount)
    for path, options in (host.tmpfs or {}).items():
        made.add_tmpfs(path, options)
    for typed in given.volumes or ():
        path, _, options = typed.partition(":")  # some clients leave a bind's options at its target
        if not made.has(cleaned(path)):
            made.add(_Wish(path, NamedVolume(), read_only="ro" in options.split(",")))
    for spec, read_only in from_others:
        _take_over(made, spec, read_only=read_only)
    return {
        "volumes": tuple(made.volumes.values()),
        "mounts": tuple(made.mounts.values()),
        "tmpfs": tuple(made.tmpfs.values()),
    }


def _bind(typed: str) -> _Wish:
    parts = typed.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts[:2]):
        raise InvalidArgument(f"invalid volume specification: {typed!r}")
    if len(parts) == 1 or (len(parts) == 2 and parts[0].startswith("/") and not parts[1].startswith("/")):
        source, path, options = "", parts[0], parts[1] if parts[1:] else ""
    else:
        source, path, options = parts[0], parts[1], parts[2] if parts[2:] else ""
    said = _options(typed, options)
    found, name = _source(source, typed)
    return _Wish(path, found, name, read_only=said.get("access") == "ro", copy="copy" not in said)


def _options(typed: str, text: str) -> dict[str, str]:
    said: dict[str, str] = {}
    for word in filter(None, text.split(",")):
        if word in _PROPAGATES:
            raise NotSupported(f"{typed}: {word}: {PROPAGATION}")
        about = _ABOUT.get(word)
        if about is None or about in said:
            raise InvalidArgument(f"invalid volume specification: {typed!r}: invalid mode: {text}")
        said[about] = word
    return said


def _source(source: str, typed: str) -> tuple[Source, str]:
    """And the volume's name, of one that has one."""
    if not source:
        return NamedVolume(), ""
    if source.startswith("/"):
        return HostPath(source, "any-or-create"), ""
    if not NAME.fullmatch(source):
        raise InvalidArgument(
            f"create {source}: {source!r} includes invalid characters for a local volume name, only "
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    return NamedVolume(source), source


# ------------------------------------------------------------------------------------- Mounts


def _long_form(made: Mounts, mount: body.Mount) -> None:
    if not mount.target:
        raise _bad(mount, "field Target must not be empty")
    kind = mount.type or ""
    if kind == "tmpfs":
        made.add_tmpfs(mount.target, _tmpfs(mount))
    elif (make := _KINDS.get(kind)) is not None:
        made.add(make(mount, mount.target))
    else:
        raise _bad(mount, f"mount type unknown: {kind!r}")


def _bad(mount: body.Mount, why: str) -> InvalidArgument:
    return InvalidArgument(f"invalid mount config for type {(mount.type or '')!r}: {why}".replace("'", '"'))


def _host(mount: body.Mount, target: str) -> _Wish:
    options = mount.bind_options or body.BindOptions()
    if not mount.source:
        raise _bad(mount, "field Source must not be empty")
    if not mount.source.startswith("/"):
        raise _bad(mount, f"invalid mount path: {mount.source!r} mount path must be absolute")
    if _ABOUT.get(options.propagation or "rprivate") != "propagation":
        raise NotSupported(f"mount of {target}: {options.propagation}: {PROPAGATION}")
    expect = "any-or-create" if options.create_mountpoint else ""
    return _Wish(target, HostPath(mount.source, expect), read_only=bool(mount.read_only))


def _named(mount: body.Mount, target: str) -> _Wish:
    options = mount.volume_options or body.VolumeOptions()
    if mount.source and not NAME.fullmatch(mount.source):
        raise _bad(mount, f"{mount.source!r} is no name of a volume")
    if mount.read_only and not mount.source:
        raise _bad(mount, "must not set ReadOnly mode when using anonymous volumes")
    made = NamedVolume(
        mount.source or "",
        labels=options.labels or {},
        **_made_by(options.driver_config or body.VolumeDriver()),
    )
    return _Wish(
        target,
        made,
        mount.source or "",
        read_only=bool(mount.read_only),
        copy=not options.no_copy,
        sub_path=options.subpath or "",
    )


def _made_by(driver: body.VolumeDriver) -> dict[str, Any]:
    """What a new volume is."""
    if driver.name not in (None, "", "local"):
        raise NotSupported(f"volume driver {driver.name}: {_DRIVER}")
    options = dict(driver.options or {})
    size = options.pop("size", None)
    if options:
        raise NotSupported(
            f"volume option {min(options)}: here there is 'size'; a volume with others can be created before"
        )
    return {} if size is None else {"size_bytes": _size(size, "volume option size")}


def _size(text: str, what: str) -> int:
    try:
        return size_bytes(text)
    except ValueError as error:
        raise InvalidArgument(f"{what}: {text[:40]!r} {error}") from None


def _image(mount: body.Mount, target: str) -> _Wish:
    if not mount.source:
        raise _bad(mount, "field Source must not be empty")
    subpath = (mount.image_options or body.ImageOptions()).subpath or ""
    source = ImageVolume(mount.source, pull="never")
    return _Wish(target, source, read_only=True, copy=False, sub_path=subpath)


_KINDS: Final = {"bind": _host, "volume": _named, "image": _image}


def _tmpfs(mount: body.Mount) -> str:
    if mount.source:
        raise _bad(mount, "field Source must not be specified")
    options = mount.tmpfs_options or body.TmpfsOptions()
    words = ["ro"] if mount.read_only else []
    words += [f"size={options.size_bytes}"] if options.size_bytes else []
    words += [f"mode={options.mode:o}"] if options.mode else []
    return ",".join([*words, *("=".join(pair) for pair in options.options or ())])


def storage(options: Mapping[str, str]) -> int | None:
    """The size of the writable disk, of StorageOpt."""
    if unknown := sorted(options.keys() - {"size"}):
        raise NotSupported(f"StorageOpt {unknown[0]}: there is 'size', of the writable disk")
    return _size(options["size"], "StorageOpt size") if options else None


# ------------------------------------------------------------------------------------- VolumesFrom


def others(typed: Sequence[str]) -> list[tuple[str, bool]]:
    """Of ``NAME[:ro|rw]``: the container, and whether its volumes are only to be read."""
    found = []
    for text in typed:
        name, _, mode = text.partition(":")
        if not name or _ABOUT.get(mode or "rw") not in ("access", "label"):
            raise InvalidArgument(f"invalid volumes-from: {text!r}")
        found.append((name, mode == "ro"))
    return found


def _take_over(made: Mounts, spec: ContainerSpec, *, read_only: bool) -> None:
    known = {volume.name: volume for volume in spec.volumes}
    for mount in spec.mounts:
        if (volume := known.get(mount.volume)) is None:
            raise NotSupported(
                f"the volume at {mount.path} is that of a pod, which its containers alone mount"
            )
        if not made.has(mount.path):
            made.add(
                _Wish(
                    mount.path,
                    volume.source,
                    volume.name,
                    read_only=read_only or mount.read_only,
                    copy=False,
                    sub_path=mount.sub_path,
                )
            )
