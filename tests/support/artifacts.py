"""Hand-made OCI artifacts: as an OCI layout's files, and in a registry."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
TAR = "application/vnd.oci.image.layer.v1.tar"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str, **annotations: str) -> dict[str, Any]:
    found = {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}
    return {**found, "annotations": annotations} if annotations else found


def file(data: bytes, title: str = "", media_type: str = "application/octet-stream") -> dict[str, Any]:
    return descriptor(data, media_type, **({TITLE: title} if title else {}))


def manifest(
    *layers: dict[str, Any], artifact_type: str = "application/vnd.test.model", **more: Any
) -> bytes:
    """With the empty config, unless ``more`` says another."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor(b"{}", EMPTY),
        "layers": layers,
        **more,
    }
    return json.dumps({key: value for key, value in document.items() if value}).encode()


def layout(made: bytes, *blobs: bytes, name: str = "") -> dict[str, bytes]:
    """The members of an OCI layout that has the artifact."""
    entry = descriptor(made, OCI_MANIFEST, **({"org.opencontainers.image.ref.name": name} if name else {}))
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    files = {f"blobs/{digest_of(data).replace(':', '/')}": data for data in (b"{}", made, *blobs)}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', **files, "index.json": index}


def push(folder: Path, reference: str, files: Mapping[str, bytes]) -> None:
    """By skopeo, which knows nothing of what it copies."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    target = f"docker://{reference}"
    subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{folder}", target], check=True)
