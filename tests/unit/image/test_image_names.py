"""Whole archives in and out: the names, platforms and compressions that they have."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hypercontainer.errors import ImageError, NotFound
from hypercontainer.image import documents
from hypercontainer.image.store import ImageStore

A, B = b"layer a" * 1000, b"layer b" * 1000
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def load(store: ImageStore, data: bytes, **options: Any) -> Any:
    return store.load(io.BytesIO(data), **options)


def repo_tags(store: ImageStore, *names: str) -> list[list[str]]:
    out = io.BytesIO()
    store.save(names, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        return [entry["RepoTags"] for entry in json.load(file)]


def test_load_says_the_names_of_the_archive_alone(store: ImageStore, made: Any) -> None:
    archive = made.docker_archive([A], ["app:1", "app:2"])
    load(store, archive)
    store.tag("app:1", "elsewhere:9")
    (image,) = load(store, archive)
    assert image.references == ("docker.io/library/app:1", "docker.io/library/app:2")
    (nameless,) = load(store, made.docker_archive([A]))
    assert (nameless.id, nameless.references) == (image.id, ())
    assert len(store.get("app:1").references) == 3


def with_manifest_json(made: Any, files: dict[str, bytes], tags: list[str]) -> bytes:
    manifest = json.loads(files["index.json"])["manifests"][0]["digest"][7:]
    document = json.loads(files[f"blobs/sha256/{manifest}"])

    def blob(descriptor: dict[str, str]) -> str:
        return "blobs/sha256/" + descriptor["digest"][7:]

    entry = {
        "Config": blob(document["config"]),
        "RepoTags": tags,
        "Layers": [blob(layer) for layer in document["layers"]],
    }
    archive: bytes = made.tar({**files, "manifest.json": json.dumps([entry]).encode()})
    return archive


def test_names_that_an_index_lacks_are_those_of_manifest_json(store: ImageStore, made: Any) -> None:
    files = made.oci_files([A])
    (image,) = load(store, with_manifest_json(made, files, ["localhost/f14:1", "localhost/f14:2"]))
    assert image.references == ("localhost/f14:1", "localhost/f14:2")
    assert image.manifest_digest == json.loads(files["index.json"])["manifests"][0]["digest"]
    (named,) = load(store, with_manifest_json(made, made.oci_files([B], tag="localhost/own:1"), ["other:1"]))
    assert named.references == ("localhost/own:1",)


def test_a_repository_is_saved_with_all_of_its_tags(store: ImageStore, made: Any) -> None:
    load(store, made.docker_archive([A], ["host/team/app:1", "host/team/app:2", "host/team/app2:1"]))
    load(store, made.docker_archive([B], ["host/team/app:3", "host:5000/x:1", "host:1"]))
    assert sorted(repo_tags(store, "host/team/app")) == [
        ["host/team/app:1", "host/team/app:2"],
        ["host/team/app:3"],
    ]
    assert repo_tags(store, "host/team/app:2") == [["host/team/app:2"]]
    assert repo_tags(store, "host") == [["host:1"]]
    identifier = store.get("host/team/app:1").id
    for text in (identifier, identifier[7:], identifier[7:19]):
        assert repo_tags(store, text) == [[]]
    with pytest.raises(NotFound):
        repo_tags(store, "host/team")


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "bzip2": bz2.compress}


@pytest.mark.parametrize("name", COMPRESS)
def test_xz_and_bzip2(store: ImageStore, made: Any, name: str) -> None:
    compress = COMPRESS[name]
    plain = made.docker_archive([A, B], ["x:1"])
    (whole,) = load(store, compress(plain[:1000]) + compress(plain[1000:]))  # two streams are one
    assert whole.references == ("docker.io/library/x:1",)
    manifest = [{"Config": "c.json", "RepoTags": ["x:2"], "Layers": ["0", "1"]}]
    members = {"0": compress(A), "1": compress(B), "c.json": made.config([A, B], Cmd=["2"])}
    (image,) = load(store, made.tar({**members, "manifest.json": json.dumps(manifest).encode()}))
    # As registries know layers: what they have no type for is kept plain.
    assert [(layer.digest, layer.compression) for layer in image.layers] == [
        (made.digest(A), "none"),
        (made.digest(B), "none"),
    ]
    assert repo_tags(store, "x:2") == [["x:2"]]
    root = made.tar({"bin/sh": b"#!"})
    imported = store.import_(io.BytesIO(compress(root)), reference="mine")
    assert [(layer.digest, layer.compression) for layer in imported.layers] == [(made.digest(root), "none")]


@pytest.mark.parametrize("name", COMPRESS)
def test_a_layer_of_an_index_keeps_its_digest(store: ImageStore, made: Any, name: str) -> None:
    files = made.oci_files([A], tag="localhost/x:1", compress=COMPRESS[name])
    (image,) = load(store, made.tar(files))
    assert image.layers[0].compression == name
    out = io.BytesIO()
    store.save(["localhost/x:1"], out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        file = tar.extractfile("blobs/" + made.digest(A).replace(":", "/"))
        assert file is not None and file.read() == A


def of_platform(made: Any, layer: bytes, architecture: str) -> dict[str, bytes]:
    """An OCI layout's members, but its index, and its descriptor under "descriptor"."""
    config = json.dumps({**json.loads(made.config([layer])), "architecture": architecture}).encode()
    blob = gzip.compress(layer)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": made.descriptor(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [made.descriptor(blob, "application/vnd.oci.image.layer.v1.tar+gzip")],
        }
    ).encode()
    descriptor = {
        **made.descriptor(manifest, OCI_MANIFEST),
        "platform": {"os": "linux", "architecture": architecture},
        "annotations": {"org.opencontainers.image.ref.name": "localhost/many:1"},
    }
    blobs = {f"blobs/{made.digest(each).replace(':', '/')}": each for each in (config, blob, manifest)}
    return {**blobs, "descriptor": json.dumps(descriptor).encode()}


@pytest.fixture
def many(made: Any) -> Iterator[bytes]:
    parts = [of_platform(made, A, "amd64"), of_platform(made, B, "arm64")]
    descriptors = [json.loads(part.pop("descriptor")) for part in parts]
    index = json.dumps({"schemaVersion": 2, "manifests": descriptors}).encode()
    yield made.tar({**parts[0], **parts[1], "index.json": index})


def test_the_platform_of_an_archive_is_chosen(store: ImageStore, made: Any, many: bytes) -> None:
    from hypercontainer.image.platforms import parse

    for text in ("linux/arm64", "linux/amd64"):
        (image,) = load(store, many, platform=parse(text))
        assert str(image.platform) == text
    with pytest.raises(ImageError, match="no image for linux/s390x"):
        load(store, many, platform=parse("linux/s390x"))
    with pytest.raises(ImageError, match="no image for linux/arm64; it has linux/amd64"):
        load(store, made.docker_archive([A], ["x:1"]), platform=parse("linux/arm64"))


def test_an_image_of_before_a_bound_is_listed_and_removed(
    store: ImageStore, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = load(store, made.docker_archive([A], ["x:1"], Labels={"a": "b"}))
    load(store, made.docker_archive([B], ["y:1"]))
    monkeypatch.setattr(documents, "MAX_LABELS", 0)
    assert {found.id for found in store.list()} == {image.id, store.get("y:1").id}
    with pytest.raises(ImageError, match="1 labels") as caught:
        store.get("x:1")
    assert [remedy.call for remedy in caught.value.remedies] == ["images.remove"]
    assert store.remove("x:1")[-1].deleted == image.id
