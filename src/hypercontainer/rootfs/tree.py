"""The file tree of a layer or of an image, in memory: what tar is read into and what EROFS is written from.

A tree holds everything about its files but their data, which stays on disk and is known by its block address.
Names, link targets and xattrs are bytes, never decoded.  Nothing here recurses: depth is the input's choice.

    Inode ── body ─┬─ Directory    children by name
                   ├─ Data         a regular file: size and where its blocks are
                   ├─ bytes        a symbolic link's target
                   ├─ int          a device's number (new kernel encoding); 0 for fifo and socket
                   └─ FarLink      a hard link to a file of a lower layer, resolved by the merge

Two names of one file (a hard link) are two references to one ``Inode``.
"""

from __future__ import annotations

import stat
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from .limits import Refusal, Tally

BLOCK_SIZE = 4096
BLOCK_BITS = 12
HOLE = 0xFFFFFFFF
MAX_NAME_BYTES = 255
MAX_SYMLINKS = 40
MAX_STEPS = 4096  # of one lookup, and so its depth; 40 links may be 80,000 parts long
DEFAULT_DIRECTORY_MODE = stat.S_IFDIR | 0o755


@dataclass(slots=True, eq=False)
class Directory:
    """``opaque``: hides the lower layers' directory.  ``implicit``: no entry of its own in the layer, made for
    its children, so that a lower layer's attributes stand."""

    children: dict[bytes, Inode] = field(default_factory=dict)
    opaque: bool = False
    implicit: bool = False


@dataclass(slots=True, eq=False)
class Data:
    """``size`` bytes from ``block`` on; or, for a sparse file, in ``chunks``: block addresses (or HOLE), one per
    ``BLOCK_SIZE << chunk_bits`` bytes."""

    size: int
    block: int
    chunk_bits: int = 0
    chunks: array[int] | None = None


@dataclass(slots=True, eq=False)
class FarLink:
    target: bytes


Body = Directory | Data | bytes | int | FarLink


@dataclass(slots=True, eq=False)
class Inode:
    """``mode`` has the type bits; ``xattrs`` are packed entries (see ``xattr``); ``nid`` and ``links`` are where
    the inode is in an image and how many names it has there, as the writer or the reader found them."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    body: Body
    xattrs: bytes = b""
    nid: int = -1
    links: int = 0

    @property
    def is_whiteout(self) -> bool:
        return self.body == 0 and stat.S_ISCHR(self.mode)

    def set_attributes(self, other: Inode) -> None:
        self.mode, self.uid, self.gid = other.mode, other.uid, other.gid
        self.mtime_ns, self.xattrs = other.mtime_ns, other.xattrs


def implied_directory(mtime_ns: int = 0) -> Inode:
    return Inode(DEFAULT_DIRECTORY_MODE, 0, 0, mtime_ns, Directory(implicit=True))


def whiteout() -> Inode:
    return Inode(stat.S_IFCHR, 0, 0, 0, 0)


def split_path(path: bytes) -> list[bytes]:
    """Components of ``path`` taken relative to the root and cleaned lexically, as Docker does.

    Raises Refusal where '..' would leave the root or a component is too long.
    """
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            if not parts:
                raise Refusal("the path leaves the root")
            parts.pop()
        elif part and part != b".":
            if len(part) > MAX_NAME_BYTES:
                raise Refusal(f"a name of {len(part)} bytes is longer than {MAX_NAME_BYTES}")
            parts.append(part)
    return parts


def find_directory(
    root: Inode, parts: list[bytes], walked: Tally, make: Callable[[bytes], Inode] | None = None
) -> Directory | None:
    """The directory at ``parts``, links on the way followed inside ``root`` and nowhere else.

    A missing one is made by ``make``, which gets its name; None without ``make``.  ``walked`` counts the steps.
    Raises Refusal where something on the way is neither a directory nor a link, or for links without end.
    """
    trail = [root]
    rest = parts[::-1]
    links = steps = 0
    while rest:
        steps += 1
        if steps > MAX_STEPS:
            raise Refusal(f"more than {MAX_STEPS} directories and links on the way")
        walked.add()
        name = rest.pop()
        if name == b"..":
            del trail[max(1, len(trail) - 1) :]
            continue
        parent = trail[-1].body
        assert isinstance(parent, Directory)
        child = parent.children.get(name)
        if child is None:
            if make is None:
                return None
            child = parent.children[name] = make(name)
        if isinstance(child.body, bytes):
            links += 1
            if links > MAX_SYMLINKS:
                raise Refusal(f"more than {MAX_SYMLINKS} symbolic links on the way")
            if child.body.startswith(b"/"):
                del trail[1:]
            rest.extend(part for part in reversed(child.body.split(b"/")) if part not in (b"", b"."))
        elif isinstance(child.body, Directory):
            trail.append(child)
        else:
            raise Refusal(f"{name!r}, on the way to it, is not a directory")
    assert isinstance(trail[-1].body, Directory)
    return trail[-1].body
