"""From an image's manifest to its disk, before its layers are here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from urllib3 import BaseHTTPResponse

from hypercontainer.image.cancel import Guard
from hypercontainer.image.documents import Descriptor
from hypercontainer.image.model import RegistriesConfig
from hypercontainer.image.transport import read_body, retrying
from hypercontainer.lazy import contents
from hypercontainer.lazy.contents import Contents
from hypercontainer.lazy.disk import Disk, File, Part
from hypercontainer.lazy.layer import Cache, Layer
from hypercontainer.lazy.packed import OpenRange, Packed, check_range
from hypercontainer.lazy.traffic import Traffic
from hypercontainer.rootfs import LayerLimits, LayerStore
from hypercontainer.rootfs.limits import Tally, refusal_named
from hypercontainer.rootfs.table import Table, Unfit
from hypercontainer.rootfs.tree import Inode
from hypercontainer.rootfs.union import Source, write_union

PLAIN_BYTES = 16 << 20  # of layers without a table, together: they are brought first
RANGE_DEADLINE_S = 60.0
READERS = 4  # of ranges that somebody waits for, at once


@dataclass(frozen=True)
class Means:
    """By what layers come: ``open_range`` is of a blob by its digest, ``bring`` has a whole layer here and made."""

    layers: LayerStore
    limits: LayerLimits
    config: RegistriesConfig
    guard: Guard
    open_range: Callable[[str, int, int], BaseHTTPResponse]
    bring: Callable[[Descriptor, str], None]
    scratch: Path
    wait_s: float


@dataclass(frozen=True)
class _Lazy:
    """A layer as a part of a disk."""

    layer: Layer
    size_bytes: int
    guard: Guard
    wait_s: float

    def read(self, offset: int, length: int) -> bytes:
        return self.layer.read(offset, length, self.guard, self.wait_s)


class Assembly:
    """``packed``: of the layers that come, by digest.  ``prefetch``: what their makers found to be needed first."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._traffic, self._cache = Traffic(), Cache()
        self._pool = ThreadPoolExecutor(READERS, "ranges")
        self.packed: dict[str, Packed] = {}
        self.prefetch: list[tuple[Packed, int]] = []

    def disk(self, layers: Sequence[tuple[Descriptor, str]], tree: int, uuid: bytes) -> Disk:
        """Of the image with these layers and their diff IDs, the lowest first; what is before it, the metadata, is
        written to the empty file ``tree``.

        Raises Unfit for one that cannot be had in pieces, LayerError for one that cannot be had at all, RegistryError.
        """
        found = self._tables(layers)
        parts: dict[str, Part] = {}
        sources: dict[str, Source] = {}
        for descriptor, diff_id in layers:
            if diff_id in sources:
                continue
            if diff_id in found:
                parts[diff_id] = self._coming(descriptor, found[diff_id])
                table = found[diff_id].table
                sources[diff_id] = Source(table.data_bytes, partial(_tree, table))
            else:
                path, sources[diff_id] = self._means.layers.source(diff_id)
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                parts[diff_id] = File(fd, sources[diff_id].size_bytes)
        write_union(tree, [diff_id for _, diff_id in layers], sources, uuid, self._means.limits)
        return Disk(list(parts.values()))

    def _tables(self, layers: Sequence[tuple[Descriptor, str]]) -> dict[str, Contents]:
        """Of the layers that are not here; those without a table are, afterwards."""
        missing = {diff_id: layer for layer, diff_id in layers if not self._means.layers.has(diff_id)}
        plain = {diff_id: layer for diff_id, layer in missing.items() if not contents.has_table(layer)}
        if (size := sum(layer.size for layer in plain.values())) > PLAIN_BYTES:
            first = next(iter(plain.values()))
            raise Unfit(f"layer {first.digest} has no table of contents, one of {len(plain)} of {size} bytes")
        tables = {
            diff_id: self._pool.submit(self._table, layer)
            for diff_id, layer in missing.items()
            if diff_id not in plain
        }
        for diff_id, layer in plain.items():
            self._means.bring(layer, diff_id)
        return {diff_id: table.result() for diff_id, table in tables.items()}

    def _table(self, layer: Descriptor) -> Contents:
        try:
            with refusal_named(layer.digest):
                return contents.read(layer, partial(self._range, layer), self._means.limits)
        except Unfit as error:
            raise Unfit(f"layer {layer.digest}: {error}") from error

    def _range(self, layer: Descriptor, start: int, end: int) -> bytes:
        """All of these bytes."""
        what = f"layer {layer.digest}"
        guard = self._means.guard

        def get() -> bytes:
            response = self._means.open_range(layer.digest, start, end)
            check_range(response, start, what)
            return read_body(response, end - start, what, guard, RANGE_DEADLINE_S)

        data = retrying(get, self._means.config, guard)
        if len(data) != end - start:
            raise Unfit(f"the registry sent {len(data)} bytes of {end - start}")
        return data

    def _coming(self, descriptor: Descriptor, found: Contents) -> Part:
        means = self._means
        packed = self.packed.get(descriptor.digest)
        if packed is None:
            source: OpenRange = partial(means.open_range, descriptor.digest)
            packed = self.packed[descriptor.digest] = Packed(
                f"layer {descriptor.digest}",
                descriptor.size,
                self._unnamed(),
                source,
                self._traffic,
                self._pool,
            )
        if found.table.prefetch_end:
            self.prefetch.append((packed, found.table.prefetch_end))
        layer = Layer(len(self.packed), found.table.pieces, found.packing, packed, self._cache)
        return _Lazy(layer, found.table.data_bytes, means.guard, means.wait_s)

    def _unnamed(self) -> int:
        return os.open(self._means.scratch, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _tree(table: Table, base_block: int, tally: Tally) -> Inode:
    tree = table.tree(base_block)
    tally.add(table.entries)
    return tree
