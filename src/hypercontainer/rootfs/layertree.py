"""Builds a layer's tree from its entries, by the rules of the OCI image specification ("Image Layer Filesystem
Changeset") and, where it is silent, as containerd and Docker unpack.

    later entries win       a directory over a directory takes the attributes and keeps the children, anything else
                            replaces what had the name
    parents                 made as 0755 of root where the layer has none, and marked: a lower layer's attributes stand
    links among parents     followed inside the layer's own tree, never out of it
    .wh.NAME                hides NAME of lower layers only; with a NAME in this layer, wherever in the archive, that
                            one stays, a directory then being opaque
    .wh..wh..opq            hides the lower layers' content of its directory
    other .wh..wh.* names   AUFS's own: kept aside, reachable for hard links, not in the image
    character device 0:0    overlayfs's whiteout, and taken for one
"""

from __future__ import annotations

import stat

from .limits import LayerLimits, Refusal, Tally
from .tree import (
    MAX_NAME_BYTES,
    Directory,
    FarLink,
    Inode,
    find_directory,
    implied_directory,
    split_path,
    whiteout,
)

WHITEOUT_PREFIX = b".wh."
META_PREFIX = b".wh..wh."
OPAQUE_NAME = b".wh..wh..opq"


class LayerTree:
    """``root`` is complete after ``finish``.  Everything raises Refusal for what the limits or the rules forbid."""

    def __init__(self, limits: LayerLimits) -> None:
        self.root = implied_directory()
        self._aside = implied_directory()
        self._limits = limits
        self._walked = Tally("the ways to its entries have more directories and links than", limits.max_steps)
        self._entries = 0
        self._metadata_bytes = 0
        self._whiteouts: dict[Directory, set[bytes]] = {}
        # Entries come sorted by directory, mostly: the last one's path need not be walked again.
        self._last_path: bytes | None = None
        self._last_directory = Directory()

    def add(self, path: bytes, inode: Inode) -> None:
        """Put ``inode`` at ``path``; for a directory that is there already, its attributes."""
        parent, name = self._parent(path, inode.mtime_ns)
        if name is None:
            self._set_root(inode)
        elif name == OPAQUE_NAME:
            parent.opaque = True
        elif name.startswith(WHITEOUT_PREFIX) and not name.startswith(META_PREFIX):
            self._hide(parent, name.removeprefix(WHITEOUT_PREFIX))
        elif inode.is_whiteout:
            self._hide(parent, name)
        else:
            self._put(parent, name, inode)

    def link(self, path: bytes, target: bytes) -> None:
        """A second name for what is at ``target``, or a FarLink where the layer has nothing there."""
        self._check_path(target)
        parts = split_path(target)
        if not parts:
            raise Refusal("a hard link to the root")
        container = find_directory(self._aside if _is_aufs(parts) else self.root, parts[:-1], self._walked)
        found = container.children.get(parts[-1]) if container is not None else None
        if found is None:
            self.account(len(target))
            found = Inode(stat.S_IFREG, 0, 0, 0, FarLink(b"/".join(parts)))
        elif isinstance(found.body, Directory):
            raise Refusal(f"a hard link to a directory, {target!r}")
        self.add(path, found)

    def account(self, metadata_bytes: int) -> None:
        """Count what an entry holds in memory besides its name."""
        self._metadata_bytes += metadata_bytes
        if self._metadata_bytes > self._limits.max_metadata_bytes:
            raise Refusal(f"names, links and xattrs take more than {self._limits.max_metadata_bytes} bytes")

    def finish(self) -> Inode:
        """The root, with the whiteouts put where nothing of this layer has their name."""
        for parent, names in self._whiteouts.items():
            for name in sorted(names):
                existing = parent.children.setdefault(name, whiteout())
                if isinstance(existing.body, Directory):
                    existing.body.opaque, existing.body.implicit = True, False
        return self.root

    def _parent(self, path: bytes, mtime_ns: int) -> tuple[Directory, bytes | None]:
        """Directory and name of ``path``, its missing parents made; the name is None for the root itself."""
        self._check_path(path)
        parent_path, _, name = path.rstrip(b"/").rpartition(b"/")
        usual = name not in (b"", b".", b"..") and not name.startswith(META_PREFIX)
        if not usual or parent_path != self._last_path or len(name) > MAX_NAME_BYTES:
            parts = split_path(path)
            if not parts:
                return Directory(), None
            start = self._aside if _is_aufs(parts) else self.root
            name = parts.pop()
            parent = find_directory(start, parts, self._walked, lambda part: self._implied(part, mtime_ns))
            assert parent is not None
            self._last_path = parent_path if usual else None
            self._last_directory = parent
        self._count(name)
        return self._last_directory, name

    def _implied(self, name: bytes, mtime_ns: int) -> Inode:
        if len(name) > MAX_NAME_BYTES:
            raise Refusal(f"a name of {len(name)} bytes is longer than {MAX_NAME_BYTES}")
        self._count(name)
        return implied_directory(mtime_ns)

    def _set_root(self, inode: Inode) -> None:
        assert isinstance(self.root.body, Directory)
        if not isinstance(inode.body, Directory):
            raise Refusal("the root is not a directory")
        self.root.set_attributes(inode)
        self.root.body.implicit = False

    def _hide(self, parent: Directory, name: bytes) -> None:
        if name in (b"", b".", b".."):
            raise Refusal("a whiteout of no file")
        self._whiteouts.setdefault(parent, set()).add(name)

    def _put(self, parent: Directory, name: bytes, inode: Inode) -> None:
        existing = parent.children.get(name)
        if existing is None:
            parent.children[name] = inode
        elif isinstance(existing.body, Directory) and isinstance(inode.body, Directory):
            existing.set_attributes(inode)
            existing.body.implicit = False
        else:
            parent.children[name] = inode
            self._last_path = None  # what was replaced may have been on the way to the last directory

    def _check_path(self, path: bytes) -> None:
        if len(path) > self._limits.max_path_bytes:
            raise Refusal(f"a path of {len(path)} bytes, at most {self._limits.max_path_bytes}")
        if b"\0" in path:
            raise Refusal("a NUL in a path")

    def _count(self, name: bytes) -> None:
        self._entries += 1
        if self._entries > self._limits.max_entries:
            raise Refusal(f"the layer has more than {self._limits.max_entries} entries")
        self.account(len(name))


def _is_aufs(parts: list[bytes]) -> bool:
    return parts[-1] != OPAQUE_NAME and any(part.startswith(META_PREFIX) for part in parts)
