"""Images out of archives: docker-archive and OCI layout, as files or streams.

Sources: Docker image specification 1.2 (combined image JSON + filesystem changeset format), OCI image layout.
An archive that has both is taken as an OCI layout, which keeps the digests of manifests; names that it lacks are
those of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from hypercontainer.errors import ImageError, InvalidArgument, Remedy
from hypercontainer.image.blobs import digest_of
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
    parse_config,
    parse_manifest,
    select,
)
from hypercontainer.image.members import Member, Members, verify
from hypercontainer.image.platforms import Platform, candidates, suitability
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


def images(members: Members, platform: Platform | None = None) -> list[Loaded]:
    """All images of the archive, of several for one name that for ``platform``, or for this machine; ImageError where
    it is none that is known, refers to what is not there, or has none for a ``platform`` that is asked for."""
    if members.get("index.json") is not None:
        found = list(_oci_images(members, platform))
    elif members.get("manifest.json") is not None:
        found = list(_docker_images(members))
    else:
        raise ImageError(
            "image archive: neither manifest.json (docker save) nor index.json (OCI layout) is in it",
            remedies=[Remedy("images.import", aim="for the tar of a root file system")],
        )
    if not found:
        raise ImageError("image archive: there is no image in it")
    return found if platform is None else _of_platform(found, platform)


def _of_platform(found: list[Loaded], wanted: Platform) -> list[Loaded]:
    has = [_platform(loaded) for loaded in found]
    suiting = [
        loaded
        for loaded, platform in zip(found, has, strict=True)
        if platform is None or any(suitability(platform, each) is not None for each in candidates(wanted))
    ]
    if not suiting:
        said = ", ".join(dict.fromkeys(map(str, has)))[:500]
        raise ImageError(
            f"image archive: no image for {wanted}; it has {said}", hint="choose another platform"
        )
    return suiting


def _platform(loaded: Loaded) -> Platform | None:
    """None of an artifact, which is for any."""
    if loaded.manifest.artifact_type:
        return None
    return parse_config(loaded.config, "image archive").platform


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


def _docker_entries(members: Members) -> list[_DockerEntry]:
    raw = members.read("manifest.json", MAX_MANIFEST_BYTES)
    entries = decode(raw, list[_DockerEntry], "image archive: manifest.json")
    if len(entries) > MAX_IMAGES:
        raise ImageError(f"image archive: {len(entries)} images, at most {MAX_IMAGES}")
    return entries


def _docker_images(members: Members) -> Iterator[Loaded]:
    for entry in _docker_entries(members):
        config = members.read(entry.config, MAX_CONFIG_BYTES)
        if len(entry.layers or ()) > MAX_LAYERS:
            raise ImageError(f"image archive: an image has more than {MAX_LAYERS} layers")
        layers = tuple(members.storable(name) for name in entry.layers or ())
        described = [(x.digest, x.size, x.compression()) for x in layers]
        manifest_raw = generated_manifest(config, described)
        manifest = parse_manifest(manifest_raw, "", "image archive")
        assert isinstance(manifest, Manifest)
        tags = tuple(_tag(name) for name in entry.repo_tags or ())
        yield Loaded(manifest, digest_of(manifest_raw), config, layers, tags, generated=True)


def _tag(name: str) -> str:
    reference = parse(name)
    if reference.digest or not reference.tag:
        raise InvalidArgument(f"image archive: {name!r} is not a name with a tag")
    return reference.canonical


def _oci_images(members: Members, platform: Platform | None) -> Iterator[Loaded]:
    raw = members.read("index.json", MAX_MANIFEST_BYTES)
    index = parse_manifest(raw, "", "image archive: index.json")
    if not isinstance(index, Index):
        raise ImageError("image archive: index.json is not an index")
    groups: dict[str, list[Descriptor]] = {}
    for descriptor in index.manifests:
        groups.setdefault(_name_of(descriptor), []).append(descriptor)
    wanted = candidates(platform)
    others = _docker_tags(members)
    for name, group in groups.items():
        chosen = group
        if len(group) > 1 and all(descriptor.platform for descriptor in group):
            available = Index(index.media_type, tuple(group))
            chosen = [select(available, wanted, "image archive", lambda d: _present(members, d))]
        for descriptor in chosen:
            loaded = _oci_image(members, descriptor, wanted)
            config = loaded.manifest.config.digest
            tags = (name,) if name else others.get(config, ())
            # Docker makes one for each archive that it saves, of plain layers; no registry has it.
            generated = config in others and all(x.media_type == OCI_LAYER for x in loaded.manifest.layers)
            yield replace(loaded, tags=tags, generated=generated)


def _docker_tags(members: Members) -> dict[str, tuple[str, ...]]:
    """Config's digest -> what manifest.json, where there is one, calls its image."""
    found: dict[str, tuple[str, ...]] = {}
    if members.get("manifest.json") is not None:
        for entry in _docker_entries(members):
            if config := members.get(entry.config):
                tags = tuple(_tag(name) for name in entry.repo_tags or ())
                found[config.digest] = (*found.get(config.digest, ()), *tags)
    return found


def _name_of(descriptor: Descriptor) -> str:
    """The image's canonical tag; '' where the archive has none, or only a bare tag without a repository."""
    name = descriptor.annotation(CONTAINERD_NAME) or descriptor.annotation(OCI_REF_NAME)
    if not name or not (set(name) & set(":/")):
        return ""
    reference = parse(name)
    return reference.canonical if reference.tag and not reference.digest else ""


def _oci_image(members: Members, descriptor: Descriptor, wanted: Sequence[Platform]) -> Loaded:
    """Without its names."""

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
    return Loaded(manifest, digest, config, layers, (), generated=False)


def _present(members: Members, descriptor: Descriptor) -> bool:
    return members.get(_blob_name(descriptor.digest)) is not None


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
