"""Hand-made images and archives for the image tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.image.model import RegistriesConfig
from hypercontainer.image.store import ImageStore


def _tar(entries: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in entries.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Made:
    """Builders of documents and archives; everything is bytes."""

    tar = staticmethod(_tar)

    @staticmethod
    def digest(data: bytes, algorithm: str = "sha256") -> str:
        return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"

    @staticmethod
    def config(layers: list[bytes], **run: Any) -> bytes:
        diff_ids = [Made.digest(layer) for layer in layers]
        return json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2024-02-03T04:05:06.789Z",
                "config": run,
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "history": [{"created_by": f"step {i}"} for i, _ in enumerate(layers)],
            }
        ).encode()

    @staticmethod
    def docker_archive(layers: list[bytes], tags: list[str] | None = None, **run: Any) -> bytes:
        config = Made.config(layers, **run)
        names = [f"{i}/layer.tar" for i, _ in enumerate(layers)]
        manifest = [{"Config": "c.json", "RepoTags": tags, "Layers": names}]
        files = dict(zip(names, layers, strict=True))
        return _tar({**files, "c.json": config, "manifest.json": json.dumps(manifest).encode()})

    @staticmethod
    def oci_files(
        layers: list[bytes], tag: str = "", compress: Callable[[bytes], bytes] = gzip.compress
    ) -> dict[str, bytes]:
        """The members of an OCI layout with one image of gzip layers."""
        config = Made.config(layers)
        blobs = [compress(layer) for layer in layers]
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": Made.descriptor(config, "application/vnd.oci.image.config.v1+json"),
                "layers": [Made.descriptor(b, "application/vnd.oci.image.layer.v1.tar+gzip") for b in blobs],
            }
        ).encode()
        entry = Made.descriptor(manifest, "application/vnd.oci.image.manifest.v1+json")
        if tag:
            entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
        index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        files = {f"blobs/{Made.digest(b).replace(':', '/')}": b for b in (config, manifest, *blobs)}
        return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', **files, "index.json": index}

    @staticmethod
    def descriptor(blob: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": Made.digest(blob), "size": len(blob)}


@pytest.fixture
def made() -> type[Made]:
    return Made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "store", RegistriesConfig(certs_dir=tmp_path / "certs.d", environ={}))
    yield opened
    opened.close()
    leftovers = [p for folder in ("staging", "partial") for p in (tmp_path / "store" / folder).iterdir()]
    assert leftovers == []
