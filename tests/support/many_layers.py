"""Layers as all kinds of programs write them, made by chance from a seed: what real unpackers are held against.

Every image is one that all of them take: a model of the tree keeps links from leading nowhere and files from being
parents.  Where unpackers are known to differ (docs/rootfs.md has the table) nothing is made of it here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from layer_tar import (
    CHAR,
    DIRECTORY,
    FIFO,
    FILE,
    GNU,
    LINK,
    POSIX,
    SYMLINK,
    V7,
    extended,
    header,
    octal,
    padded,
    pax_records,
    tar,
    with_checksum,
)

NAMES = (b"a", b"b", b"c", b"d", b"e.txt", b"\xc3\xa4", b"n" * 101)
IDS = (0, 0, 1, 33, 65534, 2_097_151, 2_097_152, 4_000_000_000)
TIMES_NS = (
    0,
    1_000_000_000,
    1_700_000_000_000_000_000,
    8_589_934_592_000_000_000,
    -86_400_000_000_000,
    1,
    1_700_000_000_123_456_789,
)
MODES = (0o644, 0o600, 0o755, 0o4755, 0o2711, 0o000)
OLDEST, PAX = "v7", "pax"
FORMATS = (OLDEST, "ustar", "gnu", PAX)


@dataclass(frozen=True)
class Node:
    """What a path is by now.  ``own``: this layer has it."""

    kind: bytes
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    own: bool = True


class Maker:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.tree: dict[bytes, Node] = {}
        self.entries: list[bytes] = []
        self.told: dict[bytes, bytes] = {}  # an entry: the one that others are given in its place
        self.careless = self.rng.random() < 0.3  # it names paths again
        self.repeats = False  # a layer names a path twice, which podman refuses
        self.named: set[bytes] = set()
        self.replaced: set[bytes] = (
            set()
        )  # directories of lower layers, of which this one has made something else

    def image(self) -> list[tuple[bytes, bytes]]:
        """Each layer for us, and as others take it: podman and containerd refuse GNU's old sparse files, so these have
        them whole."""
        return [self.layer() for _ in range(self.rng.randint(1, 3))]

    def layer(self) -> tuple[bytes, bytes]:
        self.tree = {path: replace(node, own=False) for path, node in self.tree.items()}
        self.entries, self.named, self.replaced = [], set(), set()
        if self.rng.random() < 0.2:
            self.entries.append(global_header())
        steps = (self.file, self.file, self.sparse, self.directory, self.directory, self.symlink, self.link, self.node,
                 self.whiteout, self.opaque, self.again)  # fmt: skip
        for _ in range(self.rng.randint(4, 14)):
            self.rng.choice(steps)()
        return tar(*self.entries), tar(*(self.told.get(each, each) for each in self.entries))

    # ------------------------------------------------------------------------------------- what there may be

    def place(self) -> bytes:
        """A path in a directory that is there; where this layer has not named that, it does so first."""
        parents = [
            b"",
            *(path for path, node in self.tree.items() if node.kind == DIRECTORY and path.count(b"/") < 3),
        ]
        parent = self.rng.choice(parents)
        self.name_parents(parent)
        found = [(parent + b"/" if parent else b"") + name for name in NAMES]
        # containerd gives what takes the place of a directory of its layer that directory's time, or fails.
        found = [
            path
            for path in found
            if path not in self.tree or self.tree[path].kind != DIRECTORY or not self.tree[path].own
        ]
        if not found:
            return self.place()
        fresh = [path for path in found if path not in self.named]
        return self.rng.choice(found if self.careless or not fresh else fresh)

    def name_parents(self, path: bytes) -> None:
        parts = path.split(b"/") if path else []
        for count in range(1, len(parts) + 1):
            above = b"/".join(parts[:count])
            if not self.tree[above].own:
                self.put(above, replace(self.tree[above], own=True))

    def attributes(self, kind: bytes) -> Node:
        mode = self.rng.choice((0o755, 0o700, 0o1777) if kind == DIRECTORY else MODES)
        uid, gid = self.rng.choice(IDS), self.rng.choice(IDS)
        return Node(kind, mode, uid, gid, self.rng.choice(TIMES_NS))

    def put(self, path: bytes, node: Node, data: bytes = b"", target: bytes = b"", **more: bytes) -> None:
        """Writes it, and has it take the place of what is there."""
        if node.kind == DIRECTORY and path in self.replaced:
            return  # with what lower layers have in it, or without?
        self.name(path)
        before = self.tree.get(path)
        if not (before and before.kind == node.kind == DIRECTORY):
            self.make_way(path)
        self.tree[path] = node
        pax = {key.encode(): value for key, value in more.items()}
        if node.kind == FILE and self.rng.random() < 0.3:
            size = self.rng.randint(1, 9)
            pax[b"SCHILY.xattr.user." + self.rng.choice((b"k", b"key\xc3\xa4"))] = self.rng.randbytes(size)
        self.entries.append(self.written(path, node, data, target, pax))

    def name(self, path: bytes) -> None:
        self.repeats |= path in self.named
        self.named.add(path)

    def make_way(self, path: bytes) -> None:
        if path in self.tree and self.tree[path].kind == DIRECTORY:
            self.replaced.add(path)
        self.forget(path)

    def forget(self, path: bytes) -> None:
        for other in [other for other in self.tree if other == path or other.startswith(path + b"/")]:
            del self.tree[other]

    # ------------------------------------------------------------------------------------- how it is written

    def written(
        self, path: bytes, node: Node, data: bytes, target: bytes, records: dict[bytes, bytes]
    ) -> bytes:
        style = self.rng.choice(FORMATS)
        name = self.rng.choice((b"", b"./", b"/")) + path
        if node.kind == DIRECTORY:
            name += b"/"
        seconds, rest = divmod(node.mtime_ns, 1_000_000_000)
        style = PAX if rest else style
        if style == OLDEST and node.kind not in (FILE, DIRECTORY, LINK, SYMLINK):
            style = PAX  # it had no devices
        if style == PAX:
            if rest:
                records[b"mtime"] = b"%d.%09d" % (seconds, rest)
            if self.rng.random() < 0.5:
                records |= {b"uid": b"%d" % node.uid, b"gid": b"%d" % node.gid}
        before = b""
        if records or style == PAX:
            if len(name) > 100:
                records[b"path"] = name
            if len(target) > 100:
                records[b"linkpath"] = target
            before = extended(records.items()) if records else b""
        elif len(name) > 100 or len(target) > 100:
            before = b"".join(
                header(b"././@LongLink", kind, size=len(text) + 1, magic=GNU) + padded(text + b"\0")
                for kind, text in ((b"L", name), (b"K", target))
                if len(text) > 100
            )
        old = style == OLDEST and node.kind in (FILE, DIRECTORY) and len(name) <= 100
        kind = b"\0" if old else node.kind
        magic = {OLDEST: V7, "gnu": GNU}.get(style, POSIX) if len(name) <= 100 and not records else POSIX
        magic = GNU if before and not records else magic
        device = (1, 3) if node.kind == CHAR else (0, 0)
        return (
            before
            + header(name[:100], kind, size=len(data), mode=node.mode, uid=node.uid, gid=node.gid, mtime=seconds,
                     target=target[:100], device=device, magic=magic)
            + padded(data)
        )  # fmt: skip

    # ------------------------------------------------------------------------------------- what happens

    def file(self) -> None:
        self.put(
            self.place(), self.attributes(FILE), self.rng.randbytes(self.rng.choice((0, 1, 511, 512, 5000)))
        )

    def directory(self) -> None:
        self.put(self.place(), self.attributes(DIRECTORY))

    def symlink(self) -> None:
        target = self.rng.choice((b"a", b"../b", b"/d/c", b"nowhere", b"t" * 150))
        self.put(self.place(), replace(self.attributes(SYMLINK), mode=0o777), target=target)

    def node(self) -> None:
        self.put(self.place(), self.attributes(self.rng.choice((FIFO, CHAR))))

    def again(self) -> None:
        """What is there, as something else; a directory with all that is in it."""
        own = [path for path, node in self.tree.items() if node.own and node.kind != DIRECTORY]
        if own and self.careless:
            path = self.rng.choice(own)
            kind = self.rng.choice((FILE, DIRECTORY, SYMLINK))
            node = self.attributes(kind)
            self.put(
                path,
                replace(node, mode=0o777) if kind == SYMLINK else node,
                target=b"a" if kind == SYMLINK else b"",
            )

    def link(self) -> None:
        """With the attributes that its target has, as every program writes it."""
        found = [path for path, node in self.tree.items() if node.kind == FILE]
        if not found:
            return
        target, path = self.rng.choice(found), self.place()
        if path == target or target.startswith(path + b"/"):
            return
        node, before = self.tree[target], self.tree.get(path)
        if before and before.kind == DIRECTORY:
            self.make_way(path)
        self.tree[path] = replace(node, own=True)
        self.name(path)
        self.entries.append(self.written(path, replace(node, kind=LINK), b"", target, {}))

    def sparse(self) -> None:
        path, node = self.place(), replace(self.attributes(FILE), mtime_ns=self.rng.choice(TIMES_NS[:5]))
        segments = [(0, 3), (8192, 600)] if self.rng.random() < 0.5 else [(4096, 512)]
        size = segments[-1][0] + segments[-1][1] + self.rng.choice((0, 1, 70_000))
        data = b"".join(self.rng.randbytes(length) for _, length in segments)
        if size > segments[-1][0] + segments[-1][1]:
            segments.append((size, 0))
        self.name(path)
        self.make_way(path)
        self.tree[path] = node
        kind = self.rng.choice((sparse_old, sparse_0_0, sparse_0_1, sparse_1_0))
        self.entries.append(kind(path, node, size, segments, data))
        if kind is sparse_old:
            self.told[self.entries[-1]] = _head(path, node, filled(size, segments, data), [])

    def whiteout(self) -> None:
        """Of what lower layers have and this one has not; the mark before or behind the rest."""
        lower = [
            path
            for path, node in self.tree.items()
            if not node.own and not any(o.startswith(path + b"/") and n.own for o, n in self.tree.items())
        ]
        if not lower:
            return
        path = self.rng.choice(lower)
        parent, _, name = path.rpartition(b"/")
        self.name_parents(parent)
        self.forget(path)
        self.name(path + b".wh.")
        self.entries.append(mark((parent + b"/" if parent else b"") + b".wh." + name))

    def opaque(self) -> None:
        found = [path for path, node in self.tree.items() if node.kind == DIRECTORY]
        if not found:
            return
        path = self.rng.choice(found)
        self.name_parents(path)
        for other in [o for o, n in self.tree.items() if o.startswith(path + b"/") and not n.own]:
            self.forget(other)
        self.name(path + b"/.wh..wh..opq")
        self.entries.append(mark(path + b"/.wh..wh..opq"))


def global_header() -> bytes:
    """As git writes it; that it says a time has no effect for Go's programs."""
    payload = pax_records([(b"comment", b"of nobody's"), (b"mtime", b"1")])
    return header(b"pax_global_header", b"g", size=len(payload)) + padded(payload)


def mark(path: bytes) -> bytes:
    return (extended([(b"path", path)]) if len(path) > 100 else b"") + header(path[:100])


def _attributes(node: Node) -> dict[str, Any]:
    return {"mode": node.mode, "uid": node.uid, "gid": node.gid, "mtime": node.mtime_ns // 1_000_000_000}


def _head(path: bytes, node: Node, stored: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    if len(path) > 100:
        records = [*records, (b"path", path)]
    before = extended(records) if records else b""
    return before + header(path[:100], size=len(stored), **_attributes(node)) + padded(stored)


def filled(size: int, segments: list[tuple[int, int]], data: bytes) -> bytes:
    whole, at = bytearray(size), 0
    for offset, length in segments:
        whole[offset : offset + length] = data[at : at + length]
        at += length
    return bytes(whole)


def sparse_old(path: bytes, node: Node, size: int, segments: list[tuple[int, int]], data: bytes) -> bytes:
    """GNU tar's own, in the header itself."""
    before = b""
    if len(path) > 100:
        before = header(b"././@LongLink", b"L", size=len(path) + 1, magic=GNU) + padded(path + b"\0")
    head = bytearray(header(path[:100], b"S", size=len(data), magic=GNU, **_attributes(node)))
    for number, (offset, length) in enumerate(segments):
        head[386 + 24 * number : 410 + 24 * number] = octal(offset, 12) + octal(length, 12)
    head[483:495] = octal(size, 12)
    return before + with_checksum(bytes(head)) + padded(data)


def sparse_0_0(path: bytes, node: Node, size: int, segments: list[tuple[int, int]], data: bytes) -> bytes:
    records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(segments))]
    for offset, length in segments:
        records += [(b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"%d" % length)]
    return _head(path, node, data, records)


def sparse_0_1(path: bytes, node: Node, size: int, segments: list[tuple[int, int]], data: bytes) -> bytes:
    numbers = b",".join(b"%d,%d" % each for each in segments)
    count = b"%d" % len(segments)
    records = [
        (b"GNU.sparse.size", b"%d" % size),
        (b"GNU.sparse.numblocks", count),
        (b"GNU.sparse.map", numbers),
    ]
    return _head(path, node, data, records)


def sparse_1_0(path: bytes, node: Node, size: int, segments: list[tuple[int, int]], data: bytes) -> bytes:
    numbers = b"%d\n" % len(segments) + b"".join(b"%d\n%d\n" % each for each in segments)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.realsize", b"%d" % size),
    ]
    name = b"GNUSparseFile.0/x"
    records.append((b"GNU.sparse.name", path))
    stored = padded(numbers) + data
    return extended(records) + header(name, size=len(stored), **_attributes(node)) + padded(stored)
