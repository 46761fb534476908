"""Writes layers that can be had in pieces: eStargz, as its specification says, and zstd:chunked."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STARGZ_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
CHUNKED = "io.github.containers.zstd-chunked.manifest-"
GZIP_KIND = "application/vnd.oci.image.layer.v1.tar+gzip"
ZSTD_KIND = "application/vnd.oci.image.layer.v1.tar+zstd"
_TYPES = {
    tarfile.REGTYPE: "reg",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "char",
    tarfile.FIFOTYPE: "fifo",
}


@dataclass(frozen=True)
class Item:
    """One entry of a tar.  ``target``: of a link."""

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    target: str = ""
    uid: int = 0
    gid: int = 0
    mtime: int = 1_700_000_000
    xattrs: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """``tar``: what the blob unpacks to.  ``annotations``: of its descriptor."""

    blob: bytes
    tar: bytes
    kind: str
    annotations: dict[str, str]
    table: dict[str, Any]


def folder(name: str, mode: int = 0o755) -> Item:
    return Item(name, kind=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> Item:
    return Item(name, kind=tarfile.SYMTYPE, mode=0o777, target=target)


def items_of(tar: bytes) -> list[Item]:
    """The entries of an archive."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None
            data = file.read() if file is not None else b""
            found.append(
                Item(
                    info.name, data, info.type, info.mode, info.linkname, info.uid, info.gid, int(info.mtime)
                )
            )
    return found


class _Blob:
    """Members one behind the other, and the tar that they are together."""

    def __init__(self, level: int, *, zst: bool) -> None:
        self.blob, self.tar, self._pending = bytearray(), bytearray(), bytearray()
        self._level, self._zstd = level, zst

    def add(self, data: bytes) -> None:
        self._pending += data

    def cut(self) -> int:
        """What was added is a member; where the next one begins."""
        if self._pending:
            data = bytes(self._pending)
            self.tar += data
            self._pending.clear()
            self.blob += (
                zstd.compress(data, max(1, self._level)) if self._zstd else _member(data, self._level)
            )
        return len(self.blob)


def _member(data: bytes, level: int) -> bytes:
    return gzip.compress(data, level, mtime=0)


def unzstd(packed: bytes) -> bytes:
    """The first frame of it."""
    return zstd.ZstdDecompressor().decompress(packed)


def _head(item: Item) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(item.name)
    info.type, info.mode, info.uid, info.gid, info.mtime = (
        item.kind,
        item.mode,
        item.uid,
        item.gid,
        item.mtime,
    )
    info.linkname, info.size = item.target, len(item.data)
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in item.xattrs.items()
    }
    return info, info.tobuf(tarfile.PAX_FORMAT)


def _entry(item: Item) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": item.name,
        "type": _TYPES[item.kind],
        "mode": item.mode,
        "uid": item.uid,
        "gid": item.gid,
        "modtime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(item.mtime)),
    }
    if item.target:
        entry["linkName"] = item.target
    if item.xattrs:
        entry["xattrs"] = {name: base64.b64encode(value).decode() for name, value in item.xattrs.items()}
    return entry


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _pieces(item: Item, out: _Blob, chunk: int) -> list[dict[str, Any]]:
    entries = []
    for at in range(0, len(item.data), chunk):
        piece = item.data[at : at + chunk]
        more = {"offset": out.cut(), "chunkDigest": _digest(piece)}
        if at:
            more |= {"name": item.name, "type": "chunk", "chunkOffset": at}
        if at + chunk < len(item.data):
            more["chunkSize"] = chunk
        elif at:
            more["chunkSize"] = len(piece)
        entries.append(more)
        out.add(piece)
    out.cut()
    return entries


def _body(items: Iterable[Item], chunk: int, level: int, *, zst: bool) -> tuple[_Blob, list[dict[str, Any]]]:
    out, entries = _Blob(level, zst=zst), []
    for item in items:
        out.add(_head(item)[1])
        entry = _entry(item)
        entries.append(entry)
        if item.data:
            entry |= {"size": len(item.data), "digest": _digest(item.data)}
            first, *others = _pieces(item, out, chunk)
            entry |= first
            entries += others
            out.add(bytes(-len(item.data) % 512))
            if zst:
                entry["endOffset"] = len(out.blob)
    return out, entries


def stargz(items: Iterable[Item], *, chunk: int = 4 << 20, level: int = 1) -> Made:
    """A layer as eStargz, its pieces of ``chunk`` bytes."""
    out, entries = _body(items, chunk, level, zst=False)
    table = {"version": 1, "entries": entries}
    raw = json.dumps(table).encode()
    place = out.cut()
    out.add(_head(Item("stargz.index.json", raw))[1] + raw + bytes(-len(raw) % 512) + bytes(1024))
    out.cut()
    extra = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % place
    footer = b"\x1f\x8b\x08\x04" + bytes(4) + b"\0\xff" + struct.pack("<H", len(extra)) + extra
    blob = bytes(out.blob) + footer + b"\x01\0\0\xff\xff" + bytes(8)
    return Made(blob, bytes(out.tar), GZIP_KIND, {STARGZ_DIGEST: _digest(raw)}, table)


def chunked(items: Iterable[Item], *, chunk: int = 64 << 10, level: int = 3) -> Made:
    """The same as zstd:chunked, without the tar-split part that nobody here reads."""
    out, entries = _body(items, chunk, level, zst=True)
    out.add(bytes(1024))
    end = out.cut()
    table = {"version": 1, "entries": entries}
    raw = json.dumps(table).encode()
    packed = zstd.compress(raw)
    place = end + 8
    blob = bytes(out.blob) + b"\x50\x2a\x4d\x18" + struct.pack("<I", len(packed)) + packed
    annotations = {
        f"{CHUNKED}checksum": _digest(packed),
        f"{CHUNKED}position": f"{place}:{len(packed)}:{len(raw)}:1",
    }
    return Made(blob, bytes(out.tar), ZSTD_KIND, annotations, table)


def plain(items: Iterable[Item]) -> Made:
    """The same without a table."""
    buffer = io.BytesIO()
    for item in items:
        buffer.write(_head(item)[1] + item.data + bytes(-len(item.data) % 512))
    tar = buffer.getvalue() + bytes(1024)
    return Made(_member(tar, 1), tar, GZIP_KIND, {}, {})
