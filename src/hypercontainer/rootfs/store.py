"""The root disks on the host: an image per layer, made once, and one of metadata per chain of layers.

    ROOT/layers/sha256-<diff ID>.erofs      a layer's data and tree
    ROOT/images/sha256-<chain ID>.erofs     the merged tree of an image, whose data is in its layers' files
    beside them                             hashes, see `hashes`

A file has its name only once it is complete, verified and on disk (`making`), and is never changed after that.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hypercontainer.errors import DigestMismatch, ImageError, InvalidArgument, NotFound

from . import erofs
from .convert import convert
from .hashes import Hashes, Verity
from .limits import LayerLimits, Tally
from .making import PART_SUFFIX, SECTOR_BYTES, making, remove, remove_abandoned
from .reader import AGAIN, Extent, RootReader
from .stream import Readable
from .tree import BLOCK_SIZE, Inode
from .union import Source, write_union

DIGEST = re.compile(r"([a-z0-9]+):([0-9a-f]{64})")
SUFFIX = ".erofs"
UUID_BYTES = 16
# Of the chain of no layers, which the specification does not name.
EMPTY_CHAIN_ID = "sha256:" + hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class LayerImage:
    """``tar_bytes``: of the uncompressed layer, 0 where the image was there already.  ``size_bytes``: of the file."""

    diff_id: str
    path: Path
    size_bytes: int
    tar_bytes: int


@dataclass(frozen=True)
class RootDisk:
    """What a VM gets for an image: files that, one behind the other, are a disk with one read-only file system.
    ``verity``: what its guest checks each block by."""

    chain_id: str
    extents: tuple[Extent, ...]
    filesystem: str = "erofs"
    verity: Verity | None = None


def chain_id(diff_ids: Sequence[str]) -> str:
    """The OCI image specification's ChainID (config.md, "Layer ChainID")."""
    if not diff_ids:
        return EMPTY_CHAIN_ID
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


def _split(digest: str) -> tuple[str, str]:
    match = DIGEST.fullmatch(digest)
    if match is None or match[1] != "sha256":
        raise InvalidArgument(f"digest {digest!r} is not sha256: and 64 hexadecimal digits")
    return match[1], match[2]


def _file_name(digest: str) -> str:
    return "-".join(_split(digest)) + SUFFIX


def _uuid(digest: str) -> bytes:
    return bytes.fromhex(_split(digest)[1])[:UUID_BYTES]


class LayerStore:
    """Safe to use from several threads and processes on one ``root``; methods block.  ``verity``: disks have hashes."""

    def __init__(
        self,
        root: Path,
        limits: LayerLimits = LayerLimits(),  # noqa: B008 - it is frozen
        *,
        verity: bool = False,
    ) -> None:
        self._layers = root / "layers"
        self._images = root / "images"
        self._limits = limits
        self._verity = verity
        self._hashes = Hashes(self._images)
        for folder in (self._layers, self._images):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def has(self, diff_id: str) -> bool:
        return _superblock(self._layer_path(diff_id), _uuid(diff_id)) is not None

    def size_bytes(self, diff_id: str) -> int:
        """What a layer's image takes on the host's disk; 0 where there is none."""
        try:
            return self._layer_path(diff_id).stat().st_blocks * SECTOR_BYTES
        except FileNotFoundError:
            return 0

    def convert(
        self,
        source: Readable | Path,
        *,
        diff_id: str,
        compression: str = "auto",
        layer: str = "",
        progress: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> LayerImage:
        """Make a layer's image from its tar, once: a second call waits for the first, or finds it done and leaves
        ``source`` unread.

        ``compression`` is "none", "gzip", "zstd", "xz", "bzip2" or "auto".  ``progress`` is told the compressed
        bytes consumed so far.  Raises LayerError for refused content, DigestMismatch where the tar is not
        ``diff_id``, ``concurrent.futures.CancelledError`` once ``cancelled`` returns true, Unavailable where the
        host's disk fails, and what reading ``source`` raises.
        """
        path = self._layer_path(diff_id)
        with _making(path, _uuid(diff_id)) as fd, ExitStack() as stack:
            if fd is None:
                return LayerImage(diff_id, path, path.stat().st_size, 0)
            following = None
            if self._verity:
                following = stack.enter_context(self._hashes.following(path, fd))
            else:
                self._hashes.forget(path)
            with _opened(source) as stream:
                done = convert(
                    stream,
                    fd,
                    compression=compression,
                    limits=self._limits,
                    layer=layer or diff_id,
                    uuid=_uuid(diff_id),
                    progress=progress,
                    cancelled=cancelled,
                    following=following,
                )
            if done.diff_id != diff_id:
                raise DigestMismatch(
                    f"uncompressed layer {layer or diff_id}", expected=diff_id, actual=done.diff_id
                )
        return LayerImage(diff_id, path, done.image_bytes, done.tar_bytes)

    def source(self, diff_id: str) -> tuple[Path, Source]:
        """The file of a layer that has been converted, as a part of some disk; NotFound, ImageError."""
        size_bytes = self._found(diff_id).blocks * BLOCK_SIZE
        path = self._layer_path(diff_id)
        return path, Source(size_bytes, partial(self._tree, Extent(path, size_bytes)))

    def root_disk(self, diff_ids: Sequence[str], *, cancelled: Callable[[], bool] | None = None) -> RootDisk:
        """The disk of an image with these layers, the lowest first; all must have been converted.

        One layer without marks is its own disk; any other image gets a merged tree, made once.  Raises NotFound for
        a layer that is missing, ImageError for one that is damaged, CancelledError once ``cancelled`` returns true.
        """
        chain = chain_id(diff_ids)
        found = {diff_id: self._found(diff_id) for diff_id in diff_ids}
        layers = {
            diff_id: Extent(self._layer_path(diff_id), superblock.blocks * BLOCK_SIZE)
            for diff_id, superblock in found.items()
        }
        path = self._images / _file_name(chain)
        if len(layers) == 1 and not any(superblock.marks for superblock in found.values()):
            return self._verified(RootDisk(chain, tuple(layers.values())))
        data_bytes = sum(extent.size_bytes for extent in layers.values())
        with _making(path, _uuid(chain), data_bytes) as fd:
            if fd is not None:
                self._hashes.forget(path)
                self._merge(fd, diff_ids, layers, _uuid(chain), cancelled)
        return self._verified(RootDisk(chain, (Extent(path, path.stat().st_size), *layers.values())))

    def _verified(self, disk: RootDisk) -> RootDisk:
        """With its hashes, if it is to have some."""
        if not self._verity:
            return disk
        return replace(disk, verity=self._hashes.of(self._images / _file_name(disk.chain_id), disk.extents))

    def examine(self, diff_ids: Sequence[str]) -> str:
        """What is wrong with the files of an image's disk, that its guest has found something wrong with; "" where
        nothing is.  A layer's file that is not what was converted counts as missing from then on."""
        disk = self.root_disk(diff_ids)
        path = self._images / _file_name(disk.chain_id)
        wrong = self._hashes.wrong(path, disk.extents)
        if wrong is None:
            return ""
        extent, block = wrong
        named = {self._layer_path(diff_id): diff_id for diff_id in diff_ids}
        if block >= 0:
            extent.path.unlink(missing_ok=True)
            return f"{_called(extent, named)}: block {block} is not what was converted"
        for layer in named:
            layer.unlink(missing_ok=True)
        return "its layers are not those that it was made of"

    def prune(self, keep: Collection[tuple[str, ...]]) -> int:
        """Remove what no chain of ``keep`` needs, and what makers that died left; returns the bytes freed.

        What is being made stays; a layer that is complete and not in ``keep`` does not, so that the caller
        prunes while it registers nothing.
        """
        freed = sum(remove(path) for path in self._needless(keep))
        for path in [*self._layers.iterdir(), *self._images.iterdir()]:
            if path.suffix == PART_SUFFIX:
                freed += remove_abandoned(path)
        return freed

    def needless_bytes(self, keep: Collection[tuple[str, ...]]) -> int:
        """What `prune` would free of complete files."""
        return sum(path.stat().st_blocks * SECTOR_BYTES for path in self._needless(keep))

    def _needless(self, keep: Collection[tuple[str, ...]]) -> list[Path]:
        """Complete files that no chain of ``keep`` needs."""
        kept = {self._images / _file_name(chain_id(chain)) for chain in keep}
        kept |= {self._layer_path(diff_id) for chain in keep for diff_id in chain}
        there = [*self._layers.iterdir(), *self._images.iterdir()]
        return [path for path in there if path.suffix != PART_SUFFIX and path.with_suffix(SUFFIX) not in kept]

    def _merge(
        self,
        fd: int,
        diff_ids: Sequence[str],
        layers: dict[str, Extent],
        uuid: bytes,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        sources = {
            diff_id: Source(extent.size_bytes, partial(self._tree, extent))
            for diff_id, extent in layers.items()
        }
        write_union(fd, diff_ids, sources, uuid, self._limits, cancelled)

    @staticmethod
    def _tree(extent: Extent, base: int, tally: Tally) -> Inode:
        try:
            with RootReader([extent]) as reader:
                return reader.tree(base, tally)
        except ImageError:  # the file is damaged: without it, the next one to bring the layer makes it anew
            extent.path.unlink(missing_ok=True)
            raise

    def _layer_path(self, diff_id: str) -> Path:
        return self._layers / _file_name(diff_id)

    def _found(self, diff_id: str) -> erofs.Superblock:
        path = self._layer_path(diff_id)
        superblock = _superblock(path, _uuid(diff_id))
        if superblock is None:
            if path.exists():
                raise ImageError(f"root disk image {path} is damaged", hint=AGAIN)
            raise NotFound(f"layer {diff_id} has not been converted", hint=AGAIN)
        return superblock


def _superblock(path: Path, uuid: bytes, following_bytes: int = 0) -> erofs.Superblock | None:
    """Of an image that is whole, as far as its size and its superblock can tell, with ``following_bytes`` of other
    files behind it; None otherwise."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            found = erofs.Superblock.unpack(os.pread(file.fileno(), BLOCK_SIZE, erofs.SUPERBLOCK_AT))
    except (FileNotFoundError, ValueError):
        return None
    whole = found.uuid == uuid and found.blocks * BLOCK_SIZE == size + following_bytes
    return found if whole else None


@contextmanager
def _opened(source: Readable | Path) -> Iterator[Readable]:
    if isinstance(source, Path):
        with source.open("rb", buffering=0) as file:
            yield file
    else:
        yield source


def _making(path: Path, uuid: bytes, following_bytes: int = 0) -> AbstractContextManager[int | None]:
    """The image's file while it is made; None where it is there and whole, see `_superblock`."""
    return making(path, lambda: _superblock(path, uuid, following_bytes) is not None)


def _called(extent: Extent, layers: Mapping[Path, str]) -> str:
    name = layers.get(extent.path)
    return f"layer {name}" if name else "the merged tree of its layers"
