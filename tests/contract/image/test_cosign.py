"""cosign 3 itself, of Debian's newest suite: what it signs is taken here, and what our stage signs is taken by it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import signing
import suites
from fake_registry import OCI_INDEX, OCI_MANIFEST, Fake
from hypercontainer.config.model import ImageRule
from hypercontainer.errors import Untrusted
from hypercontainer.image.importing import Making
from hypercontainer.image.signature import loading
from hypercontainer.image.store import ImageStore
from signing import Sigstore
from soak import rounds

NewStore = Callable[..., ImageStore]
# Nobody is asked: neither Rekor nor a clock.
ALONE = {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}
ALONE_CONFIG = {**ALONE, "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {"selector": "ANY"}}


KEYS: dict[str, Callable[[], signing.Key]] = {
    "ecdsa": signing.new_key,
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


# cosign takes seconds each time; without HYPER_SOAK one kind of key stands for all.
CHOSEN = list(KEYS)[: rounds(short=1, soak=len(KEYS))]


@pytest.fixture(scope="session")
def cosign_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        found = suites.fetch("cosign", ("sid",))
    except suites.Missing as error:
        pytest.skip(f"no cosign 3: {error}")
    folder = tmp_path_factory.mktemp("cosign")
    subprocess.run(["dpkg", "-x", found.path, folder], check=True)
    return folder / "usr/bin/cosign"


@dataclass
class Cosign:
    """In ``folder``, which is its home."""

    path: Path
    folder: Path

    def __call__(self, *argv: str) -> None:
        environment = {**os.environ, "HOME": str(self.folder), "COSIGN_PASSWORD": ""}
        done = subprocess.run(
            [self.path, *argv], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def cosign(cosign_path: Path, tmp_path: Path) -> Cosign:
    (tmp_path / "alone.json").write_text(json.dumps(ALONE_CONFIG))
    return Cosign(cosign_path, tmp_path)


@pytest.fixture
def image(new_registry: Callable[..., str], new_store: NewStore) -> tuple[str, str]:
    """Reference and digest of one that was pushed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    out.seek(0)
    reference = f"{new_registry()}/app:1"
    maker = new_store("maker")
    maker.import_(out, reference=reference, making=Making())
    return reference, maker.push(reference)


def named(reference: str, digest: str) -> str:
    return f"{reference.rpartition(':')[0]}@{digest}"


def attach(reference: str, digest: str, bundle: bytes) -> None:
    """What `cosign sign` does at its end, for a registry without referrers."""
    host, name = reference.rpartition(":")[0].split("/")
    base = f"http://{host}/v2/{name}"
    config = put_blob(base, b"{}", "application/vnd.oci.empty.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": signing.BUNDLE,
        "config": config,
        "layers": [put_blob(base, bundle, signing.BUNDLE)],
        "subject": {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1},
    }
    entry = put_manifest(base, manifest)
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{**entry, "artifactType": signing.BUNDLE}],
    }
    put_manifest(base, index, digest.replace(":", "-"))


def put_blob(base: str, data: bytes, kind: str) -> dict[str, Any]:
    place = request("POST", f"{base}/blobs/uploads/", b"")["Location"]
    described = Fake.descriptor(data, kind)
    request("PUT", f"{place}&digest={described['digest']}", data, "application/octet-stream")
    return described


def put_manifest(base: str, document: dict[str, Any], tag: str = "") -> dict[str, Any]:
    data = json.dumps(document).encode()
    described = Fake.descriptor(data, document["mediaType"])
    request("PUT", f"{base}/manifests/{tag or described['digest']}", data, document["mediaType"])
    return described


def request(method: str, url: str, data: bytes, kind: str = "text/plain") -> Message:
    asked = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(asked) as answer:
        headers: Message = answer.headers
        return headers


@pytest.mark.parametrize("kind", CHOSEN)
def test_an_image_that_cosign_has_signed_is_taken(
    kind: str, cosign: Cosign, image: tuple[str, str], new_store: NewStore
) -> None:
    made = KEYS[kind]()
    secret = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (cosign.folder / "own.pem").write_bytes(secret)
    cosign("import-key-pair", "--key", "own.pem", "--output-key-prefix", "own")
    reference, digest = image
    rules = [ImageRule("*", "key", keys=(cosign.folder / "own.pub",))]
    with pytest.raises(Untrusted, match="was found: none"):
        new_store("before", policy=loading.load(rules)).pull(reference)
    sign = ("sign", "--yes", "--key", "own.key", "--signing-config", "alone.json", "--allow-http-registry")
    cosign(*sign, named(reference, digest))
    assert new_store("after", policy=loading.load(rules)).pull(reference)


@pytest.mark.parametrize("version", [1, 2])
def test_cosign_believes_our_sigstore_as_we_do(version: int, cosign: Cosign, image: tuple[str, str]) -> None:
    """So that what the other tests make is what is made in earnest."""
    reference, digest = image
    sigstore = Sigstore().with_clock(cosign.folder)
    (cosign.folder / "root.json").write_bytes(sigstore.trusted_root())
    attach(reference, digest, sigstore.keyless(digest, version=version))
    cosign(
        "verify",
        "--allow-http-registry",
        "--trusted-root=root.json",
        f"--certificate-identity={signing.IDENTITY}",
        f"--certificate-oidc-issuer={signing.ISSUER}",
        *(["--use-signed-timestamps"] if version == 2 else []),
        named(reference, digest),
    )
