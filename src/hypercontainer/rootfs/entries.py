"""From an archive's entries to a layer's tree, wherever the entries come from: a tar, or a table of what is in one."""

from __future__ import annotations

import stat
from collections.abc import Callable

from . import erofs, tar, xattr
from .layertree import LayerTree
from .limits import LayerLimits, Refusal
from .tree import Body, Data, Directory, Inode

MAX_ID = 0xFFFFFFFF
MAX_TARGET_BYTES = 4095
# What Go has as nanoseconds since 1970; containerd, Docker and podman make 1970 of any other time.
LAST_TIME_NS = (1 << 63) - 1
TYPE_BITS = {
    tar.FILE: stat.S_IFREG,
    tar.SYMLINK: stat.S_IFLNK,
    tar.CHAR: stat.S_IFCHR,
    tar.BLOCK_DEVICE: stat.S_IFBLK,
    tar.DIRECTORY: stat.S_IFDIR,
    tar.FIFO: stat.S_IFIFO,
}


class Entries:
    """Takes entries in their order; ``place`` says where the data of a regular file is, which it may bring there.

    All of it raises Refusal for what the limits or the rules forbid.
    """

    def __init__(self, limits: LayerLimits, place: Callable[[tar.Entry], Data]) -> None:
        self.tree = LayerTree(limits)
        self._place = place
        self._packed: dict[bytes, bytes] = {}

    def take(self, entry: tar.Entry) -> None:
        if entry.kind == tar.LINK:
            self.tree.link(entry.name, entry.target)
        else:
            self.tree.add(entry.name, self._inode(entry))

    def _inode(self, entry: tar.Entry) -> Inode:
        if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
            raise Refusal(f"owner {entry.uid}:{entry.gid} does not fit 32 bits")
        # No Linux file system keeps a link's permissions.
        mode = TYPE_BITS[entry.kind] | (0o777 if entry.kind == tar.SYMLINK else entry.mode)
        xattrs = self._xattrs(entry.xattrs) if entry.xattrs else b""
        mtime_ns = entry.mtime_ns if 0 <= entry.mtime_ns <= LAST_TIME_NS else 0
        return Inode(mode, entry.uid, entry.gid, mtime_ns, self._body(entry), xattrs)

    def _body(self, entry: tar.Entry) -> Body:
        if entry.kind == tar.FILE:
            return self._place(entry)
        if entry.kind == tar.DIRECTORY:
            return Directory()
        if entry.kind == tar.SYMLINK:
            if not 0 < len(entry.target) <= MAX_TARGET_BYTES or b"\0" in entry.target:
                raise Refusal(f"a symbolic link's target of {len(entry.target)} bytes, or with a NUL in it")
            self.tree.account(len(entry.target))
            return entry.target
        return erofs.encode_device(*entry.device)

    def _xattrs(self, attributes: dict[bytes, bytes]) -> bytes:
        """Packed, and shared between the many files that have the same."""
        packed = xattr.pack(
            {name: value for name, value in attributes.items() if not name.startswith(xattr.RESERVED)}
        )
        self.tree.account(len(packed))
        return self._packed.setdefault(packed, packed)
