"""Images that are used before their layers are here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from hypercontainer.errors import DigestMismatch, LayerError, Remedy, Unavailable
from hypercontainer.image.blobs import BlobStore, PartialBlob, disk_errors
from hypercontainer.image.cancel import Guard
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.documents import Descriptor, Manifest, parse_manifest
from hypercontainer.image.metadata import Metadata
from hypercontainer.image.pull import (
    Assemble,
    LayerWork,
    Prepare,
    ReportProgress,
    Resolved,
    assembled,
    layer_of,
    record_of,
    sources_of,
)
from hypercontainer.image.reference import parse
from hypercontainer.image.registry import Repository
from hypercontainer.image.transport import Transport


@dataclass(frozen=True)
class Offer:
    """An image that could be used before its layers are here; ``missing_bytes`` of blobs are not."""

    reference: str
    manifest: Manifest
    config: bytes
    missing_bytes: int


# Takes an image on, or does not; what it returns is called when the image is registered.
Ahead = Callable[[Offer], Callable[[], None] | None]
# Appends all that the blob lacks; what it is, is verified afterwards.
Bring = Callable[[Descriptor, PartialBlob, Guard], None]


class Arrivals:
    """The store's side of it; ``operation`` and ``work`` are the store's."""

    def __init__(
        self,
        metadata: Metadata,
        blobs: BlobStore,
        transport: Transport,
        operation: Callable[[str, threading.Event | None], AbstractContextManager[Guard]],
        work: Callable[[Guard, Prepare | None, ReportProgress | None], LayerWork],
    ) -> None:
        self._metadata, self._blobs, self._transport = metadata, blobs, transport
        self._operation, self._work = operation, work

    def offer(self, reference: str, resolved: Resolved) -> Offer:
        missing = [x for x in resolved.manifest.layers if not self._blobs.has(x.digest, x.size)]
        return Offer(reference, resolved.manifest, resolved.config, sum(layer.size for layer in missing))

    def sources(self, reference: str, credentials: Credentials | None, guard: Guard) -> list[Repository]:
        """Where a pull asks for the reference, in this order."""
        return sources_of(self._transport, parse(reference), credentials, guard)

    def check_whole(self, image_id: str) -> None:
        """Unavailable for an image that is coming."""
        if found := self._metadata.coming().get(image_id):
            raise Unavailable(
                f"image {image_id} is still coming: not all of its layers are here",
                remedies=[Remedy("images.pull", found[0])],
            )

    def coming(self) -> list[Offer]:
        """Images that are used while their layers come, and of whose layers none has proved wrong."""
        found = []
        for image_id, (reference, fault) in self._metadata.coming().items():
            record = self._metadata.record(image_id)
            if record is not None and not fault:
                manifest = parse_manifest(record.manifest, record.manifest_type, f"image {image_id}")
                assert isinstance(manifest, Manifest)
                found.append(Offer(reference, manifest, record.config, 0))
        return found

    def bring(
        self,
        layer: Descriptor,
        diff_id: str,
        *,
        sources: Sequence[Repository],
        prepare: Prepare,
        guard: Guard,
    ) -> None:
        """One layer, as a pull does, for an image that is not registered yet."""
        with self._blobs.session():
            work = self._work(guard, prepare, None)
            work.download(layer, sources)
            work.prepare(layer_of(self._blobs, layer, diff_id))

    def complete(self, offer: Offer, bring: Bring, *, prepare: Prepare, assemble: Assemble) -> None:
        """Have all that an image was registered without: blobs by ``bring``, which is called for those that are
        missing, in several threads; the rest as a pull.  What proves wrong is written down, and raised."""
        image_id = offer.manifest.config.digest
        with self._operation(f"pull {offer.reference}", None) as guard:
            work = self._work(guard, prepare, None)
            try:
                layers = work.all(
                    offer.manifest, image_id, offer.config, lambda layer: self._fetch(layer, bring, guard)
                )
                known = self._metadata.record(image_id)
                if known is None:
                    return  # it was removed meanwhile
                record = record_of(offer.manifest, known.manifest_digest, offer.config, layers)
                assembled([record], assemble, guard)
                self._metadata.register(record)
            except (LayerError, DigestMismatch) as error:
                self._metadata.spoil(
                    image_id, f"image {offer.reference} is not what it said: {error.message}"
                )
                raise

    def _fetch(self, layer: Descriptor, bring: Bring, guard: Guard) -> None:
        """Has a blob in the store, by ``bring`` where it is missing and nobody else brings it."""
        if self._blobs.has(layer.digest, layer.size):
            return
        what = f"layer {layer.digest}"
        with (
            disk_errors(what, self._blobs.root),
            self._blobs.partial(layer.digest, layer.size, guard) as blob,
        ):
            if blob is not None:
                bring(layer, blob, guard)
                blob.commit(layer.size, what)
