"""Makes the smallest useful image, of the distribution's static busybox, as a Docker archive.

usage: python tools/busybox_image.py OUTPUT.tar [REFERENCE]
Needs no registry and no container tool; the same input gives the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

REFERENCE = "localhost/busybox:latest"
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
}
DIRECTORIES = (
    "bin",
    "sbin",
    "usr",
    "usr/bin",
    "usr/sbin",
    "etc",
    "root",
    "home",
    "tmp",
    "var",
    "var/tmp",
    "run",
)


BUSYBOX = Path("/bin/busybox")


@functools.cache
def layer(busybox: Path = BUSYBOX) -> bytes:
    """The root file system as a tar, with ``busybox`` of any machine: it has this one's applets, or as good as."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in DIRECTORIES:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755
            tar.addfile(entry)
        for name, text in FILES.items():
            _file(tar, name, text.encode(), 0o644)
        _file(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        listing = subprocess.run([BUSYBOX, "--list-full"], check=True, capture_output=True, text=True)
        for applet in sorted(set(listing.stdout.split()) - {"bin/busybox"}):
            entry = tarfile.TarInfo(applet)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/bin/busybox"
            tar.addfile(entry)
    return out.getvalue()


def archive(
    layers: Sequence[bytes],
    reference: str = REFERENCE,
    *,
    config: dict[str, object] | None = None,
    architecture: str = "amd64",
) -> bytes:
    """A Docker archive (what `docker save` writes) of one image with these layers."""
    digests = [hashlib.sha256(data).hexdigest() for data in layers]
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "Cmd": ["sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        }
        | (config or {}),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "busybox-static"}] * len(layers),
    }
    blob = json.dumps(document).encode()
    name = hashlib.sha256(blob).hexdigest() + ".json"
    manifest = [
        {"Config": name, "RepoTags": [reference], "Layers": [f"{digest}/layer.tar" for digest in digests]}
    ]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _file(tar, name, blob, 0o644)
        for digest, data in dict(zip(digests, layers, strict=True)).items():
            _file(tar, f"{digest}/layer.tar", data, 0o644)
        _file(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
    return out.getvalue()


def _file(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def main() -> int:
    if not 2 <= len(sys.argv) <= 3:
        print(__doc__, file=sys.stderr)
        return 2
    Path(sys.argv[1]).write_bytes(archive([layer()], *sys.argv[2:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
