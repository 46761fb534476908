"""A layer that comes as a tar, as an image: alone (import), or over those of another image (commit)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from hypercontainer.errors import ImageError
from hypercontainer.image import changes
from hypercontainer.image.blobs import compression_of
from hypercontainer.image.cancel import Guard
from hypercontainer.image.platforms import Platform
from hypercontainer.image.streams import STORED, Metered, begins_as_tar, damage_errors, decompressed, pieces
from hypercontainer.linux import disk

_BLOCK = 512


class Taken(NamedTuple):
    """A layer's tar, as it is kept."""

    digest: str
    diff_id: str
    size_bytes: int
    compression: str


@dataclass(frozen=True)
class Making:
    """What a new image's configuration says of how it was made.  ``changes``: lines of a Dockerfile."""

    changes: Sequence[str] = ()
    message: str = ""
    author: str = ""
    created_by: str = ""


IMPORTED = Making(message="imported")


def take_layer(what: str, stream: BinaryIO, path: Path, limit: int, guard: Guard) -> Taken:
    """Keep the stream's bytes at ``path``, as they are or, in a compression that layers do not have, plain."""
    kept_hash, plain_hash = hashlib.sha256(), hashlib.sha256()
    with path.open("xb") as out:

        def keep(data: bytes) -> None:
            disk.keep_room(out.fileno())
            kept_hash.update(data)
            out.write(data)

        raw = Metered(stream, guard, limit, what)
        compression = compression_of(raw.peek())
        with damage_errors(what):
            plain = Metered(decompressed(raw, compression), guard, limit, what)
            kept = raw if compression in STORED else plain
            kept.observe = keep
            first = b""
            while len(first) < _BLOCK and (more := plain.read(_BLOCK - len(first))):
                first += more
            if not begins_as_tar(first):
                raise ImageError(f"{what}: the input is not a tar archive")
            plain_hash.update(first)
            for data in pieces(plain):  # type: ignore[arg-type]
                plain_hash.update(data)
    digest, diff_id = f"sha256:{kept_hash.hexdigest()}", f"sha256:{plain_hash.hexdigest()}"
    return Taken(digest, diff_id, kept.count, compression if kept is raw else "none")


def config_of(diff_id: str, platform: Platform, making: Making) -> bytes:
    """The image configuration for a layer alone."""
    document: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        document["variant"] = platform.variant
    return _over(document, diff_id, {}, making)


def derived_config(parent: bytes, diff_id: str, config: Mapping[str, Any], making: Making) -> bytes:
    """That of a layer over those of the image whose configuration is ``parent``; ``config`` is what it says of how a
    container is run.  What nobody knows here is left out: it would be said of another image than it was meant for."""
    document = msgspec.json.decode(parent, type=dict[str, Any])
    return _over({name: document[name] for name in _KEPT if name in document}, diff_id, config, making)


_KEPT = ("architecture", "os", "os.version", "os.features", "variant", "rootfs", "history")


def _over(document: dict[str, Any], diff_id: str, config: Mapping[str, Any], making: Making) -> bytes:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    run = dict(config)
    changes.apply(run, making.changes)
    below = (document.get("rootfs") or {}).get("diff_ids") or []
    said = {"created_by": making.created_by, "author": making.author, "comment": making.message}
    step = {"created": now, **{name: value for name, value in said.items() if value}}
    document |= {
        "created": now,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [*below, diff_id]},
        "history": [*(document.get("history") or [{} for _ in below]), step],
    }
    if making.author:
        document["author"] = making.author
    if making.message:
        document["comment"] = making.message  # which Docker shows of an image, beside its history
    return msgspec.json.encode(document)
