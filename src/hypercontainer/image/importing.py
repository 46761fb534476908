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
from hypercontainer.image.streams import Metered, damage_errors, decompressed, pieces
from hypercontainer.linux import disk

_WHAT = "import"
_BLOCK = 512


def take_layer(stream: BinaryIO, path: Path, limit: int, guard: Guard) -> tuple[str, str, int, str]:
    """Keep the stream's bytes as they are at ``path``; returns digest, diff ID, size in bytes, compression."""
    raw_hash, plain_hash = hashlib.sha256(), hashlib.sha256()
    with path.open("xb") as out:

        def keep(data: bytes) -> None:
            disk.keep_room(out.fileno())
            raw_hash.update(data)
            out.write(data)

        raw = Metered(stream, guard, limit, _WHAT, keep)
        compression = compression_of(raw.peek(), _WHAT)
        with damage_errors(_WHAT):
            plain = decompressed(raw, compression)
            first = plain.read(_BLOCK)
            while 0 < len(first) < _BLOCK and (more := plain.read(_BLOCK - len(first))):
                first += more
            _check_tar(first)
            plain_hash.update(first)
            bounded = Metered(plain, guard, limit, _WHAT)
            for data in pieces(bounded):  # type: ignore[arg-type]
                plain_hash.update(data)
    return f"sha256:{raw_hash.hexdigest()}", f"sha256:{plain_hash.hexdigest()}", raw.count, compression


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
