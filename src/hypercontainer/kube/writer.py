"""PodSpecs -> a manifest that plays them again: v1 Pods, the claims and ConfigMaps that they need.

A pod that was made of a manifest gives that back; any other is written down from its PodSpec.  What Kubernetes has no
word for stands in comments at the top, by name; a pod whose containers would not find their disk is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from msgspec import structs

from hypercontainer.contract.spec import ContainerSpec, PodSpec, Tmpfs
from hypercontainer.contract.volumes import (
    ContentFile,
    Contents,
    EmptyDir,
    HostPath,
    ImageVolume,
    InjectedFile,
    NamedVolume,
    NetworkDisk,
    NfsShare,
    Volume,
)
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import documents, writer_container
from hypercontainer.kube.names import is_subdomain
from hypercontainer.kube.names import labels as check_labels
from hypercontainer.kube.writer_container import Document, without_empty

DEFAULT_STOP_S = 10
_FROM_SERVER = (
    "creationTimestamp deletionGracePeriodSeconds deletionTimestamp generation managedFields ownerReferences "
    "resourceVersion selfLink uid"
).split()
# What belongs to a pod as a whole; a container alone says it itself.
NOTED = (
    "accelerator auto_remove disk_size_bytes domainname host_loopback hypervisor initrd kernel kernel_args mac_address "
    "network_policy networks secret_headers services shm_size_bytes template"
).split()
_HOST_TYPES = {
    "directory": "Directory",
    "directory-or-create": "DirectoryOrCreate",
    "file": "File",
    "file-or-create": "FileOrCreate",
}
_RBD = re.compile(r"rbd://([^/@]+)/([^/@%]+)/([^/@%]+)")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


class Names(NamedTuple):
    """As the engine has them; the containers' in the order of ``PodSpec.containers``."""

    pod: str
    containers: tuple[str, ...]


def generate(
    pods: Sequence[tuple[PodSpec, Names]],
    *,
    volume_sizes: Mapping[str, int] | None = None,
    new_volume_bytes: int = 1 << 30,
) -> str:
    """``volume_sizes``: of named volumes, in bytes, where a PodSpec does not say it; ``new_volume_bytes``: what those
    get that are not made yet."""
    sizes, notes = dict(volume_sizes or {}), []
    claims: dict[str, Document] = {}
    found: list[Document] = []
    for spec, names in pods:
        pod = _Pod(spec, names)
        made = pod.from_manifest() if spec.manifest else pod.whole()
        for volume in _all_volumes(spec):
            if isinstance(volume.source, NamedVolume):
                # What a manifest names without making it is another manifest's.
                new = None if spec.manifest else new_volume_bytes
                if size := volume.source.size_bytes or sizes.get(volume.source.name, new):
                    name = pod.claim(volume.source.name)
                    claims[name] = _claim(name, size)
        found += [*pod.config_maps, made]
        if pod.notes:
            notes.append(
                f"# Pod/{made['metadata']['name']}: not in this manifest: {', '.join(sorted(pod.notes))}\n"
            )
    return "".join(notes) + "---\n".join(map(_dump, (*claims.values(), *found)))


def _claim(name: str, size: int) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": str(size)}}},
    }


def _all_volumes(spec: PodSpec) -> Iterable[Volume]:
    yield from spec.volumes
    for member in spec.containers:
        yield from member.volumes


def _rbd(disk: NetworkDisk) -> Document:
    """{} where a manifest cannot say it: of a cluster of hyperd's configuration, of a namespace, a snapshot."""
    match = _RBD.fullmatch(disk.uri)
    if match is None or not disk.password_file:
        return {}
    monitors, pool, image = match.groups()
    where = {"monitors": monitors.split(","), "pool": pool, "image": image}
    return where | {"user": disk.user, "keyring": disk.password_file}


def _dns_label(text: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:63].strip("-") or "x"


class _Pod:
    def __init__(self, spec: PodSpec, names: Names) -> None:
        self.spec = spec
        self.name = spec.name if spec.manifest and spec.name else _dns_label(names.pod)
        self.names = names
        self.notes: set[str] = set()
        self.config_maps: list[Document] = []
        self._volumes: list[Document] = []
        self._taken: set[str] = set()

    def from_manifest(self) -> Document:
        document: Document = json.loads(self.spec.manifest)
        document.pop("status", None)
        metadata = document["metadata"]
        for key in _FROM_SERVER:
            metadata.pop(key, None)
        document["metadata"] = without_empty(metadata)
        inside = document["spec"]
        given = [*(inside.get("initContainers") or ()), *inside["containers"]]
        known = {f"{self.name}-{one['name']}" for one in given}
        self._taken = {one["name"] for one in (*given, *(inside.get("volumes") or ()))}
        added = [
            (one, name)
            for one, name in zip(self.spec.containers, self.names.containers, strict=True)
            if name not in known
        ]
        if added:
            shared = {one.name: one.name for one in self.spec.volumes}
            inside["containers"] = [*inside["containers"], *(self._member(*one, shared) for one in added)]
            inside["volumes"] = [*(inside.get("volumes") or ()), *self._volumes]
            _say_system(inside)
        return document

    def whole(self) -> Document:
        spec = self.spec
        shared = {one.name: self._volume(one) for one in spec.volumes}
        members = list(zip(spec.containers, self.names.containers, strict=True))
        main = [self._member(one, name, shared) for one, name in members if one.role == "main"]
        before = [self._member(one, name, shared) for one, name in members if one.role != "main"]
        if not main:
            raise InvalidArgument(f"pod {self.name} has no container", hint="a manifest has one at least")
        self._note(spec)
        for member, _ in members:
            self._note(member)
        self._publish(main[0])
        metadata = {"name": self.name, "labels": self._labels(), "annotations": dict(spec.annotations)}
        body = {"initContainers": before, "containers": main, "volumes": self._volumes, **self._shared()}
        _say_system(body)
        restart = {one["restartPolicy"] for one in main}
        if len(restart) == 1:
            body["restartPolicy"] = restart.pop()
            for one in main:
                del one["restartPolicy"]
        made = {"metadata": without_empty(metadata), "spec": without_empty(body)}
        return {"apiVersion": "v1", "kind": "Pod", **made}

    def _all(self, field: str) -> list[Any]:
        """What the pod says and what its containers say, each once: one alone says itself what is a pod's."""
        everybody = (self.spec, *self.spec.containers)
        return list(dict.fromkeys(value for one in everybody for value in getattr(one, field)))

    def _note(self, given: PodSpec | ContainerSpec) -> None:
        defaults = {one.name: one.default for one in structs.fields(type(given))}
        for field in NOTED:
            if field in defaults and getattr(given, field) != defaults[field]:
                self.notes.add(field)

    def _labels(self) -> dict[str, str]:
        kept: dict[str, str] = {}
        for key, value in self.spec.labels.items():
            try:
                kept |= check_labels({key: value}, "")
            except InvalidArgument:
                self.notes.add(f"label {key!r}")
        return kept

    def _shared(self) -> Document:
        spec, members = self.spec, self.spec.containers
        hostname = spec.hostname or next((one.hostname for one in members if one.hostname), None)
        if hostname and hostname != _dns_label(hostname):
            self.notes.add("hostname")
            hostname = None
        stop_s = spec.stop_timeout_s
        if stop_s is None:
            stop_s = max(
                DEFAULT_STOP_S if one.stop_timeout_s is None else one.stop_timeout_s for one in members
            )
        sysctls = {key: value for one in members for key, value in one.sysctls.items()} | spec.sysctls
        limits = {"memory": str(spec.memory_bytes or ""), "cpu": writer_container.cpus(spec.cpus)}
        return {
            "hostname": hostname if hostname != self.name else None,
            "shareProcessNamespace": self._shares_pids() or None,
            "securityContext": without_empty(
                {
                    "fsGroup": spec.fs_group,
                    "sysctls": [{"name": name, "value": value} for name, value in sysctls.items()],
                    "supplementalGroups": self._groups(),
                }
            ),
            "resources": without_empty({"limits": without_empty(limits)}),
            "terminationGracePeriodSeconds": stop_s,
            "activeDeadlineSeconds": spec.deadline_s,
            "hostAliases": self._aliases(),
            **self._dns(),
        }

    def _shares_pids(self) -> bool:
        modes = {one.pid_mode for one in self.spec.containers}
        if len(modes) > 1:
            self.notes.add("pid_mode")
        return self.spec.share_pids or modes == {"pod"}

    def _groups(self) -> list[int]:
        asked = {one.groups for one in self.spec.containers}
        groups = asked.pop() if len(asked) == 1 else ()
        if asked or not all(one.isdigit() for one in groups):
            self.notes.add("groups")
            return []
        return [int(one) for one in groups]

    def _aliases(self) -> list[Document]:
        found: dict[str, list[str]] = {}
        for entry in self._all("extra_hosts"):
            name, _, address = entry.partition(":")
            if address.replace(".", "").isdigit() or ":" in address:
                found.setdefault(address, []).append(name)
            else:
                self.notes.add(f"extra host {name}")
        return [{"ip": address, "hostnames": names} for address, names in found.items()]

    def _dns(self) -> Document:
        servers, searches = self._all("dns"), self._all("dns_search")
        options = []
        for option in self._all("dns_options"):
            name, _, value = option.partition(":")
            options.append({"name": name, "value": value} if value else {"name": name})
        config = without_empty({"nameservers": servers, "searches": searches, "options": options})
        return {"dnsPolicy": "None" if servers else None, "dnsConfig": config}

    def _publish(self, first: Document) -> None:
        """A pod's ports belong to no container of it in particular."""
        for port in self._all("ports"):
            made: Document = {"containerPort": port.container_port}
            if port.host_port_last:
                others = f"{port.host_port + 1} to {port.host_port_last}"
                self.notes.add(f"host ports {others} for {port.container_port}/{port.protocol}")
            if port.host_port:
                made["hostPort"] = port.host_port
            else:
                self.notes.add(f"a free host port for {port.container_port}/{port.protocol}")
            if port.host_ip not in ("", "0.0.0.0"):  # noqa: S104
                made["hostIP"] = port.host_ip
            if port.protocol != "tcp":
                made["protocol"] = port.protocol.upper()
            first.setdefault("ports", []).append(made)

    # ------------------------------------------------------------------------------ containers and volumes

    def _member(self, spec: ContainerSpec, name: str, shared: Mapping[str, str]) -> Document:
        known = dict(shared)
        for volume in spec.volumes:
            known[volume.name] = self._volume(volume)
        short = self._unique(_dns_label(name.removeprefix(f"{self.names.pod}-")))
        made = writer_container.container(spec, short, self.notes)
        mounts = [self._mount(one, known) for one in spec.mounts]
        mounts += [self._tmpfs(one) for one in spec.tmpfs]
        mounts += [self._file(one) for one in spec.files]
        if mounts:
            made["volumeMounts"] = mounts
        return made

    def _unique(self, name: str) -> str:
        count, made = 2, name
        while made in self._taken:
            made = f"{name[:58].rstrip('-')}-{count}"
            count += 1
        self._taken.add(made)
        return made

    def _mount(self, mount: Any, known: Mapping[str, str]) -> Document:
        if mount.copy_up:
            self.notes.add(f"what the image has at {mount.path}")
        made = {"name": known[mount.volume], "mountPath": mount.path, "subPath": mount.sub_path}
        read_only = mount.read_only or any(
            one.name == mount.volume and one.read_only for one in _all_volumes(self.spec)
        )
        return without_empty({**made, "readOnly": read_only or None})

    def claim(self, volume: str) -> str:
        """The name of the claim for a named volume, whose own may have capitals and more."""
        if is_subdomain(volume):
            return volume
        made = _dns_label(volume)
        self.notes.add(f"the name of volume {volume}, which is {made} here")
        return made

    def _add(self, name: str, source: Document) -> str:
        unique = self._unique(_dns_label(name))
        self._volumes.append({"name": unique, **source})
        return unique

    def _volume(self, volume: Volume) -> str:
        source = volume.source
        if isinstance(source, EmptyDir):
            size = str(source.size_bytes) if source.size_bytes else None
            body = without_empty({"medium": "Memory" if source.memory else None, "sizeLimit": size})
            return self._add(volume.name, {"emptyDir": body})
        if isinstance(source, NamedVolume) and source.anonymous:
            size = str(source.size_bytes) if source.size_bytes else None
            return self._add(f"volume-{source.name[:12]}", {"emptyDir": without_empty({"sizeLimit": size})})
        if isinstance(source, NamedVolume):
            claim = {"claimName": self.claim(source.name), "readOnly": volume.read_only or None}
            return self._add(source.name, {"persistentVolumeClaim": without_empty(claim)})
        if isinstance(source, HostPath):
            host = {"path": source.path, "type": _HOST_TYPES.get(source.expect)}
            return self._add(volume.name, {"hostPath": without_empty(host)})
        if isinstance(source, ImageVolume):
            policy = writer_container.PULL.get(source.pull, "IfNotPresent")
            return self._add(volume.name, {"image": {"reference": source.reference, "pullPolicy": policy}})
        if isinstance(source, Contents):
            return self._contents(volume.name, source)
        if isinstance(source, NetworkDisk) and (image := _rbd(source)):
            return self._add(
                volume.name, {"rbd": image | without_empty({"readOnly": volume.read_only or None})}
            )
        if isinstance(source, NfsShare):
            return self._nfs(volume, source)
        where = source.uri if isinstance(source, NetworkDisk) else source.path
        raise InvalidArgument(
            f"pod {self.name}: volume {volume.name} is the disk {where}, which no manifest can say",
            hint="copy it into a volume of hyperd's",
        )

    def _nfs(self, volume: Volume, source: NfsShare) -> str:
        if source.options:
            self.notes.add(f"the options {source.options} of volume {volume.name}")
        share = {"server": source.server, "path": source.path, "readOnly": volume.read_only or None}
        return self._add(volume.name, {"nfs": without_empty(share)})

    def _contents(self, name: str, source: Contents) -> str:
        items, config = [], f"{self.name}-{_dns_label(name)}"[:63].strip("-")
        body: dict[str, Document] = {"data": {}, "binaryData": {}}
        for index, file in enumerate(source.files):
            key = file.path if _KEY.fullmatch(file.path) else f"file-{index}"
            writer_container.put(body, key, file.content)
            items.append(without_empty({"key": key, "path": file.path, "mode": file.mode}))
        kept = {part: values for part, values in body.items() if values}
        self.config_maps.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": config}, **kept}
        )
        return self._add(name, {"configMap": {"name": config, "items": items, "defaultMode": source.mode}})

    def _tmpfs(self, given: Tmpfs) -> Document:
        size = next((part[5:] for part in given.options.split(",") if part.startswith("size=")), "")
        number = re.fullmatch(r"([0-9]+)([kmg]?)", size.lower())
        scale = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
        body = {"medium": "Memory", "sizeLimit": str(int(number[1]) * scale[number[2]]) if number else None}
        if set(given.options.split(",")) - {"", "rw", f"size={size}"}:
            self.notes.add(f"options of the tmpfs at {given.path}")
        return {
            "name": self._add(f"tmpfs{given.path}", {"emptyDir": without_empty(body)}),
            "mountPath": given.path,
        }

    def _file(self, given: InjectedFile) -> Document:
        if {given.user, given.group} - {"", "0", "root"}:
            self.notes.add(f"owner of {given.path}")
        mode = given.mode & 0o777
        source = Contents((ContentFile("file", given.content, mode),), mode)
        name = self._contents(f"file{len(self.config_maps)}", source)
        return {"name": name, "mountPath": given.path, "subPath": "file"}


def _say_system(spec: Document) -> None:
    """Kubernetes takes a stopSignal only of a pod that says whose signals they are."""
    members = [*(spec.get("initContainers") or ()), *spec["containers"]]
    if any((one.get("lifecycle") or {}).get("stopSignal") for one in members):
        spec.setdefault("os", {"name": "linux"})


# ------------------------------------------------------------------------------------------------------- YAML


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None if documents.is_text(value) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _dump(document: Document) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    return text
