"""Documents -> Kubernetes' objects, checked one by one: ``read`` and what it gives.

The rest of the package takes what is here as well-formed: known kinds and fields, right types, right names, no name
twice.  Whether objects fit together is seen when pods are made of them (``workloads.py``).
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypercontainer.errors import InvalidArgument, Remedy
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
MAX_TOLD = 20  # objects in one message


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
    skipped: tuple[tuple[str, str], ...] = ()  # (kind, name) of what is of a kind that is not known here

    def __iter__(self) -> Iterator[Object]:
        return iter(self.items)

    def find(self, kind: str, name: str) -> Object | None:
        return next((one for one in self.items if (one.kind, one.name) == (kind, name)), None)


def read(text: str, *, skip_unsupported: bool = False) -> tuple[Objects, tuple[str, ...]]:
    """What a manifest says, and the fields in it that have no effect.

    ``skip_unsupported``: kinds that are not known here are passed over; otherwise all of them are named at once.
    """
    given = list(_flattened(documents.load(text)))
    foreign = [(subject, document) for subject, document in given if _is_foreign(document)]
    if foreign and not skip_unsupported:
        raise _unsupported(foreign)
    found: dict[tuple[str, str], Object] = {}
    for subject, document in given:
        if _is_foreign(document):
            continue
        made = parse(document, subject)
        if (made.kind, made.name) in found:
            raise InvalidArgument(f"{made.subject}: this name is there twice", hint="give one another name")
        found[made.kind, made.name] = made
    if not given:
        raise InvalidArgument("the manifest is empty", hint=f"kinds: {', '.join(VERSIONS)}")
    warnings = tuple(warning for one in found.values() for warning in one.warnings)
    skipped = tuple((document["kind"], _name_of(document)[:253]) for _, document in foreign)
    return Objects(tuple(found.values()), skipped), warnings


def kept(texts: Iterable[bytes]) -> Objects:
    """Objects of earlier manifests, each as the JSON of what ``read`` has checked."""
    try:
        return Objects(tuple(parse(json.loads(text), "kept") for text in texts))
    except ValueError as error:
        raise InvalidArgument(f"kept: {error}") from None


def _is_foreign(document: Any) -> bool:
    kind = document.get("kind") if isinstance(document, dict) else None
    return isinstance(kind, str) and bool(kind) and kind not in VERSIONS


def _unsupported(foreign: Sequence[tuple[str, dict[str, Any]]]) -> InvalidArgument:
    told = [f"{_subject(document, subject)}: kind {document['kind'][:60]}" for subject, document in foreign]
    shown = "; ".join(told[:MAX_TOLD]) + (
        f"; and {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else ""
    )
    return InvalidArgument(
        f"{shown} {'is' if len(told) == 1 else 'are'} not supported",
        hint=f"kinds: {', '.join(VERSIONS)}",
        remedies=(Remedy("manifests.play", aim="passes over others", options={"skip_unsupported": True}),),
    )


def _name_of(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _subject(document: dict[str, Any], subject: str) -> str:
    """Where it stands, with what it is, for messages."""
    kind, name = document.get("kind"), _name_of(document)
    if not isinstance(kind, str):
        return subject
    return f"{subject}, {kind[:60]}" + (f"/{name[:253]}" if name else "")


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
    subject = _subject(document, subject)
    if not isinstance(kind, str) or kind not in VERSIONS:
        raise InvalidArgument(f"{subject}: kind is missing", hint=f"kinds: {', '.join(VERSIONS)}")
    if version != VERSIONS[kind]:
        raise InvalidArgument(f"{subject}: apiVersion is not {VERSIONS[kind]}")
    check = schema.Check(subject)
    walked = check.walk(document, _model(kind))
    model = check.convert(walked, _model(kind))
    if model.metadata is None or not model.metadata.name:
        raise check.error("metadata.name", "missing", "give one in metadata.name")
    _check(kind, model, subject)
    warnings = tuple(f"{kind}/{model.metadata.name}: {path} has no effect here" for path in check.reported)
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
