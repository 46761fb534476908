"""Images into archives: Docker's, which every tool loads, and OCI layout, which keeps manifests.

Written in one pass to any stream.  Docker's is, since its release 25, an OCI layout too, of plain layers: compressed
ones are unpacked into a temporary file first, whose diff ID is checked on the way.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from hypercontainer.errors import DigestMismatch, InvalidArgument
from hypercontainer.image.archive_read import CONTAINERD_NAME, OCI_REF_NAME, generated_manifest
from hypercontainer.image.blobs import BlobStore, digest_of, hasher
from hypercontainer.image.cancel import Guard
from hypercontainer.image.documents import OCI_INDEX, OCI_MANIFEST, parse_config
from hypercontainer.image.metadata import Record
from hypercontainer.image.model import Layer
from hypercontainer.image.platforms import Platform
from hypercontainer.image.reference import parse
from hypercontainer.image.streams import Metered, damage_errors, decompressed, pieces
from hypercontainer.linux import disk


class _Archive:
    """A tar stream being written; a name that is there already is not written again."""

    def __init__(self, out: BinaryIO, guard: Guard) -> None:
        self.guard = guard
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        self._sizes: dict[str, int] = {}

    def size_of(self, name: str) -> int | None:
        """Of what is there; None of what is not."""
        return self._sizes.get(name)

    def add(self, name: str, content: BinaryIO, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        self._sizes[name] = size
        self._tar.addfile(info, cast(BinaryIO, Metered(content, self.guard, size, name)))

    def add_bytes(self, name: str, content: bytes) -> None:
        if name not in self._sizes:
            self.add(name, io.BytesIO(content), len(content))

    def add_index(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """What makes it an OCI layout."""
        self.add_bytes("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        self.add_bytes("index.json", msgspec.json.encode(index))

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._tar.close()
        else:  # or the library writes an end when it is collected, wherever that leads by then
            self._tar.fileobj.closed = True  # type: ignore[attr-defined]


def write_docker(
    store: BlobStore,
    images: Mapping[str, Sequence[str]],
    records: Mapping[str, Record],
    out: BinaryIO,
    limit: int,
    guard: Guard,
) -> None:
    """``images``: image ID -> canonical tags it is saved under."""
    with _Archive(out, guard) as archive:
        entries: list[dict[str, Any]] = []
        manifests: list[dict[str, Any]] = []
        repositories: dict[str, dict[str, str]] = {}  # what Docker read before its release 1.10
        for image_id, tags in images.items():
            record, names = records[image_id], [parse(tag) for tag in tags]
            layers = [(x.diff_id, _add_plain_layer(archive, store, x, limit)) for x in record.layers]
            archive.add_bytes(_blob_name(image_id), record.config)
            descriptor = _add_manifest(archive, record.config, layers)
            for name in names:
                said = {CONTAINERD_NAME: name.canonical, OCI_REF_NAME: name.tag}
                manifests.append({**descriptor, "annotations": said})
                top = layers[-1][0].partition(":")[2] if layers else ""
                repositories.setdefault(name.familiar_name(), {})[name.tag or ""] = top
            manifests += [] if names else [descriptor]
            entries.append(
                {
                    "Config": _blob_name(image_id),
                    "RepoTags": [name.familiar() for name in names],
                    "Layers": [_blob_name(diff_id) for diff_id, _ in layers],
                }
            )
        archive.add_index(manifests)
        archive.add_bytes("manifest.json", msgspec.json.encode(entries))
        archive.add_bytes("repositories", msgspec.json.encode(repositories))


def _add_manifest(archive: _Archive, config: bytes, layers: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Of plain ``layers`` (diff ID, size in bytes); its descriptor."""
    manifest = generated_manifest(config, [(diff_id, size, "none") for diff_id, size in layers])
    digest = digest_of(manifest)
    archive.add_bytes(_blob_name(digest), manifest)
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(manifest)}


def _add_plain_layer(archive: _Archive, store: BlobStore, layer: Layer, limit: int) -> int:
    """Its size in bytes."""
    name, path = _blob_name(layer.diff_id), store.path(layer.digest)
    if (known := archive.size_of(name)) is not None:
        return known
    if layer.compression == "none":
        with path.open("rb") as file:
            archive.add(name, file, layer.size_bytes)
        return layer.size_bytes
    with store.staging() as folder:
        plain = folder / "layer"
        size = unpack(path, plain, layer, limit, archive.guard)
        with plain.open("rb") as file:
            archive.add(name, file, size)
    return size


def unpack(source: Path, target: Path, layer: Layer, limit: int, guard: Guard) -> int:
    """Decompress a layer into ``target``, check its diff ID, return its size in bytes."""
    made = hasher(layer.diff_id)
    what = f"layer {layer.digest}"
    size = 0
    with source.open("rb") as file, target.open("xb") as out, damage_errors(what):
        compressed = Metered(file, guard, layer.size_bytes, what)
        plain = Metered(decompressed(compressed, layer.compression), guard, limit, what)
        for data in pieces(plain):  # type: ignore[arg-type]
            disk.keep_room(out.fileno())
            made.update(data)
            out.write(data)
            size += len(data)
    actual = f"{layer.diff_id.partition(':')[0]}:{made.hexdigest()}"
    if actual != layer.diff_id:
        raise DigestMismatch(f"{what}: diff ID", expected=layer.diff_id, actual=actual)
    return size


def write_oci(
    store: BlobStore,
    images: Mapping[str, Sequence[str]],
    records: Mapping[str, Record],
    out: BinaryIO,
    guard: Guard,
) -> None:
    """Arguments as for `write_docker`.  Blobs and manifests go out exactly as they are."""
    with _Archive(out, guard) as archive:
        manifests: list[dict[str, Any]] = []
        for image_id, tags in images.items():
            record = records[image_id]
            archive.add_bytes(_blob_name(record.config_digest), record.config)
            archive.add_bytes(_blob_name(record.manifest_digest), record.manifest)
            for layer in record.layers:
                name = _blob_name(layer.digest)
                if archive.size_of(name) is None:
                    with store.path(layer.digest).open("rb") as file:
                        archive.add(name, file, layer.size_bytes)
            descriptor: dict[str, Any] = {
                "mediaType": record.manifest_type,
                "digest": record.manifest_digest,
                "size": len(record.manifest),
            }
            if record.artifact_type:
                descriptor["artifactType"] = record.artifact_type
            else:
                descriptor["platform"] = _platform(parse_config(record.config, f"image {image_id}").platform)
            for tag in tags:
                names = {CONTAINERD_NAME: tag, OCI_REF_NAME: tag}
                manifests.append({**descriptor, "annotations": names})
            if not tags:
                manifests.append(descriptor)
        archive.add_index(manifests)


def _platform(platform: Platform) -> dict[str, str]:
    found = {"architecture": platform.architecture, "os": platform.os}
    return {**found, "variant": platform.variant} if platform.variant else found


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def check_images(records: Mapping[str, Record]) -> None:
    """InvalidArgument for what a Docker archive cannot have, by the images' IDs."""
    for image_id, record in records.items():
        if record.artifact_type:
            raise InvalidArgument(
                f"{image_id[:19]} is an artifact, {record.artifact_type}, which a Docker archive cannot have",
                field="format",
                takes="oci",
            )
