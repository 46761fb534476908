"""A pod's volumes, and where its containers see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hypercontainer.contract.volumes import (
    ContentFile,
    Contents,
    EmptyDir,
    HostPath,
    ImageVolume,
    NamedVolume,
    NetworkDisk,
    NfsShare,
    Source,
    Volume,
    VolumeMount,
)
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import environment, names, quantity
from hypercontainer.kube.context import Context, exactly_one
from hypercontainer.kube.objects import Objects
from hypercontainer.kube.resources import Amounts

if TYPE_CHECKING:
    from lightkube.models import core_v1

_SOURCES = (
    "configMap", "downwardAPI", "emptyDir", "ephemeral", "hostPath", "image", "nfs", "persistentVolumeClaim",
    "projected", "rbd", "secret",
)  # fmt: skip
_EXPECT = {
    "": "",
    "Directory": "directory",
    "DirectoryOrCreate": "directory-or-create",
    "File": "file",
    "FileOrCreate": "file-or-create",
}


def volumes(spec: core_v1.PodSpec, own: Mapping[str, Amounts], ctx: Context) -> tuple[Volume, ...]:
    found: dict[str, Volume] = {}
    claimed: set[str] = set()
    for index, given in enumerate(spec.volumes or ()):
        path = f"spec.volumes[{index}]"
        names.label(given.name, ctx.at(f"{path}.name"))
        if given.name in found:
            raise InvalidArgument(f"{ctx.at(path)}: a volume {given.name!r} is there already")
        claim = given.persistentVolumeClaim
        read_only = any(one is not None and bool(one.readOnly) for one in (claim, given.nfs, given.rbd))
        if claim is not None:
            if claim.claimName in claimed:
                raise InvalidArgument(
                    f"{ctx.at(path)}: another volume has the claim {claim.claimName[:80]!r} already",
                    hint="mount that one in both places; volumeMounts have a readOnly of their own",
                )
            claimed.add(claim.claimName)
        found[given.name] = Volume(given.name, _source(given, own, ctx, path), read_only)
    return tuple(found.values())


def _source(given: core_v1.Volume, own: Mapping[str, Amounts], ctx: Context, path: str) -> Source:
    if all(getattr(given, name) is None for name in _SOURCES):
        return EmptyDir()  # what Kubernetes makes of a volume that says nothing
    path += "." + exactly_one(given, _SOURCES, ctx.at(path))
    if given.emptyDir is not None:
        return _empty(given.emptyDir, ctx, path)
    if given.hostPath is not None:
        return _host(given.hostPath, ctx, path)
    if given.image is not None:
        return _image(given.image, ctx, path)
    if given.rbd is not None:
        return _rbd(given.rbd, ctx, path)
    if given.nfs is not None:
        return NfsShare(given.nfs.server, names.absolute_path(given.nfs.path, ctx.at(f"{path}.path")))
    if given.persistentVolumeClaim is not None:
        return _claim(given.persistentVolumeClaim.claimName, ctx, path)
    if given.ephemeral is not None:
        template = given.ephemeral.volumeClaimTemplate
        if template is None:
            raise InvalidArgument(f"{ctx.at(path)}.volumeClaimTemplate: missing")
        return EmptyDir(size_bytes=claim_size(template.spec, ctx.at(f"{path}.volumeClaimTemplate")))
    files = _Files(own, ctx)
    default: int | None
    if given.configMap is not None:
        source, default = given.configMap, given.configMap.defaultMode
        files.keyed("ConfigMap", source.name, source.items, source.optional, path)
    elif given.secret is not None:
        secret, default = given.secret, given.secret.defaultMode
        files.keyed("Secret", secret.secretName, secret.items, secret.optional, path)
    elif given.downwardAPI is not None:
        default = given.downwardAPI.defaultMode
        files.downward(given.downwardAPI.items, path)
    else:
        assert given.projected is not None
        default = given.projected.defaultMode
        for index, one in enumerate(given.projected.sources or ()):
            files.projected(one, f"{path}.sources[{index}]")
    return Contents(tuple(files.found.values()), _mode(default, 0o644, ctx, f"{path}.defaultMode"))


def _empty(given: core_v1.EmptyDirVolumeSource, ctx: Context, path: str) -> EmptyDir:
    if given.medium not in (None, "", "Memory"):
        raise InvalidArgument(
            f"{ctx.at(path)}.medium: {given.medium[:60]!r} is not to be had", hint="Memory, or none"
        )
    size = quantity.to_bytes(given.sizeLimit, ctx.at(f"{path}.sizeLimit")) if given.sizeLimit else None
    return EmptyDir(given.medium == "Memory", size or None)


def _host(given: core_v1.HostPathVolumeSource, ctx: Context, path: str) -> HostPath:
    expect = _EXPECT.get(given.type or "")
    if expect is None:
        raise InvalidArgument(
            f"{ctx.at(path)}.type: a {given.type} of the host cannot be in a VM",
            hint="files and directories can",
        )
    return HostPath(names.absolute_path(given.path, ctx.at(f"{path}.path")), expect)


def _image(given: core_v1.ImageVolumeSource, ctx: Context, path: str) -> ImageVolume:
    reference = names.image(given.reference, ctx.at(f"{path}.reference"))
    return ImageVolume(reference, names.pull(reference, given.pullPolicy))


def _rbd(given: core_v1.RBDVolumeSource, ctx: Context, path: str) -> NetworkDisk:
    """An image of a cluster that the manifest says where to find; what it leaves out is as Kubernetes has it."""
    if given.fsType not in (None, "", "ext4"):
        raise InvalidArgument(f"{ctx.at(path)}.fsType: {given.fsType[:60]!r} cannot be mounted", hint="ext4")
    keyring = names.absolute_path(given.keyring or "/etc/ceph/keyring", ctx.at(f"{path}.keyring"))
    uri = f"rbd://{','.join(given.monitors or ())}/{given.pool or 'rbd'}/{given.image}"
    if not given.monitors:
        raise InvalidArgument(f"{ctx.at(path)}.monitors: missing")
    return NetworkDisk(uri, user=given.user or "admin", password_file=keyring)


def _claim(name: str, ctx: Context, path: str) -> NamedVolume:
    names.subdomain(name, ctx.at(f"{path}.claimName"))
    if len(name) > names.MAX_NAME_CHARS:
        raise names.invalid(ctx.at(f"{path}.claimName"), name, "volume's name", "at most 63 characters")
    claim = ctx.object("PersistentVolumeClaim", name)
    if claim is None:
        return NamedVolume(name)
    return claimed(name, claim.model.spec, f"{claim.subject}: spec")


def claims(objects: Objects) -> list[NamedVolume]:
    """The volumes that a manifest's PersistentVolumeClaims ask for, whether a pod uses them or not."""
    found = []
    for one in objects:
        if one.kind == "PersistentVolumeClaim":
            if len(one.name) > names.MAX_NAME_CHARS:
                raise names.invalid(one.subject, one.name, "volume's name", "at most 63 characters")
            found.append(claimed(one.name, one.model.spec, f"{one.subject}: spec"))
    return found


def claimed(name: str, spec: core_v1.PersistentVolumeClaimSpec | None, where: str) -> NamedVolume:
    """One that pods of several VMs may write to has the room of the host, however much is asked for."""
    size_bytes = claim_size(spec, where)
    if spec is not None and "ReadWriteMany" in (spec.accessModes or ()):
        return NamedVolume(name, type="shared")
    return NamedVolume(name, size_bytes)


def claim_size(spec: core_v1.PersistentVolumeClaimSpec | None, where: str) -> int:
    if spec is None:
        raise InvalidArgument(f"{where}: spec is missing")
    if spec.volumeMode == "Block":
        raise InvalidArgument(
            f"{where}.volumeMode: Block is not supported", hint="a volume carries a file system"
        )
    for mode in spec.accessModes or ():
        if mode not in ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"):
            raise InvalidArgument(f"{where}.accessModes: {mode[:60]!r} is not known")
    requests = (spec.resources.requests if spec.resources else None) or {}
    if extra := sorted(str(one) for one in set(requests) - {"storage"}):
        raise InvalidArgument(f"{where}.resources.requests.{extra[0][:60]}: not to be had of a volume")
    size = quantity.to_bytes(requests.get("storage", 0), f"{where}.resources.requests.storage")
    if not size:
        raise InvalidArgument(
            f"{where}.resources.requests.storage: missing", hint="say its size: storage: 1Gi"
        )
    return size


def _mode(given: int | None, default: int | None, ctx: Context, path: str) -> int:
    value = default if given is None else given
    assert value is not None
    if not 0 <= value <= 0o777:
        raise InvalidArgument(f"{ctx.at(path)}: {value} is no mode", hint="0 to 0777 (YAML), 0 to 511 (JSON)")
    return value


class _Files:
    """What comes together in one volume: of a path that is there twice the later, as in Kubernetes; none through a
    file."""

    def __init__(self, own: Mapping[str, Amounts], ctx: Context) -> None:
        self.found: dict[str, ContentFile] = {}
        self._named: set[str] = set()  # by items of a projected volume's sources
        self._directories: set[str] = set()
        self._own = own
        self._ctx = ctx

    def projected(self, given: core_v1.VolumeProjection, path: str) -> None:
        """One of several sources: only a path that two items name is an error."""
        path += "." + exactly_one(given, ("configMap", "downwardAPI", "secret"), self._ctx.at(path))
        sources = (given.configMap, given.secret, given.downwardAPI)
        named = [item.path for source in sources if source is not None for item in source.items or ()]
        for index, at in enumerate(named):
            if at in self._named:
                where = self._ctx.at(f"{path}.items[{index}].path")
                raise InvalidArgument(f"{where}: another item is at {at[:80]!r} already")
            self._named.add(at)
        if given.configMap is not None:
            self.keyed(
                "ConfigMap", given.configMap.name, given.configMap.items, given.configMap.optional, path
            )
        elif given.secret is not None:
            self.keyed("Secret", given.secret.name, given.secret.items, given.secret.optional, path)
        elif given.downwardAPI is not None:
            self.downward(given.downwardAPI.items, path)

    def keyed(
        self,
        kind: str,
        name: str | None,
        items: Iterable[core_v1.KeyToPath] | None,
        optional: bool | None,
        path: str,
    ) -> None:
        data = self._ctx.data(kind, name, optional, self._ctx.at(path))
        items = list(items or ())
        if not items:
            for key, content in data.items():
                self._add(key, content, None, path)
        for index, item in enumerate(items):
            where = f"{path}.items[{index}]"
            if item.key in data:
                self._add(item.path, data[item.key], item.mode, where)
            elif not optional:
                problem = f"{kind} {name!r} has no key {item.key[:80]!r}"
                raise InvalidArgument(f"{self._ctx.at(where)}: {problem}")

    def downward(self, items: Iterable[core_v1.DownwardAPIVolumeFile] | None, path: str) -> None:
        for index, item in enumerate(items or ()):
            where = f"{path}.items[{index}]"
            exactly_one(item, ("fieldRef", "resourceFieldRef"), self._ctx.at(where))
            if item.fieldRef is not None:
                text = environment.field_value(item.fieldRef, self._ctx, f"{where}.fieldRef", volume=True)
            else:
                assert item.resourceFieldRef is not None
                below = f"{where}.resourceFieldRef"
                text = environment.resource_value(item.resourceFieldRef, None, self._own, self._ctx, below)
            self._add(item.path, text.encode(), item.mode, where)

    def _add(self, path: str, content: bytes, mode: int | None, where: str) -> None:
        path = names.relative_path(path, self._ctx.at(where))
        self._ctx.spend(len(content) + len(path), where)
        parts = path.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if path in self._directories or not above.isdisjoint(self.found):
            raise InvalidArgument(
                f"{self._ctx.at(where)}: {path[:80]!r} would be a file and a directory of the volume"
            )
        checked = None if mode is None else _mode(mode, None, self._ctx, f"{where}.mode")
        self._directories |= above
        self.found[path] = ContentFile(path, content, checked)


def mounts(
    container: core_v1.Container,
    known: Iterable[str],
    variables: Mapping[str, str],
    ctx: Context,
    path: str,
) -> tuple[VolumeMount, ...]:
    """``known``: the pod's volumes."""
    known = set(known)
    found: dict[str, VolumeMount] = {}
    for index, given in enumerate(container.volumeMounts or ()):
        where = f"{path}.volumeMounts[{index}]"
        if given.name not in known:
            raise InvalidArgument(f"{ctx.at(where)}: the pod has no volume {given.name[:80]!r}")
        at = names.absolute_path(given.mountPath, ctx.at(f"{where}.mountPath"))
        if at == "/" or ":" in at or at in found:
            problem = "is mounted over twice" if at in found else "cannot be mounted over"
            raise InvalidArgument(f"{ctx.at(where)}.mountPath: {at[:80]!r} {problem}")
        if given.mountPropagation not in (None, "", "None"):
            raise InvalidArgument(
                f"{ctx.at(where)}.mountPropagation: {given.mountPropagation} is not supported"
            )
        if given.recursiveReadOnly in ("Enabled", "IfPossible") and not given.readOnly:
            raise InvalidArgument(f"{ctx.at(where)}.recursiveReadOnly: wants readOnly: true")
        sub_path = _sub_path(given, variables, ctx, where)
        found[at] = VolumeMount(given.name, at, sub_path, bool(given.readOnly))
    return tuple(found.values())


def _sub_path(given: core_v1.VolumeMount, variables: Mapping[str, str], ctx: Context, where: str) -> str:
    if given.subPath and given.subPathExpr:
        raise InvalidArgument(f"{ctx.at(where)}: subPath and subPathExpr exclude one another")
    if given.subPathExpr:
        field = ctx.at(f"{where}.subPathExpr")
        return names.relative_path(
            environment.expand(given.subPathExpr, variables, field, strict=True), field
        )
    return names.relative_path(given.subPath, ctx.at(f"{where}.subPath")) if given.subPath else ""
