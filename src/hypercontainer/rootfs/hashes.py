"""What is kept of disks' hashes (`verity`), beside their files.

    layers/sha256-<diff ID>.leaves      of the layer's blocks, made with it, or when they are first needed
    images/sha256-<chain ID>.leaves     of the merged tree's
    images/sha256-<chain ID>.tree       what follows the image's disk
    images/sha256-<chain ID>.root       the root hash as text: what a guest is told, and never made of the files again

A file's leaves stay when it goes, so that one that is made anew and is another makes what was built of them invalid.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

from . import verity
from .making import making
from .reader import Extent
from .verity import HASH_BYTES, Following

LEAVES_SUFFIX, TREE_SUFFIX, ROOT_SUFFIX = ".leaves", ".tree", ".root"
ROOT_HASH = re.compile(r"([0-9a-f]{64})\n")
# Of a disk: its tree takes a 128th of it, whatever holes it has.
MAX_BYTES = 64 << 30


@dataclass(frozen=True)
class Verity:
    """``tree``: what follows the data on the disk.  ``root_hash``: 64 hexadecimal digits."""

    tree: Extent
    root_hash: str


class Hashes:
    """Of the store whose images are in ``images``.  Methods block; safe in several threads and processes."""

    def __init__(self, images: Path) -> None:
        self._images = images

    @contextmanager
    def following(self, path: Path, fd: int) -> Iterator[Following]:
        """For the file ``fd`` that becomes ``path``: its leaves are there when the block ends well."""
        leaves = path.with_suffix(LEAVES_SUFFIX)
        with making(leaves, lambda: False) as out:
            assert out is not None
            with Following(fd, out, MAX_BYTES) as following:
                yield following
            if leaves.exists() and not _same(leaves, out):
                self._forget_roots()

    def forget(self, path: Path) -> None:
        """That of a file which is made anew, and nobody makes leaves of."""
        if path.with_suffix(LEAVES_SUFFIX).exists():
            self._forget_roots()
            path.with_suffix(LEAVES_SUFFIX).unlink(missing_ok=True)

    def _forget_roots(self) -> None:
        for root in self._images.glob(f"*{ROOT_SUFFIX}"):
            root.unlink(missing_ok=True)

    def of(self, path: Path, extents: Sequence[Extent]) -> Verity | None:
        """Of the disk of these, whose image is ``path``; made where it is not there.  None where it is too large."""
        data_bytes = sum(extent.size_bytes for extent in extents)
        if data_bytes > MAX_BYTES:
            return None
        while (found := _found(path, data_bytes)) is None:
            self._make(path, data_bytes, extents)
        return found

    def _make(self, path: Path, data_bytes: int, extents: Sequence[Extent]) -> None:
        with making(path.with_suffix(TREE_SUFFIX), lambda: _found(path, data_bytes) is not None) as fd:
            if fd is None:
                return
            path.with_suffix(ROOT_SUFFIX).unlink(missing_ok=True)
            for extent in extents:
                _make_leaves(extent)
            root_hash = verity.build(data_bytes, _kept(extents), lambda at, data: os.pwrite(fd, data, at))
        with making(path.with_suffix(ROOT_SUFFIX), lambda: False) as out:
            assert out is not None
            os.write(out, f"{root_hash}\n".encode())

    def wrong(self, path: Path, extents: Sequence[Extent]) -> tuple[Extent, int] | None:
        """The first of the disk's files that is not as it was made, and its block that is not, -1 where that cannot be
        told; None where all are, and then the tree, if it was damaged, is made anew when it is next asked for."""
        data_bytes = sum(extent.size_bytes for extent in extents)
        found = _found(path, data_bytes)
        if found is None:
            return None
        for extent in extents:
            if (block := _wrong_block(extent)) is not None:
                return extent, block
        with found.tree.path.open("rb", buffering=0) as file:
            same = True

            def compare(at: int, data: bytes) -> None:
                nonlocal same
                same = same and os.pread(file.fileno(), len(data), at) == data

            root_hash = verity.build(data_bytes, _kept(extents), compare)
        if root_hash != found.root_hash:
            return extents[-1], -1
        if not same:
            path.with_suffix(ROOT_SUFFIX).unlink(missing_ok=True)
        return None


def _found(path: Path, data_bytes: int) -> Verity | None:
    tree = Extent(path.with_suffix(TREE_SUFFIX), verity.tree_bytes(data_bytes))
    try:
        root = ROOT_HASH.fullmatch(path.with_suffix(ROOT_SUFFIX).read_text("ascii"))
        whole = tree.path.stat().st_size == tree.size_bytes
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return Verity(tree, root[1]) if root and whole else None


def _make_leaves(extent: Extent) -> None:
    leaves = extent.path.with_suffix(LEAVES_SUFFIX)

    def is_there() -> bool:
        return leaves.exists() and leaves.stat().st_size == verity.leaves_bytes(extent.size_bytes)

    with ExitStack() as stack:
        out = stack.enter_context(making(leaves, is_there))
        if out is not None:
            file = stack.enter_context(extent.path.open("rb", buffering=0))
            for piece in verity.leaves_of(file.fileno(), 0, extent.size_bytes):
                os.write(out, piece)


def _kept(extents: Sequence[Extent]) -> Iterator[bytes]:
    for extent in extents:
        with extent.path.with_suffix(LEAVES_SUFFIX).open("rb", buffering=0) as file:
            yield from iter(partial(file.read, verity.CHUNK_BYTES), b"")


def _wrong_block(extent: Extent) -> int | None:
    """The first whose hash is another than its leaf."""
    before = 0
    with (
        extent.path.open("rb", buffering=0) as file,
        extent.path.with_suffix(LEAVES_SUFFIX).open("rb", buffering=0) as leaves,
    ):
        for piece in verity.leaves_of(file.fileno(), 0, extent.size_bytes):
            kept = leaves.read(len(piece))
            if kept != piece:
                return (before + _first_difference(kept, piece)) // HASH_BYTES
            before += len(piece)
    return None


def _first_difference(one: bytes, other: bytes) -> int:
    return next(at for at, (a, b) in enumerate(zip_longest(one, other)) if a != b)


def _same(path: Path, fd: int) -> bool:
    """Whether the file has what is in ``fd``."""
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != os.fstat(fd).st_size:
            return False
        return all(
            os.pread(fd, verity.CHUNK_BYTES, at) == os.pread(file.fileno(), verity.CHUNK_BYTES, at)
            for at in range(0, os.fstat(fd).st_size, verity.CHUNK_BYTES)
        )
