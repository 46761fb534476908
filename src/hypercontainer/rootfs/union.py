"""The metadata of an image, written from the trees of its layers, wherever these come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .blockfile import BlockFile
from .limits import LayerLimits, Refusal, Tally, refusal_named
from .merge import apply_layer, empty
from .tree import BLOCK_SIZE, Inode
from .writer import MAX_IMAGE_BYTES, write_merged


@dataclass(frozen=True)
class Source:
    """A layer's part of the disk: so many bytes, and its tree, made anew for each call with the part's first block and
    a tally of its names."""

    size_bytes: int
    tree: Callable[[int, Tally], Inode]


def write_union(
    fd: int,
    layers: Sequence[str],
    sources: Mapping[str, Source],
    uuid: bytes,
    limits: LayerLimits,
    cancelled: Callable[[], bool] | None = None,
) -> int:
    """Write the merged tree of ``layers``, the lowest first, to the empty file ``fd``; returns its size in bytes.

    On the disk the parts of ``sources`` follow it, in their order.  Raises LayerError, CancelledError and what reading
    a tree raises.
    """
    bases, blocks = {}, 0
    for name, source in sources.items():
        bases[name] = blocks
        blocks += source.size_bytes // BLOCK_SIZE
    tree = empty()
    tally = Tally("the image has more entries than", limits.max_image_entries, cancelled)
    for name, before in zip(layers, (None, *layers), strict=False):
        if name == before:
            continue  # a layer over itself changes nothing
        with refusal_named(name):
            apply_layer(tree, sources[name].tree(bases[name], tally), tally)
    with refusal_named(layers[-1] if layers else ""):
        if blocks * BLOCK_SIZE > limits.max_image_bytes:
            raise Refusal(f"the image's layers have more than {limits.max_image_bytes} bytes")
        return write_merged(BlockFile(fd, MAX_IMAGE_BYTES, cancelled), tree, uuid, blocks)
