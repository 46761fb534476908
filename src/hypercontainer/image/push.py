"""A push: layers, config, manifest, in this order, so that a registry never has a manifest without its blobs.

A pulled image is pushed with the bytes it came with and keeps its digest.  An image that was loaded with plain
layers gets a manifest with gzip layers first, which then is its manifest.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from hypercontainer.errors import NotFound, RegistryError
from hypercontainer.image.archive_read import generated_manifest
from hypercontainer.image.blobs import CHUNK_BYTES, BlobStore, digest_of, hasher
from hypercontainer.image.cancel import Guard
from hypercontainer.image.documents import OCI_LAYER, OCI_MANIFEST
from hypercontainer.image.metadata import Metadata, Record
from hypercontainer.image.model import Layer, Progress, RegistriesConfig
from hypercontainer.image.pull import ReportProgress, in_parallel
from hypercontainer.image.reference import Reference, parse
from hypercontainer.image.registry import Repository
from hypercontainer.image.streams import compressor
from hypercontainer.image.transport import Backoff, TransientError
from hypercontainer.linux import disk


class _Upload(io.RawIOBase):
    """A blob's file as a request's body: tells the progress and ends with the operation."""

    def __init__(self, file: IO[bytes], guard: Guard, report: Callable[[int], None]) -> None:
        self._file, self._guard, self._report = file, guard, report

    def read(self, size: int = -1) -> bytes:
        self._guard.check()
        data = self._file.read(size)
        self._report(self._file.tell())
        return data


class Pusher:
    """One push to one repository."""

    def __init__(
        self,
        store: BlobStore,
        metadata: Metadata,
        target: Repository,
        config: RegistriesConfig,
        guard: Guard,
        progress: ReportProgress | None,
    ) -> None:
        self._store, self._metadata, self._target = store, metadata, target
        self._config, self._guard, self._progress = config, guard, progress

    def push(self, record: Record, reference: Reference) -> str:
        """Returns the digest of the manifest."""
        unique = {layer.digest: layer for layer in record.layers}
        jobs: list[Callable[[], None]] = [
            lambda layer=layer: self._push_layer(layer, reference)  # type: ignore[misc]
            for layer in unique.values()
        ]
        in_parallel(jobs, self._config.parallel_downloads, self._guard)
        self._push_blob(
            record.config_digest, len(record.config), lambda: io.BytesIO(record.config), None, lambda _: None
        )
        self._target.put_manifest(
            reference.tag or record.manifest_digest, record.manifest, record.manifest_type
        )
        return record.manifest_digest

    def _push_layer(self, layer: Layer, reference: Reference) -> None:
        total = layer.size_bytes

        def report(status: str, current: int) -> None:
            if self._progress is not None:
                self._progress(Progress(layer.digest, status, current, total))

        report("waiting", 0)
        names = (parse(name) for name in self._metadata.names_with_layer(layer.digest))
        elsewhere = [
            n.repository
            for n in names
            if n.registry == reference.registry and n.repository != reference.repository
        ]
        status = self._push_blob(
            layer.digest,
            total,
            lambda: self._store.path(layer.digest).open("rb"),
            elsewhere[0] if elsewhere else None,
            lambda current: report("uploading", current),
        )
        report(status, total)

    def _push_blob(
        self,
        digest: str,
        size: int,
        open_blob: Callable[[], IO[bytes]],
        mount_from: str | None,
        report: Callable[[int], None],
    ) -> str:
        """Returns how the blob got there: exists, mounted or done."""
        if self._target.has_blob(digest):
            return "exists"
        backoff = Backoff(self._config, self._guard)
        while True:
            try:
                return self._upload(digest, size, open_blob, mount_from, report)
            except TransientError as error:
                backoff.wait(error)

    def _upload(
        self,
        digest: str,
        size: int,
        open_blob: Callable[[], IO[bytes]],
        mount_from: str | None,
        report: Callable[[int], None],
    ) -> str:
        location = self._start(digest, mount_from)
        if location is None:
            return "mounted"
        with open_blob() as file:

            def body() -> IO[bytes]:
                file.seek(0)
                return _Upload(file, self._guard, report)  # type: ignore[return-value]

            if self._target.upload(location, digest, body, size):
                return "done"
            again = self._target.start_upload(digest, None)
            if again is None:
                return "exists"
            self._target.upload_chunks(again, digest, body(), size)
        return "done"

    def _start(self, digest: str, mount_from: str | None) -> str | None:
        try:
            return self._target.start_upload(digest, mount_from)
        except (RegistryError, NotFound):
            if mount_from is None:
                raise
            return self._target.start_upload(digest, None)  # what cannot be mounted can be sent


def with_gzip_layers(store: BlobStore, record: Record, guard: Guard, folder: Path) -> Record:
    """The image under a manifest whose layers are all compressed; new blobs go into ``store``."""
    layers = tuple(_compressed(store, layer, guard, folder) for layer in record.layers)
    manifest = generated_manifest(record.config, [(x.digest, x.size_bytes, x.compression) for x in layers])
    return replace(
        record,
        manifest=manifest,
        manifest_digest=digest_of(manifest),
        manifest_type=OCI_MANIFEST,
        layers=layers,
    )


def _compressed(store: BlobStore, layer: Layer, guard: Guard, folder: Path) -> Layer:
    if layer.compression != "none":
        return layer
    path = folder / f"{layer.digest.partition(':')[2]}.gz"
    if not path.exists():
        with (
            store.path(layer.digest).open("rb") as source,
            path.open("xb") as target,
            compressor(target) as out,
        ):
            while data := source.read(CHUNK_BYTES):
                guard.check()
                disk.keep_room(target.fileno())
                out.write(data)
    made = hasher("sha256:")
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            made.update(data)
    digest, size = f"sha256:{made.hexdigest()}", path.stat().st_size
    store.adopt(path, digest)
    return Layer(digest, layer.diff_id, f"{OCI_LAYER}+gzip", size, "gzip")
