"""Where in a layer's blob its table of contents is, and what of the blob vouches for it.

eStargz: a footer says where the table is, an annotation of the layer what digest it has (containerd's
stargz-snapshotter, docs/estargz.md).  zstd:chunked: annotations say both (containers/storage, pkg/chunked).  A table
that the manifest says no digest of is not believed.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from hypercontainer.image.documents import Descriptor
from hypercontainer.rootfs.limits import LayerLimits
from hypercontainer.rootfs.table import TABLE_NAME, Table, Unfit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP, ZSTD = "gzip", "zstd"
STARGZ_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
CHUNKED_DIGEST = "io.github.containers.zstd-chunked.manifest-checksum"
CHUNKED_PLACE = "io.github.containers.zstd-chunked.manifest-position"
CHUNKED_TARSPLIT = "io.github.containers.zstd-chunked.tarsplit-position"
MAX_TABLE_BYTES = 64 << 20
FOOTER_BYTES = 51
TAIL_BYTES = 1 << 18  # of a blob, asked for at once: most have the whole table there
_FRAME_HEAD_BYTES = 8  # of a skippable frame
_CRFS = 1
_PLACE = re.compile(r"(\d{1,18}):(\d{1,18}):(\d{1,18})(?::(\d{1,18}))?", re.ASCII)
_GZIP_FLAGGED, _EXTRA_AT = b"\x1f\x8b\x08\x04", 10

ReadRange = Callable[[int, int], bytes]  # from, up to


@dataclass(frozen=True)
class Contents:
    """``packing``: of its pieces."""

    packing: str
    table: Table


def has_table(layer: Descriptor) -> bool:
    return bool(layer.annotation(STARGZ_DIGEST) or layer.annotation(CHUNKED_DIGEST))


def read(layer: Descriptor, fetch: ReadRange, limits: LayerLimits) -> Contents:
    """Raises Unfit where the layer cannot be had in pieces, Refusal, and what ``fetch`` raises."""
    if layer.annotation(CHUNKED_DIGEST):
        raw, end = _chunked(layer, fetch)
        return Contents(ZSTD, Table(raw, end, limits))
    raw, end = _stargz(layer, fetch)
    return Contents(GZIP, Table(raw, end, limits))


def _stargz(layer: Descriptor, fetch: ReadRange) -> tuple[bytes, int]:
    tail_at = max(0, layer.size - TAIL_BYTES)
    tail = fetch(tail_at, layer.size)
    place = _footer(tail[-FOOTER_BYTES:])
    if place is None or not 0 < place < layer.size - FOOTER_BYTES:
        raise Unfit("it has no footer that says where its table of contents is")
    if layer.size - place > MAX_TABLE_BYTES:
        raise Unfit(f"its table of contents has {layer.size - place} bytes")
    packed = tail[place - tail_at :] if place >= tail_at else fetch(place, tail_at) + tail
    raw = _from_tar(_unpacked(zlib.decompressobj(31).decompress, packed))
    _check(raw, layer.annotation(STARGZ_DIGEST))
    return raw, place


def _footer(footer: bytes) -> int | None:
    """The offset in the extra field of an empty gzip member."""
    if len(footer) < FOOTER_BYTES or not footer.startswith(_GZIP_FLAGGED):
        return None
    extra = footer[_EXTRA_AT : _EXTRA_AT + 28]
    if extra[:6] != b"\x1a\0SG\x16\0" or extra[22:] != b"STARGZ":
        return None
    try:
        return int(extra[6:22], 16)
    except ValueError:
        return None


def _from_tar(archive: bytes) -> bytes:
    """The table, which is the first entry."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            entry = tar.next()
            file = tar.extractfile(entry) if entry is not None and entry.name == TABLE_NAME else None
            if entry is not None and entry.size > len(archive):  # a sparse one may say what it likes
                raise ValueError("it is larger than what it is in")
            if file is not None:
                return file.read()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise Unfit(f"its table of contents is damaged: {error}") from error
    raise Unfit("its table of contents is not where its footer says")


def _chunked(layer: Descriptor, fetch: ReadRange) -> tuple[bytes, int]:
    match = _PLACE.fullmatch(layer.annotation(CHUNKED_PLACE))
    if match is None or match[4] is None or int(match[4]) != _CRFS:
        raise Unfit("its annotations do not say where its table of contents is")
    place, size, unpacked_size = (int(match[number]) for number in (1, 2, 3))
    if not _FRAME_HEAD_BYTES < place <= place + size <= layer.size or unpacked_size > MAX_TABLE_BYTES:
        raise Unfit("its table of contents is not in it, or is too large")
    packed = fetch(place, place + size)
    _check(packed, layer.annotation(CHUNKED_DIGEST))
    raw = _unpacked(zstd.ZstdDecompressor().decompress, packed)
    places = [place]
    if tarsplit := _PLACE.fullmatch(layer.annotation(CHUNKED_TARSPLIT)):
        places.append(max(_FRAME_HEAD_BYTES, int(tarsplit[1])))
    return raw, min(places) - _FRAME_HEAD_BYTES


def _unpacked(unpack: Callable[[bytes, int], bytes], packed: bytes) -> bytes:
    try:
        raw = unpack(packed, MAX_TABLE_BYTES + 1)
    except (zlib.error, zstd.ZstdError) as error:
        raise Unfit(f"its table of contents is damaged: {error}") from error
    if len(raw) > MAX_TABLE_BYTES:
        raise Unfit(f"its table of contents has more than {MAX_TABLE_BYTES} bytes")
    return raw


def _check(data: bytes, digest: str) -> None:
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise Unfit("its table of contents is not the one that the manifest names")
