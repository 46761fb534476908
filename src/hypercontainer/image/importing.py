"""A root file system's tar as an image of one layer."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from hypercontainer.errors import ImageError
from hypercontainer.image import changes
from hypercontainer.image.blobs import compression_of
from hypercontainer.image.cancel import Guard
from hypercontainer.image.platforms import Platform
from hypercontainer.image.streams import STORED, Metered, damage_errors, decompressed, pieces
from hypercontainer.linux import disk

_WHAT = "import"
_BLOCK = 512


def take_layer(stream: BinaryIO, path: Path, limit: int, guard: Guard) -> tuple[str, str, int, str]:
    """Keep the stream's bytes at ``path``, as they are or, in a compression that layers do not have, plain; returns
    digest, diff ID, size in bytes, compression."""
    kept_hash, plain_hash = hashlib.sha256(), hashlib.sha256()
    with path.open("xb") as out:

        def keep(data: bytes) -> None:
            disk.keep_room(out.fileno())
            kept_hash.update(data)
            out.write(data)

        raw = Metered(stream, guard, limit, _WHAT)
        compression = compression_of(raw.peek())
        with damage_errors(_WHAT):
            plain = Metered(decompressed(raw, compression), guard, limit, _WHAT)
            kept = raw if compression in STORED else plain
            kept.observe = keep
            first = b""
            while len(first) < _BLOCK and (more := plain.read(_BLOCK - len(first))):
                first += more
            _check_tar(first)
            plain_hash.update(first)
            for data in pieces(plain):  # type: ignore[arg-type]
                plain_hash.update(data)
    digest, diff_id = f"sha256:{kept_hash.hexdigest()}", f"sha256:{plain_hash.hexdigest()}"
    return digest, diff_id, kept.count, compression if kept is raw else "none"


def _check_tar(first: bytes) -> None:
    if first == b"\0" * _BLOCK:
        return  # an archive of nothing
    try:
        tarfile.TarInfo.frombuf(first, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise ImageError(f"{_WHAT}: the input is not a tar archive: {error}") from error


def config_of(diff_id: str, platform: Platform, instructions: Sequence[str], message: str) -> bytes:
    """The image configuration for the layer."""
    config: dict[str, Any] = {}
    changes.apply(config, instructions)
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    document: dict[str, Any] = {
        "created": now,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": now, "comment": message or "imported"}],
    }
    if platform.variant:
        document["variant"] = platform.variant
    return msgspec.json.encode(document)
