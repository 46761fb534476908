"""Layer tars made by hand, byte for byte, and what a root disk made of them holds."""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.rootfs import LayerLimits, LayerStore, RootDisk, RootReader
from hypercontainer.rootfs.tree import Data, Directory

END = bytes(1024)
POSIX, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
FILE, LINK, SYMLINK, CHAR, BLOCK, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


def octal(value: int, width: int) -> bytes:
    """Octal digits, or base-256 where they do not suffice."""
    digits = b"%0*o" % (width - 1, value) if value >= 0 else b""
    if digits and len(digits) < width:
        return digits + b"\0"
    raw = bytearray((value & ((1 << (8 * width - 1)) - 1)).to_bytes(width, "big"))
    raw[0] |= 0x80
    return bytes(raw)


def header(
    name: bytes,
    kind: bytes = FILE,
    *,
    size: int = 0,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 0,
    target: bytes = b"",
    device: tuple[int, int] = (0, 0),
    magic: bytes = POSIX,
    rest: bytes = b"",
) -> bytes:
    """One header block with a right checksum; ``rest`` is what follows the device numbers (the prefix)."""
    head = name.ljust(100, b"\0") + octal(mode, 8) + octal(uid, 8) + octal(gid, 8)
    head += (
        octal(size, 12) + octal(mtime, 12) + b" " * 8 + kind + target.ljust(100, b"\0") + magic + bytes(64)
    )
    head += octal(device[0], 8) + octal(device[1], 8) + rest
    return with_checksum(head.ljust(512, b"\0"))


def with_checksum(head: bytes) -> bytes:
    total = sum(head[:148] + b" " * 8 + head[156:])
    return head[:148] + b"%06o\0 " % total + head[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax_records(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        while len(str(length)) + len(key) + len(value) + 3 != length:
            length = len(str(length)) + len(key) + len(value) + 3
        lines += b"%d %s=%s\n" % (length, key, value)
    return lines


def extended(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    payload = pax_records(records)
    return header(b"PaxHeaders/x", kind, size=len(payload)) + padded(payload)


def entry(
    name: bytes,
    kind: bytes = FILE,
    data: bytes = b"",
    *,
    pax: Mapping[bytes, bytes] | None = None,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 0,
    target: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    records = dict(pax or {})
    if len(name) > 100:
        records[b"path"], name = name, name[:100]
    if len(target) > 100:
        records[b"linkpath"], target = target, target[:100]
    head = header(
        name, kind, size=len(data), mode=mode, uid=uid, gid=gid, mtime=mtime, target=target, device=device
    )
    return (extended(records.items()) if records else b"") + head + padded(data)


def directory(name: bytes, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> bytes:
    return entry(name, DIRECTORY, mode=mode, uid=uid, gid=gid)


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + END


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def root_disk(folder: Path, *layers: bytes, limits: LayerLimits | None = None) -> RootDisk:
    """The disk of an image of these tars."""
    store = LayerStore(folder, limits or LayerLimits())
    for layer in layers:
        store.convert(io.BytesIO(layer), diff_id=digest(layer), compression="none")
    return store.root_disk([digest(layer) for layer in layers])


@dataclass(frozen=True)
class Found:
    """A file as it is on a root disk; ``content`` is a file's data, a link's target or a device's number."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: bytes | int | None
    xattrs: tuple[tuple[bytes, bytes], ...]
    links: int
    nid: int

    @property
    def permissions(self) -> int:
        return stat.S_IMODE(self.mode)


def contents(disk: RootDisk) -> dict[bytes, Found]:
    """Everything on a disk by its path, the root being b""."""
    found = {}
    with RootReader(disk.extents) as reader:
        assert not reader.superblock.marks, "a guest would see the marks"
        stack = [(b"", reader.root())]
        while stack:
            path, inode = stack.pop()
            content: bytes | int | None = None
            if isinstance(inode.body, Directory):
                stack.extend((path + b"/" + name, reader.inode(nid)) for name, nid in reader.entries(inode))
            elif isinstance(inode.body, Data):
                content = reader.read(inode, 0, inode.body.size)
            elif isinstance(inode.body, bytes | int):
                content = inode.body
            xattrs = tuple(sorted(reader.attributes(inode).items()))
            found[path] = Found(
                inode.mode, inode.uid, inode.gid, inode.mtime_ns, content, xattrs, inode.links, inode.nid
            )
    return found


def files(disk: RootDisk) -> dict[bytes, bytes | int | None]:
    """Only path and content; directories have none."""
    return {path: found.content for path, found in contents(disk).items()}
