"""A pull: resolve the reference, bring the blobs, have them prepared, hand over a record.

Servers are asked in order, mirrors first; the next one is asked where one fails.  Layers come in parallel;
the first failure stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from urllib3 import BaseHTTPResponse

from hypercontainer.errors import Cancelled, DigestMismatch, ImageError, NotFound, RegistryError, Unauthorized
from hypercontainer.image import artifacts
from hypercontainer.image.blobs import BlobStore
from hypercontainer.image.cancel import Guard
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.documents import (
    EMPTY_DIGEST,
    Descriptor,
    Manifest,
    check_layers,
    parse_config,
    parse_manifest,
    select,
)
from hypercontainer.image.download import fetch
from hypercontainer.image.endpoints import endpoints
from hypercontainer.image.flights import Flights, Report
from hypercontainer.image.importing import Taken, take_layer
from hypercontainer.image.metadata import Record
from hypercontainer.image.model import Layer, Progress, RegistriesConfig
from hypercontainer.image.platforms import Platform, candidates, suitability
from hypercontainer.image.reference import Reference
from hypercontainer.image.registry import Repository
from hypercontainer.image.transport import Transport

MAX_INDEX_DEPTH = 4

Prepare = Callable[[Layer, Path], None]
Assemble = Callable[[Sequence[str]], object]
ReportProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Resolved:
    """``named_digest`` is what the reference led to, an index's digest perhaps; ``digest`` the image manifest's."""

    source: Repository
    named_digest: str
    digest: str
    manifest: Manifest
    config: bytes


def sources_of(
    transport: Transport, wanted: Reference, credentials: Credentials | None, guard: Guard
) -> list[Repository]:
    """Where a pull asks, in this order; ``credentials`` are for the last."""
    return [
        Repository(transport, place, wanted.repository, None if place.is_mirror else credentials, guard)
        for place in endpoints(wanted, transport.config)
    ]


def find_manifest(
    get: Callable[[str], tuple[bytes, str, str]],
    reference: str,
    wanted: Sequence[Platform],
    what: str,
    available: Callable[[Descriptor], bool] = lambda _: True,
) -> tuple[str, str, Manifest]:
    """Follow indexes to one image (`select`): the named digest, the manifest's digest and the manifest.

    ``get`` gives bytes, content type and digest.  An index that leads back to itself cannot be made without
    breaking the hash, but a server can answer with anything: depth and digests seen are checked.
    """
    named = ""
    seen: set[str] = set()
    for _ in range(MAX_INDEX_DEPTH):
        raw, content_type, digest = get(reference)
        if digest in seen:
            raise ImageError(f"{what}: the index {digest} refers to itself")
        seen.add(digest)
        named = named or digest
        document = parse_manifest(raw, content_type, f"manifest {digest} of {what}")
        if isinstance(document, Manifest):
            return named, digest, document
        entry = select(document, wanted, what, available)
        if entry.digest in seen:
            raise ImageError(f"{what}: the index {digest} refers to itself")
        reference = entry.digest
    raise ImageError(f"{what}: indexes nested more than {MAX_INDEX_DEPTH - 1} deep")


def resolve(sources: Sequence[Repository], reference: str, platform: Platform | None) -> Resolved:
    """The image from the first source that has it; the error of the last one, which is the origin."""
    for source in sources[:-1]:
        try:
            return _resolve(source, reference, platform)
        except (RegistryError, Unauthorized, NotFound, ImageError):
            continue  # a mirror need not work
    return _resolve(sources[-1], reference, platform)


def _resolve(source: Repository, reference: str, platform: Platform | None) -> Resolved:
    wanted = candidates(platform)

    def get(digest: str) -> tuple[bytes, str, str]:
        served = source.manifest(digest)
        return served.raw, served.content_type, served.digest

    named, digest, manifest = find_manifest(get, reference, wanted, str(source))
    if manifest.artifact_type:
        return Resolved(source, named, digest, manifest, _config_of_artifact(source, manifest))
    config = source.small_blob(manifest.config, f"image config {manifest.config.digest} of {source}")
    document = parse_config(config, f"image config {manifest.config.digest} of {source}")
    check_layers(manifest, document, str(source))
    if platform is not None and all(suitability(document.platform, each) is None for each in wanted):
        raise ImageError(f"{source}: the image is for {document.platform}, not for {platform}")
    return Resolved(source, named, digest, manifest, config)


def _config_of_artifact(source: Repository, manifest: Manifest) -> bytes:
    if manifest.config.digest == EMPTY_DIGEST:
        return b"{}"
    return source.small_blob(manifest.config, f"config {manifest.config.digest} of {source}")


def id_of(manifest: Manifest, digest: str) -> str:
    """An image's is its config's digest; an artifact's is its manifest's, since they have configs in common."""
    return digest if manifest.artifact_type else manifest.config.digest


def record_of(
    manifest: Manifest, digest: str, config: bytes, layers: tuple[Layer, ...], *, generated: bool = False
) -> Record:
    return Record(
        id_of(manifest, digest), config, manifest.raw, digest, manifest.media_type, layers, generated
    )


def diff_ids_of(manifest: Manifest, digest: str, config: bytes) -> tuple[str, ...]:
    """Those of its layers, in their order; "" of an artifact's, which nobody tells."""
    if manifest.artifact_type:
        return ("",) * len(manifest.layers)
    document = parse_config(config, f"image config {manifest.config.digest}")
    check_layers(manifest, document, f"manifest {digest}")
    return document.diff_ids


def record_ahead(manifest: Manifest, digest: str, config: bytes) -> Record:
    """The record of an image whose layers are still to come: what their blobs will say is taken from the manifest."""
    document = parse_config(config, f"image config {manifest.config.digest}")
    check_layers(manifest, document, f"manifest {digest}")
    layers = tuple(
        Layer(x.digest, diff_id, x.media_type, x.size, "zstd" if x.media_type.endswith("zstd") else "gzip")
        for x, diff_id in zip(manifest.layers, document.diff_ids, strict=True)
    )
    return Record(manifest.config.digest, config, manifest.raw, digest, manifest.media_type, layers)


def layer_of(store: BlobStore, descriptor: Descriptor, diff_id: str) -> Layer:
    """The layer whose verified blob is in ``store``.

    An uncompressed one is its own diff ID, which is checked here; others are checked by whoever unpacks them.
    """
    digest = descriptor.digest
    compression = store.compression(digest)
    if compression == "none" and digest != diff_id and digest.partition(":")[0] == diff_id.partition(":")[0]:
        raise DigestMismatch(f"layer {digest}: diff ID", expected=diff_id, actual=digest)
    return Layer(digest, diff_id, descriptor.media_type, descriptor.size, compression)


class LayerWork:
    """Brings and prepares the layers of one image."""

    def __init__(
        self,
        store: BlobStore,
        flights: Flights,
        config: RegistriesConfig,
        guard: Guard,
        prepare: Prepare | None,
        progress: ReportProgress | None,
    ) -> None:
        self._store, self._flights, self._config, self._guard = store, flights, config, guard
        self._prepare, self._progress = prepare, progress

    def report(self, digest: str, status: str, current: int, total: int) -> None:
        if self._progress is not None:
            self._progress(Progress(digest, status, current, total))

    def download(self, descriptor: Descriptor, sources: Sequence[Repository]) -> None:
        """Have the blob in the store: it is there, another thread brings it, or this one does."""
        size = descriptor.size
        if self._store.has(descriptor.digest, size):
            self.report(descriptor.digest, "exists", size, size)
            return

        def fly(report: Report) -> None:
            try:
                self._fetch(descriptor, sources, report)
            except DigestMismatch:
                if len(sources) == 1:
                    raise
                self._fetch(descriptor, sources[-1:], report)  # a mirror had something else

        def report(status: str, current: int) -> None:
            self.report(descriptor.digest, status, current, size)

        self._flights.run(descriptor.digest, fly, report, self._guard)

    def _fetch(self, descriptor: Descriptor, sources: Sequence[Repository], report: Report) -> None:
        def source(digest: str, offset: int) -> BaseHTTPResponse:
            return open_blob(sources, digest, offset)

        fetch(self._store, descriptor, source, self._config, report, self._guard)

    def prepare(self, layer: Layer) -> None:
        if self._prepare is not None:
            self._guard.check()
            self.report(layer.digest, "extracting", 0, layer.size_bytes)
            self._prepare(layer, self._store.path(layer.digest))
        self.report(layer.digest, "done", layer.size_bytes, layer.size_bytes)

    def take(self, what: str, stream: BinaryIO) -> Taken:
        """The layer's tar that ``stream`` is, now in the store."""
        with self._store.staging() as folder:
            taken = take_layer(what, stream, folder / "layer", self._config.max_blob_bytes, self._guard)
            self._store.adopt(folder / "layer", taken.digest)
            return taken

    def layer_of(self, descriptor: Descriptor, diff_id: str) -> Layer:
        """The layer whose verified blob is in the store; ``diff_id`` "": an artifact's."""
        if diff_id:
            return layer_of(self._store, descriptor, diff_id)
        return artifacts.layer_of(self._store, descriptor, self._config.max_blob_bytes, self._guard)

    def all(
        self, manifest: Manifest, digest: str, config: bytes, bring: Callable[[Descriptor], None]
    ) -> tuple[Layer, ...]:
        """The image's layers, each brought and prepared once, in parallel; ``bring`` has its blob in the store."""
        diff_ids = diff_ids_of(manifest, digest, config)
        wanted = list(zip(manifest.layers, diff_ids, strict=True))
        # Of an artifact one blob may be several files.
        keys = [(x.digest, diff_id or str(place)) for place, (x, diff_id) in enumerate(wanted)]
        unique = dict(zip(keys, wanted, strict=True))
        made: dict[tuple[str, str], Layer] = {}
        for descriptor, _ in unique.values():
            here = self._store.has(descriptor.digest, size := descriptor.size)
            self.report(descriptor.digest, "exists" if here else "waiting", size if here else 0, size)

        def job(key: tuple[str, str]) -> Callable[[], None]:
            def bring_and_prepare() -> None:
                descriptor, diff_id = unique[key]
                bring(descriptor)
                layer = made[key] = self.layer_of(descriptor, diff_id)
                self.prepare(layer)

            return bring_and_prepare

        in_parallel(map(job, unique), self._config.parallel_downloads, self._guard)
        layers = tuple(made[key] for key in keys)
        artifacts.check_names(layers, f"manifest {digest}")
        return layers


def assembled(records: Sequence[Record], assemble: Assemble | None, guard: Guard) -> None:
    """The last thing before images are registered: it can still be too late for them, or fail."""
    for record in records:
        guard.check()
        if assemble is not None:
            assemble([layer.diff_id for layer in record.layers])
    guard.check()


def in_parallel(jobs: Iterable[Callable[[], None]], workers: int, guard: Guard) -> None:
    """Run all jobs; the first failure stops the others by ``guard`` and is raised when all have ended."""
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="layer") as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            guard.abort()
            raise
        if any(future.exception() for future in done):
            guard.abort()
            for future in futures:
                future.cancel()
    errors = [e for future in futures if not future.cancelled() and (e := future.exception())]
    for error in sorted(errors, key=lambda e: isinstance(e, Cancelled)):
        raise error


def open_blob(
    sources: Sequence[Repository], digest: str, offset: int, end: int | None = None
) -> BaseHTTPResponse:
    """From the first source that has it; see `Repository.blob`."""
    for source in sources[:-1]:
        try:
            return source.blob(digest, offset, end)
        except (RegistryError, Unauthorized, NotFound):
            continue
    return sources[-1].blob(digest, offset, end)
