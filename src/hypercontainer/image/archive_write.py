"""Images into archives: docker-archive, which every tool loads, and OCI layout, which keeps manifests.

Written in one pass to any stream.  A docker-archive has plain layers: compressed ones are unpacked into a
temporary file first, whose diff ID is checked on the way.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from hypercontainer.errors import DigestMismatch, InvalidArgument
from hypercontainer.image.archive_read import CONTAINERD_NAME, OCI_REF_NAME
from hypercontainer.image.blobs import BlobStore, hasher
from hypercontainer.image.cancel import Guard
from hypercontainer.image.documents import OCI_INDEX
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
        self._names: set[str] = set()

    def has(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str, content: BinaryIO, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        self._names.add(name)
        self._tar.addfile(info, cast(BinaryIO, Metered(content, self.guard, size, name)))

    def add_bytes(self, name: str, content: bytes) -> None:
        if not self.has(name):
            self.add(name, io.BytesIO(content), len(content))

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
        entries = [
            _add_docker_image(archive, store, records[image_id], tags, limit)
            for image_id, tags in images.items()
        ]
        archive.add_bytes("manifest.json", msgspec.json.encode(entries))


def _add_docker_image(
    archive: _Archive, store: BlobStore, record: Record, tags: Sequence[str], limit: int
) -> dict[str, Any]:
    """Returns the image's entry of manifest.json."""
    config_name = f"{record.id.partition(':')[2]}.json"
    archive.add_bytes(config_name, record.config)
    names = []
    for layer in record.layers:
        name = f"{layer.diff_id.partition(':')[2]}.tar"
        names.append(name)
        if not archive.has(name):
            _add_plain_layer(archive, store, name, layer, limit)
    familiar = [parse(tag).familiar() for tag in tags]
    return {"Config": config_name, "RepoTags": familiar, "Layers": names}


def _add_plain_layer(archive: _Archive, store: BlobStore, name: str, layer: Layer, limit: int) -> None:
    path = store.path(layer.digest)
    if layer.compression == "none":
        with path.open("rb") as file:
            archive.add(name, file, layer.size_bytes)
        return
    with store.staging() as folder:
        plain = folder / "layer"
        size = unpack(path, plain, layer, limit, archive.guard)
        with plain.open("rb") as file:
            archive.add(name, file, size)


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
    platforms: Mapping[str, Platform],
    out: BinaryIO,
    guard: Guard,
) -> None:
    """Arguments as for `write_docker`; ``platforms``: of images, and not of artifacts.  Blobs and manifests go out
    exactly as they are."""
    with _Archive(out, guard) as archive:
        archive.add_bytes("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        manifests: list[dict[str, Any]] = []
        for image_id, tags in images.items():
            record = records[image_id]
            archive.add_bytes(_blob_name(record.config_digest), record.config)
            archive.add_bytes(_blob_name(record.manifest_digest), record.manifest)
            for layer in record.layers:
                name = _blob_name(layer.digest)
                if not archive.has(name):
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
                descriptor["platform"] = _platform(platforms[image_id])
            for tag in tags:
                names = {CONTAINERD_NAME: tag, OCI_REF_NAME: tag}
                manifests.append({**descriptor, "annotations": names})
            if not tags:
                manifests.append(descriptor)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        archive.add_bytes("index.json", msgspec.json.encode(index))


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
