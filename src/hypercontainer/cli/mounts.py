"""``-v`` and ``--mount`` as they are typed, and the volumes and mounts that the API is asked for (contract/volumes.py).

A named volume has its own name in the pod; a directory of the host and a volume without a name get one that no other
container of the pod has.
"""

from __future__ import annotations

import os

from hypercontainer.cli.disks import OF_DISK, OF_ISCSI, OF_MOUNT, OF_NBD, OF_RBD, disk_source
from hypercontainer.cli.disks import volume_name as disk_volume
from hypercontainer.cli.options import UsageError
from hypercontainer.cli.shares import OF_NFS, by_mount, by_options
from hypercontainer.cli.units import bytes_of
from hypercontainer.errors import NotSupported
from hypercontainer.semantics.volume_shape import NFS_OPTIONS, NFS_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hypercontainer.cli.options import Values

MAX_NAME = 255
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
# What each option of -v is about; as with Docker, each is spoken of once.
_ABOUT = {
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
_KEYS = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "volume-subpath": "subpath",
    "image-subpath": "subpath",
    "bind-propagation": "propagation",
}
_OF_TYPE = {
    "volume": frozenset(
        ("source", "target", "readonly", "volume-nocopy", "subpath", "volume-driver", "volume-opt")
    ),
    "bind": frozenset(("source", "target", "readonly", "propagation", "consistency")),
    "image": frozenset(("source", "target", "readonly", "subpath")),
    "disk": frozenset((*OF_MOUNT, *OF_DISK)),
    "nbd": frozenset((*OF_MOUNT, *OF_NBD)),
    "nfs": frozenset(OF_NFS),
    "iscsi": frozenset((*OF_MOUNT, *OF_ISCSI)),
    "rbd": frozenset((*OF_MOUNT, *OF_RBD)),
    "tmpfs": frozenset(("target", "readonly", "tmpfs-size", "tmpfs-mode")),
}
_REPEATED = "volume-opt"
_HINT = "[SOURCE:]PATH[:OPTIONS], such as data:/var/lib/data or ./site:/srv:ro"


def volume_name(text: str, what: str) -> str:
    if not text or len(text) > MAX_NAME or text[0] not in _LETTERS or not set(text) <= _LETTERS | set("_.-"):
        raise UsageError(
            f"invalid volume name {text!r} in {what}",
            hint=f"at most {MAX_NAME} letters, digits, '_', '.' and '-'; a directory begins with / or ./",
        )
    return text


class Mounts:
    """What one command line asks for; ``size_bytes`` is that of volumes that are new."""

    def __init__(self, size_bytes: int | None) -> None:
        self._size = {} if size_bytes is None else {"size_bytes": size_bytes}
        self._volumes: dict[tuple[str, str, bool], dict[str, Any]] = {}
        self._mounts: dict[str, dict[str, Any]] = {}
        self._tmpfs: list[dict[str, str]] = []

    def spec(self) -> dict[str, Any]:
        parts = {
            "volumes": list(self._volumes.values()),
            "mounts": list(self._mounts.values()),
            "tmpfs": self._tmpfs,
        }
        return {name: items for name, items in parts.items() if items}

    def _volume(self, source: str, name: str, what: dict[str, Any], *, read_only: bool = False) -> str:
        """The name of the volume; a host's directory that is never written is not writable for the VM either."""
        volume: dict[str, Any] = {"name": name, "source": what}
        if read_only:
            volume["read_only"] = True
        found = self._volumes.setdefault((what["kind"], source, read_only), volume)
        return str(found["name"])

    def add(
        self,
        source: str,
        path: str,
        typed: str,
        *,
        read_only: bool,
        copy: bool = True,
        subpath: str = "",
        new: dict[str, Any] | None = None,
    ) -> None:
        """``source``: "" (a new one of no name), a path of this host, or a volume's name; ``new``: what a new one is,
        where it is another than all."""
        new = self._size if new is None else new
        mount = self._mount(path, typed)
        if not source:
            name = f"anonymous-{os.urandom(8).hex()}"
            mount["volume"] = self._volume(name, name, {"kind": "named", **new})
        elif source.startswith("/") or source.partition("/")[0] in (".", ".."):
            mount["volume"] = self._host(source, read_only=read_only)
        else:
            what = {"kind": "named", "name": volume_name(source, repr(typed)), **new}
            mount["volume"] = self._volume(source, source, what)
        if copy and not self._is_host(mount["volume"]):
            mount["copy_up"] = True
        if read_only:
            mount["read_only"] = True
        if subpath:
            mount["sub_path"] = subpath

    def _mount(self, path: str, typed: str) -> dict[str, Any]:
        """A new one."""
        if not path.startswith("/") or path.strip("/") == "":
            raise UsageError(f"invalid mount {typed!r}: {path!r} is no absolute path below /", hint=_HINT)
        path = "/" + path.strip("/")
        if path in self._mounts:
            raise UsageError(f"duplicate mount point {path}")
        mount: dict[str, Any] = {"path": path}
        self._mounts[path] = mount
        return mount

    def _add_image(self, values: dict[str, str], typed: str) -> None:
        source = values.get("source", "")
        if not source:
            raise UsageError(f"invalid --mount {typed!r}: type image needs a source, the name of an image")
        _true(values, "readonly", typed)  # it is in any case, as with Docker
        mount = self._mount(values["target"], typed)
        what = {"kind": "image", "reference": source}
        mount["volume"] = self._volume(source, f"image-{os.urandom(8).hex()}", what)
        mount["read_only"] = True
        _part(mount, values)

    def _add_own(self, kind: str, values: dict[str, str], typed: str) -> None:
        """A disk of the user's, or a server's directory: what two containers of a pod mount is one volume of theirs."""
        source = by_mount(values, typed) if kind == "nfs" else disk_source(kind, values, typed)
        mount = self._mount(values["target"], typed)
        where = repr(source) if kind == "nfs" else source.get("path") or source["uri"]
        mount["volume"] = self._volume(where, disk_volume(where, "nfs" if kind == "nfs" else "disk"), source)
        is_snapshot = kind == "rbd" and "@" in where  # which nobody can write to
        if _true(values, "readonly", typed) or is_snapshot:
            mount["read_only"] = True
        _part(mount, values)

    def _host(self, source: str, *, read_only: bool) -> str:
        where = os.path.abspath(source)  # noqa: PTH100
        what: dict[str, Any] = {"kind": "host", "path": where}
        if not os.path.lexists(where):
            what["expect"] = "directory-or-create"  # as Docker does for -v
        return self._volume(where, f"host-{os.urandom(8).hex()}", what, read_only=read_only)

    def _is_host(self, name: str) -> bool:
        return any(v["name"] == name and v["source"]["kind"] == "host" for v in self._volumes.values())

    def short_form(self, typed: str) -> None:
        """``-v``'s value."""
        source, path, options = "", typed, None
        parts = typed.split(":")
        if len(parts) == 2 and not parts[1].startswith("/") and parts[0].startswith("/"):
            path, options = parts  # /path:ro
        elif len(parts) in (2, 3):
            source, path, options = parts[0], parts[1], parts[2] if parts[2:] else None
            if not source:
                raise UsageError(f"invalid --volume {typed!r}: no source before the colon", hint=_HINT)
        elif len(parts) > 3:
            raise UsageError(f"invalid --volume {typed!r}: too many colons", hint=_HINT)
        said = _options(typed, options)
        self.add(source, path, typed, read_only=said.get("access") == "ro", copy="copy" not in said)

    def long_form(self, typed: str) -> None:
        """``--mount``'s value."""
        values = _fields(typed)
        kind = values.pop("type", "volume")
        if kind not in _OF_TYPE:
            *types, last = _OF_TYPE
            raise NotSupported(
                f"--mount {typed}: there is no type {kind!r} here", hint=f"{', '.join(types)} or {last}"
            )
        for key in values:
            if key not in _OF_TYPE[kind]:
                raise NotSupported(f"--mount {typed}: {key!r} is not for type {kind}")
        if not values.get("target"):
            raise UsageError(f"invalid --mount {typed!r}: no target", hint="target=/path/in/the/container")
        if kind == "tmpfs":
            self._add_tmpfs(values, typed)
            return
        source = values.get("source", "")
        if kind == "image":
            self._add_image(values, typed)
            return
        if kind in ("disk", "nbd", "iscsi", "nfs", "rbd"):
            self._add_own(kind, values, typed)
            return
        if kind == "bind":
            source = _existing(source, typed)
            if _ABOUT.get(values.get("propagation", "rprivate")) != "propagation":
                raise NotSupported(
                    f"--mount {typed}: nothing propagates between the host and a virtual machine"
                )
        elif source:
            volume_name(source, repr(typed))
        self.add(
            source,
            values["target"],
            typed,
            read_only=_true(values, "readonly", typed),
            copy=not _true(values, "volume-nocopy", typed),
            subpath=values.get("subpath", ""),
            new=_new_volume(values, typed),
        )

    def _add_tmpfs(self, values: dict[str, str], typed: str) -> None:
        options = ["ro"] if _true(values, "readonly", typed) else []
        if "tmpfs-size" in values:
            options.append(f"size={bytes_of(values['tmpfs-size'], 'tmpfs-size')}")
        if "tmpfs-mode" in values:
            options.append(f"mode={values['tmpfs-mode']}")
        if not values["target"].startswith("/"):
            raise UsageError(f"invalid --mount {typed!r}: the target is not absolute")
        self._tmpfs.append({"path": values["target"], "options": ",".join(options)})


def _options(typed: str, text: str | None) -> dict[str, str]:
    """By what they are about; ``text`` None: none were given."""
    said: dict[str, str] = {}
    for option in [] if text is None else text.split(","):
        word = "ro" if option == "readonly" else option
        if not word:
            raise UsageError(f"invalid --volume {typed!r}: an empty option", hint=_HINT)
        if word not in _ABOUT:
            raise NotSupported(f"--volume {typed}: there is no option {word!r} here", hint="ro, rw, nocopy")
        if _ABOUT[word] in said:
            raise UsageError(
                f"invalid --volume {typed!r}: {said[_ABOUT[word]]!r} and {word!r} are both given", hint=_HINT
            )
        said[_ABOUT[word]] = word
    return said


def items_of(typed: str) -> list[str]:
    """What commas separate; what has one of its own stands in quotes."""
    if '"' not in typed:
        return typed.split(",")
    from csv import reader

    return next(reader([typed]), [])


def _fields(typed: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for item in items_of(typed):
        key, equals, value = item.partition("=")
        key = _KEYS.get(key.strip().lower(), key.strip().lower())
        if key == _REPEATED and key in values:
            value = f"{values.pop(key)}\n{value}"
        if not key or key in values:
            raise UsageError(
                f"invalid --mount {typed!r}: {'said twice: ' + key if key else 'an empty field'}",
                hint="such as type=volume,source=data,target=/data,readonly",
            )
        values[key] = value if equals else "true"
    return values


def _new_volume(values: dict[str, str], typed: str) -> dict[str, Any] | None:
    """By ``volume-opt``; NotSupported for what no volume here has."""
    if (driver := values.get("volume-driver", "local")) != "local":
        raise NotSupported(
            f"--mount {typed}: volume-driver {driver}: volumes are hyperd's own disks", hint="leave it out"
        )
    said = filter(None, values.get(_REPEATED, "").split("\n"))
    options = {name: value for name, _, value in (option.partition("=") for option in said)}
    if options.get("type") in NFS_TYPES and options.keys() <= {"type", *NFS_OPTIONS}:
        return {"nfs": by_options(options, f"--mount {typed}")}
    if unknown := sorted(options.keys() - {"size"}):
        raise NotSupported(
            f"--mount {typed}: volume-opt {unknown[0]}: there are 'size', and of type=nfs 'o' and 'device'"
        )
    return {"size_bytes": bytes_of(options["size"], "volume-opt size")} if options else None


def _part(mount: dict[str, Any], values: dict[str, str]) -> None:
    """Of the volume, where not all of it is mounted."""
    if subpath := values.get("subpath", ""):
        mount["sub_path"] = subpath


def _true(values: dict[str, str], key: str, typed: str) -> bool:
    value = values.get(key, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise UsageError(f"invalid --mount {typed!r}: {key} is true or false")
    return value in ("true", "1")


def _existing(source: str, typed: str) -> str:
    """As Docker has it: type=bind makes nothing."""
    if not source:
        raise UsageError(f"invalid --mount {typed!r}: type bind needs a source")
    where = os.path.abspath(source)  # noqa: PTH100
    if not os.path.lexists(where):
        raise UsageError(f"invalid --mount {typed!r}: {where} does not exist", hint="-v makes a directory")
    return where


def mounts_spec(values: Values) -> dict[str, Any]:
    """``volumes``, ``mounts`` and ``tmpfs`` of a ContainerSpec, those of them that were asked for."""
    size = bytes_of(values.text("volume-size"), "--volume-size") if values.given("volume-size") else None
    mounts = Mounts(size)
    for item in values.many("volume"):
        mounts.short_form(item)
    for item in values.many("mount"):
        mounts.long_form(item)
    return mounts.spec()
