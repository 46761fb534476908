"""What is no container image: pulled, loaded and saved, and as which layers it is unpacked."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import artifacts
from artifacts import EMPTY, TAR, descriptor, digest_of, file
from fake_registry import Fake
from hypercontainer.errors import ImageError, InvalidArgument
from hypercontainer.image.artifacts import unpackable
from hypercontainer.image.model import Layer
from hypercontainer.image.store import ImageStore

MODEL, CARD = bytes(range(256)) * 3, b"# A model\n"


@pytest.fixture
def registry() -> Iterator[Fake]:
    with Fake() as running:
        yield running


class Unpacked:
    """What a store's ``prepare`` is given: every member of every layer, and the layers."""

    def __init__(self) -> None:
        self.members: dict[str, bytes | None] = {}
        self.layers: list[Layer] = []

    def __call__(self, layer: Layer, blob: Path) -> None:
        self.layers.append(layer)
        with unpackable(layer, blob) as source:
            data = b"".join(iter(lambda: source.read(100), b""))
        plain = gzip.decompress(data) if layer.compression == "gzip" else data
        assert digest_of(plain) == layer.diff_id
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            for member in tar:
                content = tar.extractfile(member)
                self.members[member.name] = content.read() if content else None


def add(registry: Fake, made: bytes, *blobs: bytes) -> str:
    registry.manifests["1"] = (made, artifacts.OCI_MANIFEST)
    registry.blobs |= {digest_of(data): data for data in blobs}
    return f"{registry.host}/model:1"


def test_files_archives_and_nothing(store: ImageStore, registry: Fake, made: Any) -> None:
    """oras says tar of files that are none."""
    site = gzip.compress(made.tar({"site/index.html": b"<p>"}))
    raw = artifacts.manifest(
        file(MODEL, "model.bin"),
        file(CARD, "README.md", TAR),
        file(site, "site", f"{TAR}+gzip"),
        file(b"no title"),
        descriptor(b"deep", "application/x-weights", **{"org.cncf.model.filepath": "w/1/deep.bin"}),
        descriptor(b"{}", EMPTY),
        annotations={"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
    )
    reference = add(registry, raw, MODEL, CARD, site, b"no title", b"deep", b"{}")
    unpacked = Unpacked()
    image = store.pull(reference, prepare=unpacked)
    assert unpacked.members == {
        "model.bin": MODEL,
        "README.md": CARD,
        "site/index.html": b"<p>",
        digest_of(b"no title").replace(":", "-"): b"no title",
        "w/1/deep.bin": b"deep",
    }
    assert image.artifact_type == "application/vnd.test.model"
    assert (image.id, image.created) == (digest_of(raw), "2026-01-02T03:04:05Z")
    assert {layer.diff_id for layer in image.layers} == {layer.diff_id for layer in unpacked.layers}
    assert store.get(reference).id == store.get(image.short_id).id == image.id
    with pytest.raises(InvalidArgument, match="artifact"):
        store.history(reference, lambda _: 0)
    assert [line.deleted for line in store.remove(reference)][-1] == image.id


def test_one_blob_as_two_files(store: ImageStore, registry: Fake) -> None:
    unpacked = Unpacked()
    reference = add(registry, artifacts.manifest(file(CARD, "a"), file(CARD, "b")), CARD)
    image = store.pull(reference, prepare=unpacked)
    assert unpacked.members == {"a": CARD, "b": CARD}
    assert len({layer.diff_id for layer in image.layers}) == 2


def test_two_artifacts_with_one_config_are_two(store: ImageStore, registry: Fake) -> None:
    one = store.pull(add(registry, artifacts.manifest(file(CARD, "a")), CARD))
    two = store.pull(add(registry, artifacts.manifest(file(CARD, "b")), CARD))
    assert one.id != two.id
    assert len(store.list()) == 2


def test_a_config_of_another_type_may_be_anything(store: ImageStore, registry: Fake) -> None:
    config = b"\xff not JSON"
    raw = artifacts.manifest(
        file(CARD, "a"), artifact_type="", config=descriptor(config, "application/vnd.x.config")
    )
    image = store.pull(add(registry, raw, CARD, config))
    assert (image.artifact_type, image.config.raw, image.fault) == ("application/vnd.x.config", config, "")


def test_where_an_image_is_wanted_nothing_is_fetched(store: ImageStore, registry: Fake) -> None:
    reference = add(registry, artifacts.manifest(file(MODEL, "m")), MODEL)
    with pytest.raises(
        InvalidArgument, match=r"no container image but an artifact, application/vnd\.test\.model"
    ):
        store.pull(reference, artifacts=False)
    assert not any("/blobs/" in path for _, path, _ in registry.log)


@pytest.mark.parametrize(
    "title",
    ["..", ".", "a/b", "/etc/passwd", "../x", "x" * 256, "a\nb", "a\0b", ".wh.x", ".wh..wh..opq", "\udc80"],
)
def test_titles_that_are_no_names(store: ImageStore, registry: Fake, title: str) -> None:
    with pytest.raises(ImageError):
        store.pull(add(registry, artifacts.manifest(file(CARD, title)), CARD))
    assert store.list() == []


@pytest.mark.parametrize("path", ["../x", "a/../b", "/a", "a//b", "a/", "a/.wh.b", "d/" * 600 + "f"])
def test_paths_that_lead_elsewhere(store: ImageStore, registry: Fake, path: str) -> None:
    layer = descriptor(CARD, "application/x", **{"org.cncf.model.filepath": path})
    with pytest.raises(ImageError, match="is no name for a file"):
        store.pull(add(registry, artifacts.manifest(layer), CARD))


def test_two_files_of_one_name(store: ImageStore, registry: Fake) -> None:
    raw = artifacts.manifest(file(CARD, "a"), file(MODEL, "a"))
    with pytest.raises(ImageError, match="two of its files are called 'a'"):
        store.pull(add(registry, raw, CARD, MODEL))


def test_saved_and_loaded(store: ImageStore, made: Any) -> None:
    raw = artifacts.manifest(file(CARD, "card"))
    archive = made.tar(artifacts.layout(raw, CARD, name="localhost/model:1"))
    (image,) = store.load(io.BytesIO(archive))
    assert (image.references, image.id) == (("localhost/model:1",), digest_of(raw))
    out = io.BytesIO()
    with pytest.raises(InvalidArgument, match="Docker archive cannot have"):
        store.save(["localhost/model:1"], out)
    out = io.BytesIO()
    store.save(["localhost/model:1"], out, format="oci")
    store.remove("localhost/model:1")
    unpacked = Unpacked()
    (again,) = store.load(io.BytesIO(out.getvalue()), prepare=unpacked)
    assert (again.id, unpacked.members) == (image.id, {"card": CARD})
