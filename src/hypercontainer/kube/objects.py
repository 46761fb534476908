"""Documents -> Kubernetes' objects, checked one by one: ``read`` and what it gives.

The rest of the package takes what is here as well-formed: known kinds and fields, right types, right names, no name
twice.  Whether objects fit together is seen when pods are made of them (``workloads.py``).
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import documents, names, schema

VERSIONS = {
    "ConfigMap": "v1",
    "Secret": "v1",
    "PersistentVolumeClaim": "v1",
    "Service": "v1",
    "Pod": "v1",
    "ReplicaSet": "apps/v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}
MAX_DATA_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Object:
    """``document`` is plain and without nulls; ``model`` is the same as lightkube's struct."""

    kind: str
    name: str
    subject: str  # "document 2, Pod/web", for messages
    document: dict[str, Any]
    model: Any
    warnings: tuple[str, ...] = ()

    @functools.cached_property
    def data(self) -> dict[str, bytes]:
        """Of a ConfigMap or Secret: the keys, with their values as they are."""
        return _data(self.kind, self.model, self.subject)


@dataclass(frozen=True)
class Objects:
    """In the order of the manifest; (kind, name) is unique."""

    items: tuple[Object, ...] = ()

    def __iter__(self) -> Iterator[Object]:
        return iter(self.items)

    def find(self, kind: str, name: str) -> Object | None:
        return next((one for one in self.items if (one.kind, one.name) == (kind, name)), None)


def read(text: str) -> tuple[Objects, tuple[str, ...]]:
    """What a manifest says, and the fields in it that have no effect."""
    found: dict[tuple[str, str], Object] = {}
    for subject, document in _flattened(documents.load(text)):
        made = parse(document, subject)
        if (made.kind, made.name) in found:
            raise InvalidArgument(f"{made.subject}: this name is there twice", hint="give one another name")
        found[made.kind, made.name] = made
    if not found:
        raise InvalidArgument("the manifest is empty", hint=f"kinds: {', '.join(VERSIONS)}")
    warnings = tuple(warning for one in found.values() for warning in one.warnings)
    return Objects(tuple(found.values())), warnings


def _flattened(values: list[Any]) -> Iterator[tuple[str, Any]]:
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict) or value.get("kind") != "List":
            yield f"document {number}", value
            continue
        subject = f"document {number}, List"
        items = value.get("items")
        extra = sorted(set(value) - {"apiVersion", "kind", "metadata", "items"})
        if extra or value.get("apiVersion") != "v1" or not isinstance(items, list):
            problem = f"unknown field {extra[0][:80]!r}" if extra else "not a List of v1 with items"
            raise InvalidArgument(f"{subject}: {problem}")
        for index, item in enumerate(items):
            yield f"{subject}, items[{index}]", item


def parse(document: Any, subject: str) -> Object:
    """One object.  ``subject`` says where it stands."""
    if not isinstance(document, dict):
        raise InvalidArgument(f"{subject}: an object with apiVersion, kind and metadata is wanted")
    kind, version = document.get("kind"), document.get("apiVersion")
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if isinstance(kind, str):
        subject += f", {kind[:60]}" + (f"/{name[:253]}" if isinstance(name, str) else "")
    if not isinstance(kind, str) or kind not in VERSIONS:
        problem = f"kind {kind[:60]} is not supported" if isinstance(kind, str) else "kind is missing"
        raise InvalidArgument(f"{subject}: {problem}", hint=f"kinds: {', '.join(VERSIONS)}")
    if version != VERSIONS[kind]:
        raise InvalidArgument(f"{subject}: apiVersion is not {VERSIONS[kind]}")
    check = schema.Check(subject)
    walked = check.walk(document, _model(kind))
    model = check.convert(walked, _model(kind))
    if model.metadata is None or not model.metadata.name:
        raise check.error("metadata.name", "missing", "give one in metadata.name")
    _check(kind, model, subject)
    warnings = tuple(f"{kind}/{name}: {path} has no effect here" for path in check.reported)
    made = Object(kind, model.metadata.name, subject, walked, model, warnings)
    if kind in ("ConfigMap", "Secret"):
        _ = made.data  # what is wrong with it is found now
    return made


def _model(kind: str) -> Any:
    # Imported where a manifest is: it costs more time than a whole list of containers.
    from lightkube.models import apps_v1, batch_v1, core_v1

    module = {"v1": core_v1, "apps/v1": apps_v1, "batch/v1": batch_v1}[VERSIONS[kind]]
    return getattr(module, kind)


def _check(kind: str, model: Any, subject: str) -> None:
    metadata = model.metadata
    (names.label if kind == "Service" else names.subdomain)(metadata.name, f"{subject}: metadata.name")
    if metadata.namespace:
        names.label(metadata.namespace, f"{subject}: metadata.namespace")
    names.labels(metadata.labels, f"{subject}: metadata.labels")
    names.check_annotations(metadata.annotations, f"{subject}: metadata.annotations")
    if kind == "Secret":
        _check_secret(model, subject)
    elif kind != "ConfigMap" and model.spec is None:
        raise InvalidArgument(f"{subject}: spec is missing")


_SECRET_KEYS = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _check_secret(model: Any, subject: str) -> None:
    for key in _SECRET_KEYS.get(model.type or "", ()):
        if key not in {**(model.data or {}), **(model.stringData or {})}:
            raise InvalidArgument(f"{subject}: type {model.type} wants the key {key}")


def _data(kind: str, model: Any, subject: str) -> dict[str, bytes]:
    if kind == "Secret":
        encoded, plain = ("data", model.data), ("stringData", model.stringData)
    else:
        encoded, plain = ("binaryData", model.binaryData), ("data", model.data)
    where = f"{subject}: {encoded[0]}"
    found = {
        key: _decoded(value, f"{where}[{key[:80]!r}]")
        for key, value in names.strings(encoded[1], where).items()
    }
    for key, value in names.strings(plain[1], f"{subject}: {plain[0]}").items():
        if key in found and kind == "ConfigMap":
            raise InvalidArgument(f"{subject}: the key {key[:80]!r} is in data and in binaryData")
        found[key] = value.encode()
    for key in found:
        names.data_key(key, f"{subject}: data")
    if sum(map(len, found.values())) > MAX_DATA_BYTES:
        raise InvalidArgument(f"{subject}: more than 1 MiB of data")
    return found


def _decoded(value: str, where: str) -> bytes:
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument(
            f"{where} is not base64", hint="plain text goes into stringData or data"
        ) from None
