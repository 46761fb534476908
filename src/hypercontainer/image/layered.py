"""The record of an image whose layers are here, but for one that comes as a tar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

from hypercontainer.image.archive_read import generated_manifest
from hypercontainer.image.blobs import digest_of
from hypercontainer.image.documents import Manifest, parse_manifest
from hypercontainer.image.metadata import Record
from hypercontainer.image.model import Layer
from hypercontainer.image.pull import LayerWork, diff_ids_of, record_of


def record_over(
    what: str,
    below: Sequence[Layer],
    stream: BinaryIO,
    config_of: Callable[[str], bytes],
    work: LayerWork,
    doomed: set[str],
) -> Record:
    """Of the layers ``below`` and the one that is in ``stream``, whose blob is in the store afterwards, prepared, and
    ``doomed``: it goes where the image is not registered.  ``config_of`` its diff ID."""
    taken = work.take(what, stream)
    doomed.add(taken.digest)
    config = config_of(taken.diff_id)
    layers = [(layer.digest, layer.size_bytes, layer.compression) for layer in below]
    raw = generated_manifest(config, [*layers, (taken.digest, taken.size_bytes, taken.compression)])
    manifest = parse_manifest(raw, "", what)
    assert isinstance(manifest, Manifest)
    digest = digest_of(raw)
    made = tuple(map(work.layer_of, manifest.layers, diff_ids_of(manifest, digest, config)))
    work.prepare(made[-1])
    return record_of(manifest, digest, config, made, generated=True)
