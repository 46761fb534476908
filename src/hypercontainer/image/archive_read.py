"""Images out of archives: docker-archive and OCI layout, as files or streams.

Sources: Docker image specification 1.2 (combined image JSON + filesystem changeset format), OCI image layout.
An archive that has both is taken as an OCI layout, which keeps the digests of manifests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from hypercontainer.errors import ImageError, InvalidArgument, Remedy
from hypercontainer.image.blobs import compression_of, digest_of
from hypercontainer.image.documents import (
    MAX_CONFIG_BYTES,
    MAX_LAYERS,
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    decode,
    parse_manifest,
    select,
)
from hypercontainer.image.members import Member, Members, verify
from hypercontainer.image.platforms import Platform, host_platform
from hypercontainer.image.pull import find_manifest
from hypercontainer.image.reference import parse

MAX_IMAGES = 1024
CONTAINERD_NAME = "io.containerd.image.name"
OCI_REF_NAME = "org.opencontainers.image.ref.name"
_SUFFIX = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}


@dataclass(frozen=True)
class Loaded:
    """One image of an archive: its documents, its layers' files in order, canonical tags for it."""

    manifest: Manifest
    manifest_digest: str
    config: bytes
    layers: tuple[Member, ...]
    tags: tuple[str, ...]
    generated: bool


class _DockerEntry(msgspec.Struct, frozen=True, rename="pascal"):
    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


def images(members: Members) -> list[Loaded]:
    """All images of the archive; ImageError where it is none that is known, or refers to what is not there."""
    if members.get("index.json") is not None:
        found = list(_oci_images(members))
    elif members.get("manifest.json") is not None:
        found = list(_docker_images(members))
    else:
        raise ImageError(
            "image archive: neither manifest.json (docker save) nor index.json (OCI layout) is in it",
            remedies=[Remedy("images.import", aim="for the tar of a root file system")],
        )
    if not found:
        raise ImageError("image archive: there is no image in it")
    return found


def generated_manifest(config: bytes, layers: list[tuple[str, int, str]]) -> bytes:
    """An OCI manifest for ``layers`` of (digest, size in bytes, compression); the same bytes for the same image."""
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [
                {"mediaType": OCI_LAYER + _SUFFIX[compression], "digest": digest, "size": size}
                for digest, size, compression in layers
            ],
        }
    )


def _docker_images(members: Members) -> Iterator[Loaded]:
    raw = members.read("manifest.json", MAX_MANIFEST_BYTES)
    entries = decode(raw, list[_DockerEntry], "image archive: manifest.json")
    if len(entries) > MAX_IMAGES:
        raise ImageError(f"image archive: {len(entries)} images, at most {MAX_IMAGES}")
    for entry in entries:
        config = members.read(entry.config, MAX_CONFIG_BYTES)
        if len(entry.layers or ()) > MAX_LAYERS:
            raise ImageError(f"image archive: an image has more than {MAX_LAYERS} layers")
        layers = tuple(members.need(name) for name in entry.layers or ())
        described = [(x.digest, x.size, _compression(x)) for x in layers]
        manifest_raw = generated_manifest(config, described)
        manifest = parse_manifest(manifest_raw, "", "image archive")
        assert isinstance(manifest, Manifest)
        tags = tuple(_tag(name) for name in entry.repo_tags or ())
        yield Loaded(manifest, digest_of(manifest_raw), config, layers, tags, generated=True)


def _compression(member: Member) -> str:
    with member.path.open("rb") as file:
        return compression_of(file.read(8), f"layer {member.digest}")


def _tag(name: str) -> str:
    reference = parse(name)
    if reference.digest or not reference.tag:
        raise InvalidArgument(f"image archive: {name!r} is not a name with a tag")
    return reference.canonical


def _oci_images(members: Members) -> Iterator[Loaded]:
    raw = members.read("index.json", MAX_MANIFEST_BYTES)
    index = parse_manifest(raw, "", "image archive: index.json")
    if not isinstance(index, Index):
        raise ImageError("image archive: index.json is not an index")
    groups: dict[str, list[Descriptor]] = {}
    for descriptor in index.manifests:
        groups.setdefault(_name_of(descriptor), []).append(descriptor)
    wanted = host_platform()
    for name, group in groups.items():
        chosen = group
        if len(group) > 1 and all(descriptor.platform for descriptor in group):
            available = Index(index.media_type, tuple(group))
            chosen = [select(available, wanted, "image archive", lambda d: _present(members, d))]
        for descriptor in chosen:
            yield _oci_image(members, descriptor, wanted, name)


def _name_of(descriptor: Descriptor) -> str:
    """The image's canonical tag; '' where the archive has none, or only a bare tag without a repository."""
    name = descriptor.annotation(CONTAINERD_NAME) or descriptor.annotation(OCI_REF_NAME)
    if not name or not (set(name) & set(":/")):
        return ""
    reference = parse(name)
    return reference.canonical if reference.tag and not reference.digest else ""


def _oci_image(members: Members, descriptor: Descriptor, wanted: Platform, name: str) -> Loaded:
    def get(digest: str) -> tuple[bytes, str, str]:
        raw = members.read(_blob_name(digest), MAX_MANIFEST_BYTES)
        verify(members.need(_blob_name(digest)), digest, len(raw), f"manifest {digest}")
        return raw, descriptor.media_type if digest == descriptor.digest else "", digest

    _, digest, manifest = find_manifest(
        get, descriptor.digest, wanted, "image archive", lambda entry: _present(members, entry)
    )
    config = members.read(_blob_name(manifest.config.digest), MAX_CONFIG_BYTES)
    for blob in (manifest.config, *manifest.layers):
        verify(members.need(_blob_name(blob.digest)), blob.digest, blob.size, f"blob {blob.digest}")
    layers = tuple(members.need(_blob_name(layer.digest)) for layer in manifest.layers)
    return Loaded(manifest, digest, config, layers, (name,) if name else (), generated=False)


def _present(members: Members, descriptor: Descriptor) -> bool:
    return members.get(_blob_name(descriptor.digest)) is not None


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
