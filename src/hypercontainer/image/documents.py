"""The JSON documents of registries and archives: parsed and checked once, here, into frozen values.

Sources: OCI image specification 1.1 (manifest, image-index, config), Docker image manifest version 2
schema 2, Docker image specification 1.2 (configuration).  Unknown fields are tolerated; what is used is
checked for type and bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from hypercontainer.contract.probes import Healthcheck
from hypercontainer.contract.reading import why
from hypercontainer.errors import ImageError
from hypercontainer.image.model import ImageConfig
from hypercontainer.image.platforms import Platform, normalized, suitability
from hypercontainer.image.reference import is_digest

MAX_MANIFEST_BYTES = 4 << 20
MAX_CONFIG_BYTES = 8 << 20
MAX_LAYERS = 1024
MAX_ITEMS = 131_072  # values of a document, of whatever kind: they take far more memory than text
MAX_STRINGS = 16_384
MAX_CHARS = 1 << 20  # of a field, all of its strings together
# They go with each event of each container of the image.
MAX_LABELS = 4096
MAX_LABEL_CHARS = 256 << 10
# (uid_t)-1 is no user: the kernel takes it for "leave as it is".
MAX_ID = 0xFFFF_FFFE

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of "{}"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
_CREATED = "org.opencontainers.image.created"
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
# The last is what Docker 1.10 pushed.
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream"})
_LAYER_TYPE = re.compile(
    r"application/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?"
    r"|application/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd)?"
)

# RFC 6838, 4.2.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")

# What is before the next string, and that string.
_TO_STRING = re.compile(rb'([^"]*+)(?:"(?:[^"\\]|\\.)*+"|\Z)', re.DOTALL)

_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]
_T = TypeVar("_T")


class WirePlatform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str | None = None

    def normalized(self) -> Platform:
        return normalized(self.os, self.architecture, self.variant or "")


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A pointer to a blob or manifest.  ``size`` in bytes."""

    digest: str
    size: _Size
    media_type: str = ""
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: WirePlatform | None = None

    def annotation(self, key: str) -> str:
        return (self.annotations or {}).get(key, "")

    @property
    def is_attestation(self) -> bool:
        """What is said about an image, and none itself."""
        if self.platform is None:
            return False
        return self.platform.os == "unknown" or bool(self.annotation("vnd.docker.reference.type"))


class _WireManifest(msgspec.Struct, frozen=True, rename="camel"):
    """Everything a manifest, an index or a schema 1 manifest may have: what it is, is decided afterwards."""

    schema_version: int = 0
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    fs_layers: list[Any] | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True):
    """One image: ``raw`` are the bytes that the digest is of.  ``artifact_type``: of what is none, else "".
    ``created``: when an artifact was, RFC 3339 or ""."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    created: str = ""


class Index(msgspec.Struct, frozen=True):
    """Several images under one digest."""

    media_type: str
    manifests: tuple[Descriptor, ...]


class _WireHealth(msgspec.Struct, frozen=True, rename="pascal"):
    test: list[str] | None = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


class _WireConfig(msgspec.Struct, frozen=True, rename="pascal"):
    user: str | None = None
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    labels: dict[str, str | None] | None = None
    stop_signal: str | None = None
    healthcheck: _WireHealth | None = None
    shell: list[str] | None = None
    on_build: list[str] | None = None


class _WireRootfs(msgspec.Struct, frozen=True):
    type: str = "layers"
    diff_ids: list[str] | None = None


class WireHistory(msgspec.Struct, frozen=True):
    created: str | None = None
    created_by: str | None = None
    comment: str | None = None
    author: str | None = None
    empty_layer: bool | None = None


class _WireImage(msgspec.Struct, frozen=True):
    architecture: str | None = None
    os: str | None = None
    variant: str | None = None
    created: str | None = None
    author: str | None = None
    config: _WireConfig | None = None
    rootfs: _WireRootfs | None = None
    history: list[WireHistory] | None = None


class ImageDocument(msgspec.Struct, frozen=True):
    """A checked image configuration."""

    config: ImageConfig
    platform: Platform = Platform()
    created: str = ""
    author: str = ""
    diff_ids: tuple[str, ...] = ()
    history: tuple[WireHistory, ...] = ()


def decode(raw: bytes, kind: type[_T], what: str) -> _T:
    """``raw`` as ``kind``; ImageError names ``what`` and the field that is wrong."""
    if _items(raw) > MAX_ITEMS:
        raise ImageError(f"{what}: more than {MAX_ITEMS} values")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ImageError(f"{what}: {why(error)}") from error
    except RecursionError as error:
        raise ImageError(f"{what}: nested too deeply") from error


def _items(raw: bytes) -> int:
    """At least as many values as ``raw`` has, as long as that is not more than `MAX_ITEMS`."""

    def marks(text: bytes) -> int:
        return text.count(b",") + text.count(b"{") + text.count(b"[")

    count = marks(raw)
    if count <= MAX_ITEMS:  # strings and all
        return count
    count = at = 0
    while at < len(raw) and count <= MAX_ITEMS and (match := _TO_STRING.match(raw, at)):
        count += marks(match[1])
        at = match.end()
    return count


def parse_manifest(raw: bytes, content_type: str, what: str) -> Manifest | Index:
    """The manifest or index in ``raw``; ``content_type`` is how it was served, '' if nobody said.

    Refused: schema 1, a document that is both (media type confusion, CVE-2021-41190).
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ImageError(f"{what}: larger than {MAX_MANIFEST_BYTES} bytes")
    wire = decode(raw, _WireManifest, what)
    served = content_type.partition(";")[0].strip()
    if wire.schema_version == 1 or wire.fs_layers is not None or "docker.distribution.manifest.v1" in served:
        raise ImageError(
            f"{what}: Docker schema 1 manifests are not supported", hint="have the image pushed again"
        )
    if wire.schema_version != 2:
        raise ImageError(f"{what}: schemaVersion {wire.schema_version} is not 2")
    is_index = wire.manifests is not None
    if is_index == (wire.layers is not None or wire.config is not None):
        both = "both an image and an index" if is_index else "neither an image nor an index"
        raise ImageError(f"{what}: it is {both}")
    expected = INDEX_TYPES if is_index else MANIFEST_TYPES
    for claim in (wire.media_type or "", served):
        if claim in INDEX_TYPES | MANIFEST_TYPES and claim not in expected:
            raise ImageError(f"{what}: its content is not what its media type {claim} says")
    if wire.media_type and wire.media_type not in expected:
        raise ImageError(f"{what}: media type {wire.media_type} is not one of an image")
    media_type = wire.media_type or (served if served in expected else "")
    if is_index:
        return Index(media_type or OCI_INDEX, _checked(wire.manifests, what))
    return _image_manifest(raw, wire, media_type or OCI_MANIFEST, what)


def _image_manifest(raw: bytes, wire: _WireManifest, media_type: str, what: str) -> Manifest:
    if wire.config is None or wire.layers is None:
        raise ImageError(f"{what}: it has no {'layers' if wire.config else 'config'}")
    kind = wire.config.media_type
    artifact_type = wire.artifact_type or (kind if kind not in CONFIG_TYPES else "")
    if (wire.artifact_type or kind not in CONFIG_TYPES) and not _MEDIA_TYPE.fullmatch(artifact_type):
        raise ImageError(
            f"{what}: it is no container image, and {artifact_type[:80]!r} is no artifact's type"
        )
    (config,) = _checked([wire.config], what)
    if config.size > MAX_CONFIG_BYTES:
        raise ImageError(f"{what}: its config of {config.size} bytes is larger than {MAX_CONFIG_BYTES}")
    layers = _checked(wire.layers, what)
    for layer in layers:
        if not artifact_type and not _LAYER_TYPE.fullmatch(layer.media_type):
            raise ImageError(f"{what}: layer {layer.digest} has the unknown type {layer.media_type!r}")
    created = timestamp((wire.annotations or {}).get(_CREATED))
    return Manifest(raw, media_type, config, layers, artifact_type, created)


def _checked(descriptors: list[Descriptor] | None, what: str) -> tuple[Descriptor, ...]:
    found = tuple(descriptors or ())
    if len(found) > MAX_LAYERS:
        raise ImageError(f"{what}: {len(found)} entries, at most {MAX_LAYERS}")
    for descriptor in found:
        if not is_digest(descriptor.digest):
            raise ImageError(f"{what}: {descriptor.digest[:150]!r} is not a sha256 or sha512 digest")
    return found


def select(
    index: Index,
    wanted: Sequence[Platform],
    what: str,
    available: Callable[[Descriptor], bool] = lambda _: True,
) -> Descriptor:
    """The ``available`` entry of ``index`` that suits the first of ``wanted`` that any suits, and that best; of
    equals the first."""
    entries = [
        entry
        for entry in index.manifests
        if (not entry.media_type or entry.media_type in INDEX_TYPES | MANIFEST_TYPES)
        and not entry.is_attestation
        and available(entry)
    ]
    for platform in wanted:
        scored = [(_score(entry, platform), -number) for number, entry in enumerate(entries)]
        best = max(((score, place) for score, place in scored if score is not None), default=None)
        if best is not None:
            return entries[-best[1]]
    seen = (str(entry.platform.normalized()) for entry in entries if entry.platform)
    has = ", ".join(dict.fromkeys(seen)) or "no image"
    raise ImageError(f"{what}: no image for {wanted[-1]}; it has {has[:500]}", hint="choose another platform")


def _score(entry: Descriptor, wanted: Platform) -> int | None:
    if entry.platform is None:
        return 0  # an index in an index, or an image that does not say: better than nothing
    return suitability(entry.platform.normalized(), wanted)


def parse_config(raw: bytes, what: str) -> ImageDocument:
    """The image configuration in ``raw``, every field that is used checked."""
    if len(raw) > MAX_CONFIG_BYTES:
        raise ImageError(f"{what}: larger than {MAX_CONFIG_BYTES} bytes")
    wire = decode(raw, _WireImage, what)
    rootfs = wire.rootfs or _WireRootfs()
    if rootfs.type != "layers":
        raise ImageError(f"{what}: rootfs type {rootfs.type!r} is not 'layers'")
    diff_ids = tuple(rootfs.diff_ids or ())
    for diff_id in diff_ids:
        if not is_digest(diff_id):
            raise ImageError(f"{what}: diff ID {diff_id[:150]!r} is not a sha256 or sha512 digest")
    return ImageDocument(
        config=_run_config(wire.config or _WireConfig(), raw, what),
        platform=normalized(wire.os or "linux", wire.architecture or "amd64", wire.variant or ""),
        created=timestamp(wire.created),
        author=_text(wire.author, "author", what),
        diff_ids=diff_ids,
        history=tuple(wire.history or ()),
    )


def check_layers(manifest: Manifest, document: ImageDocument, what: str) -> None:
    """Each layer has its diff ID: their numbers are equal."""
    if len(manifest.layers) != len(document.diff_ids):
        raise ImageError(
            f"{what}: {len(manifest.layers)} layers in the manifest, "
            f"{len(document.diff_ids)} diff IDs in the image config"
        )


def _run_config(wire: _WireConfig, raw: bytes, what: str) -> ImageConfig:
    user = _text(wire.user, "User", what)
    check_user(user, what)
    env = _strings(wire.env, "Env", what) or ()
    for entry in env:
        if not entry or entry.startswith("="):
            raise ImageError(f"{what}: Env has the entry {entry[:60]!r} without a name")
    return ImageConfig(
        user=user,
        exposed_ports=_strings(list(wire.exposed_ports or ()), "ExposedPorts", what) or (),
        env=env,
        entrypoint=_strings(wire.entrypoint, "Entrypoint", what),
        cmd=_strings(wire.cmd, "Cmd", what),
        volumes=_strings(list(wire.volumes or ()), "Volumes", what) or (),
        working_dir=_text(wire.working_dir, "WorkingDir", what),
        labels=_labels(wire.labels or {}, what),
        stop_signal=_text(wire.stop_signal, "StopSignal", what),
        healthcheck=_healthcheck(wire.healthcheck, what),
        shell=_strings(wire.shell, "Shell", what),
        on_build=_strings(wire.on_build, "OnBuild", what) or (),
        raw=raw,
    )


def check_user(user: str, what: str) -> None:
    """``user[:group]``, names or numbers; ImageError for a number that no kernel has."""
    for part in user.split(":", 1):
        if part.isascii() and part.isdigit() and (len(part) > 10 or int(part) > MAX_ID):
            raise ImageError(
                f"{what}: User {user[:60]!r} in the image config is beyond 32 bits (at most {MAX_ID})"
            )
    if len(user) > 512 or any(ord(char) < 32 for char in user):
        raise ImageError(f"{what}: User {user[:60]!r} in the image config is not a user name")


def _healthcheck(wire: _WireHealth | None, what: str) -> Healthcheck | None:
    if wire is None:
        return None
    return Healthcheck(
        test=_strings(wire.test, "Healthcheck.Test", what) or (),
        interval_ns=wire.interval or 0,
        timeout_ns=wire.timeout or 0,
        start_period_ns=wire.start_period or 0,
        start_interval_ns=wire.start_interval or 0,
        retries=wire.retries or 0,
    )


def _labels(values: dict[str, str | None], what: str) -> dict[str, str]:
    labels = {_text(key, "Labels", what): _text(value, "Labels", what) for key, value in values.items()}
    chars = sum(len(key) + len(value) for key, value in labels.items())
    if len(labels) > MAX_LABELS or chars > MAX_LABEL_CHARS:
        raise ImageError(
            f"{what}: {len(labels)} labels of {chars} characters, "
            f"at most {MAX_LABELS} of {MAX_LABEL_CHARS} are taken"
        )
    return labels


def _strings(values: list[str] | None, field: str, what: str) -> tuple[str, ...] | None:
    if values is None:
        return None
    if len(values) > MAX_STRINGS:
        raise ImageError(f"{what}: {field} has {len(values)} entries, at most {MAX_STRINGS}")
    if (chars := sum(map(len, values))) > MAX_CHARS:
        raise ImageError(f"{what}: {field} has {chars} characters, at most {MAX_CHARS}")
    return tuple(_text(value, field, what) for value in values)


def _text(value: str | None, field: str, what: str) -> str:
    if value is None:
        return ""
    if len(value) > MAX_CHARS or "\0" in value:
        raise ImageError(f"{what}: {field} has a NUL character or more than {MAX_CHARS} characters")
    return value


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,12})?(?:[Zz]|[+-]\d\d:\d\d)")


def timestamp(text: str | None) -> str:
    """``text`` where it is an RFC 3339 time, '' otherwise: nothing depends on it."""
    return text if text and _RFC3339.fullmatch(text) else ""
