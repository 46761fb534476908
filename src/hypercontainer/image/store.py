"""The image store: the one door to images for the engine.

Everything is synchronous, may block, and may be called from any thread and from several processes; the daemon
calls it in worker threads.  Long operations take a ``cancelled`` event: a `cancel.Cancellation` stops them at
once, a plain event at the next piece of data.  A pull that is killed at any point leaves the images as they
were, and its verified bytes for the next attempt.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hypercontainer.contract.images import PullTarget
from hypercontainer.errors import (
    DigestMismatch,
    ImageError,
    InvalidArgument,
    LayerError,
    NoSuchImage,
    NotFound,
    Remedy,
)
from hypercontainer.image import importing, local, trust
from hypercontainer.image.ahead import Ahead, Arrivals
from hypercontainer.image.archive_read import Loaded, images
from hypercontainer.image.archive_write import check_images, write_docker, write_oci
from hypercontainer.image.artifacts import check_names, not_to_run
from hypercontainer.image.blobs import BlobStore, disk_errors
from hypercontainer.image.cancel import Guard
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.documents import parse_config
from hypercontainer.image.endpoints import origin
from hypercontainer.image.flights import Flights
from hypercontainer.image.history import entries
from hypercontainer.image.importing import IMPORTED, Making
from hypercontainer.image.inquiries import Inquiries
from hypercontainer.image.layered import record_over
from hypercontainer.image.members import take
from hypercontainer.image.metadata import Metadata, Record
from hypercontainer.image.model import (
    DiskUsage,
    HistoryEntry,
    Image,
    Layer,
    PruneReport,
    RegistriesConfig,
    Removed,
    Verified,
)
from hypercontainer.image.platforms import Platform, host_platform
from hypercontainer.image.pull import (
    Assemble,
    LayerWork,
    Prepare,
    ReportProgress,
    assembled,
    diff_ids_of,
    id_of,
    in_parallel,
    record_ahead,
    record_of,
    resolve,
    sources_of,
)
from hypercontainer.image.push import Pusher, with_gzip_layers
from hypercontainer.image.reference import parse
from hypercontainer.image.registry import Repository
from hypercontainer.image.signature.policy import Policy
from hypercontainer.image.transport import Transport


class ImageStore:
    """Images below ``root``, which belongs to the store alone."""

    def __init__(
        self, root: Path, config: RegistriesConfig | None = None, policy: Policy | None = None
    ) -> None:
        """``policy``: what signatures images need; None of any."""
        self.config = config or RegistriesConfig()
        self._policy = policy or Policy()
        with disk_errors("open the image store", root):
            self._blobs = BlobStore(root)
        self._metadata = Metadata(root / "images.db")
        with disk_errors("open the image store", root):
            if self._metadata.begun:
                self._blobs.set_aside()
            else:
                self._blobs.bring_back(self._metadata.layer_digests())
        self._transport = Transport(self.config)
        self._flights = Flights()
        self._doomed: set[str] = set()
        self._uses = local.Uses()
        self.inquiries = Inquiries(self._transport, self._operation)
        self.arrivals = Arrivals(self._metadata, self._blobs, self._transport, self._operation, self._work)
        self._sweep()

    def close(self) -> None:
        self._transport.close()
        self._metadata.close()

    # Images in and out

    def pull(
        self,
        reference: str,
        *,
        platform: Platform | None = None,
        credentials: Credentials | None = None,
        prepare: Prepare | None = None,
        assemble: Assemble | None = None,
        ahead: Ahead | None = None,
        progress: ReportProgress | None = None,
        cancelled: threading.Event | None = None,
        artifacts: bool = True,
        found: Callable[[PullTarget], None] = lambda _: None,
    ) -> Image:
        """Bring an image and point ``reference`` at it; where it is an artifact, and no ``artifacts`` are wanted,
        InvalidArgument.

        ``prepare`` is called once per layer, in a worker thread, when the layer's blob is verified (also when
        it was there before), ``assemble`` at the end with the layers' diff IDs: what they raise fails the pull.
        The image is registered after all have returned; or, where ``ahead`` takes it on to bring the layers, at once.
        ``found`` is told what the reference leads to, once that may come.
        Untrusted, before any layer comes, where the policy asks for a signature that the registry has not.
        ``credentials`` are for the reference's own registry; mirrors are asked without.
        """
        wanted = parse(reference)
        with self._operation(f"pull {wanted.familiar()}", cancelled) as guard:
            sources = sources_of(self._transport, wanted, credentials, guard)
            resolved = resolve(sources, wanted.digest or wanted.tag or "", platform)
            manifest, digest, config = resolved.manifest, resolved.digest, resolved.config
            if manifest.artifact_type and not artifacts:
                raise not_to_run(wanted.familiar(), manifest.artifact_type)
            verified = trust.at_pull(self._policy, wanted, resolved, sources)
            found(local.pull_target(self._metadata, wanted, resolved.named_digest, id_of(manifest, digest)))
            tags = [] if wanted.digest else [wanted.canonical]
            digests = [(wanted.name, resolved.named_digest)]
            able = None if manifest.artifact_type else ahead
            if able is not None and (go_on := able(self.arrivals.offer(reference, resolved))) is not None:
                record = record_ahead(manifest, digest, config)
                self._metadata.register(record, tags, digests, verified, coming=reference)
                go_on()
                return self._image(record.id)
            work = self._work(guard, prepare, progress)
            try:
                layers = work.all(manifest, digest, config, lambda layer: work.download(layer, sources))
                record = record_of(manifest, digest, config, layers)
                assembled([record], assemble, guard)
            except (LayerError, DigestMismatch):  # of what is here: another attempt would end the same way
                self._doomed |= {layer.digest for layer in manifest.layers}
                raise
            self._register(record, tags, digests, verified)
            return self._image(record.id)

    def push(
        self,
        reference: str,
        *,
        credentials: Credentials | None = None,
        progress: ReportProgress | None = None,
        cancelled: threading.Event | None = None,
    ) -> str:
        """Send the image that is tagged ``reference`` to its registry; returns the manifest's digest."""
        wanted = parse(reference)
        if wanted.digest:
            raise InvalidArgument(f"push {reference}: a push needs a tag, not a digest")
        image_id = local.by_reference(self._metadata, wanted)
        if image_id is None:
            raise NotFound(f"no image is tagged {wanted.familiar()}", remedies=[Remedy("images.tag")])
        with self._operation(f"push {wanted.familiar()}", cancelled) as guard:
            record = self._pushable(self._whole(image_id), guard)
            place = origin(wanted.registry, self.config)
            target = Repository(self._transport, place, wanted.repository, credentials, guard, push=True)
            digest = Pusher(self._blobs, self._metadata, target, self.config, guard, progress).push(
                record, wanted
            )
            self._metadata.point(image_id, digests=[(wanted.name, digest)])
            return digest

    def _pushable(self, record: Record, guard: Guard) -> Record:
        if not record.generated or all(layer.compression != "none" for layer in record.layers):
            return record
        with disk_errors("compress layers", self._blobs.root), self._blobs.staging() as folder:
            compressed = with_gzip_layers(self._blobs, record, guard, folder)
        self._register(compressed)
        return compressed

    def load(
        self,
        stream: BinaryIO,
        *,
        platform: Platform | None = None,
        tags: Sequence[str] | None = None,
        prepare: Prepare | None = None,
        assemble: Assemble | None = None,
        progress: ReportProgress | None = None,
        cancelled: threading.Event | None = None,
    ) -> builtins.list[Image]:
        """Take in every image of an archive (`archive_read.images`), under the names that it has there, or ``tags``."""
        with (
            self._operation("load", cancelled) as guard,
            disk_errors("load", self._blobs.root),
            self._blobs.staging() as folder,
        ):
            found = images(take(stream, folder, self.config.max_archive_bytes, guard), platform)
            # What is not registered in the end goes; what is, no sweep takes.
            self._doomed |= {x.digest for loaded in found for x in loaded.manifest.layers}
            work = self._work(guard, prepare, progress)
            records = [self._adopt(loaded, work) for loaded in found]
            unique = {(x.digest, x.diff_id): x for record in records for x in record.layers}
            in_parallel(
                [partial(work.prepare, x) for x in unique.values()], self.config.parallel_downloads, guard
            )
            assembled(records, assemble, guard)
            names: dict[str, dict[str, None]] = {}
            for record, loaded in zip(records, found, strict=True):
                own = loaded.tags if tags is None else [parse(tag).canonical for tag in tags]
                self._register(record, own)
                names.setdefault(record.id, {}).update(dict.fromkeys(own))
            return [replace(self._image(each), references=tuple(tags)) for each, tags in names.items()]

    def _adopt(self, loaded: Loaded, work: LayerWork) -> Record:
        manifest, digest = loaded.manifest, loaded.manifest_digest
        for descriptor, member in zip(manifest.layers, loaded.layers, strict=True):
            if not self._blobs.has(descriptor.digest, descriptor.size):
                self._blobs.adopt(member.path, descriptor.digest)
        diff_ids = diff_ids_of(manifest, digest, loaded.config)
        layers = tuple(map(work.layer_of, manifest.layers, diff_ids))
        check_names(layers, "image archive")
        return record_of(manifest, digest, loaded.config, layers, generated=loaded.generated)

    def import_(
        self,
        stream: BinaryIO,
        *,
        reference: str | None,
        making: Making = IMPORTED,
        platform: Platform | None = None,
        prepare: Prepare | None = None,
        assemble: Assemble | None = None,
        progress: ReportProgress | None = None,
        cancelled: threading.Event | None = None,
    ) -> Image:
        """Make an image of one layer from a root file system's tar, plain or compressed."""

        config = partial(importing.config_of, platform=platform or host_platform(), making=making)
        with self._operation("import", cancelled) as guard:
            work = self._work(guard, prepare, progress)
            return self._over("import", (), stream, config, reference, work, assemble, guard)

    def commit(
        self,
        parent: str,
        stream: BinaryIO,
        *,
        config: Mapping[str, Any],
        reference: str | None,
        making: Making,
        prepare: Prepare | None = None,
        assemble: Assemble | None = None,
        cancelled: threading.Event | None = None,
    ) -> Image:
        """Make an image of the layers of the image ``parent`` (its ID) and one more, whose tar is ``stream``;
        ``config`` is the "config" object of its configuration.  NotFound where a layer is not there any more."""
        with self._operation("commit", cancelled) as guard:
            below = self._whole(parent)
            work = self._work(guard, prepare, None)

            def derived(diff_id: str) -> bytes:
                return importing.derived_config(below.config, diff_id, config, making)

            return self._over("commit", below.layers, stream, derived, reference, work, assemble, guard)

    def _over(
        self,
        what: str,
        below: Sequence[Layer],
        stream: BinaryIO,
        config_of: Callable[[str], bytes],
        reference: str | None,
        work: LayerWork,
        assemble: Assemble | None,
        guard: Guard,
    ) -> Image:
        """The image of the layers ``below`` and the one that is in ``stream``; ``config_of`` its diff ID."""
        tags = [parse(reference).canonical] if reference else []
        config_of("sha256:" + "0" * 64)  # refuse before reading
        with disk_errors(what, self._blobs.root):
            record = record_over(what, below, stream, config_of, work, self._doomed)
            assembled([record], assemble, guard)
            self._register(record, tags)
            return self._image(record.id)

    def save(
        self,
        references: Sequence[str],
        out: BinaryIO,
        *,
        format: str = "docker",  # noqa: A002
        cancelled: threading.Event | None = None,
    ) -> builtins.list[str]:
        """Write images as one archive; ``format``: docker or oci.  A repository without a tag is all of its tags; what
        is named by ID is saved without one.  Their IDs."""
        if format not in ("docker", "oci"):
            raise InvalidArgument(f"save: format {format!r} is not docker or oci")
        names = local.find_each(self._metadata, references)
        with self._operation("save", cancelled) as guard:
            records = {image_id: self._whole(image_id) for image_id in names}
            if format == "docker":
                check_images(records)
                write_docker(self._blobs, names, records, out, self.config.max_blob_bytes, guard)
            else:
                write_oci(self._blobs, names, records, out, guard)
            return builtins.list(names)

    # Images that are here

    def get(self, reference: str) -> Image:
        """The image that a name, a tag, a ``name@digest`` or (the beginning of) an ID means; NotFound, and ImageError
        for one that cannot be used."""
        image = self._image(local.find(self._metadata, reference)[0])
        if image.fault:
            raise ImageError(image.fault, remedies=[Remedy("images.remove", reference)])
        return image

    def to_use(self, reference: str) -> Image:
        """The same, where the policy lets it be used; Untrusted otherwise."""
        image = self.get(reference)
        named = local.find(self._metadata, reference)[1]
        trust.at_use(self._policy, image, named, self._metadata.is_verified)
        return image

    def list(self) -> builtins.list[Image]:
        """All images, the latest arrival first."""
        found = (self._metadata.image(image_id) for image_id in self._metadata.ids())
        return [image for image in found if image is not None]

    def names(self) -> dict[str, str]:
        """Of all images, canonical: the ID of the image that each leads to."""
        return self._metadata.names()

    def damaged(self) -> builtins.list[str]:  # they can be removed
        return [image.id for image in self.list() if image.fault]

    @property
    def aside(self) -> Path | None:
        """Where blobs lie that an earlier record may have named."""
        return self._blobs.aside if self._blobs.aside.exists() else None

    def tag(self, source: str, target: str) -> None:
        reference = parse(target)
        if reference.digest:
            raise InvalidArgument(f"tag {target}: a tag cannot have a digest")
        self._metadata.point(local.find(self._metadata, source)[0], [reference.canonical])

    def held(self, image_id: str) -> AbstractContextManager[None]:
        """Nobody removes the image while what uses it is made; NotFound where somebody has."""
        return self._uses.held(image_id, self._image)

    @contextmanager
    def settled(self) -> Iterator[bool]:
        """While nothing is between its layers' preparation and its registration, in whichever process; False where
        something is.  What comes meanwhile waits."""
        with disk_errors("clean up the image store", self._blobs.root), self._blobs.alone() as alone:
            yield alone

    def remove(
        self, reference: str, *, force: bool = False, in_use: local.InUse = local.nobody
    ) -> builtins.list[Removed]:
        """What `rmi` does; see `local.remove`.  ``in_use`` gives the containers that use an image ID."""
        with self._uses.removing:
            image_id, named = local.find(self._metadata, reference)
            image = self._image(image_id)
            removed = local.remove(
                self._metadata, reference, image, named, force, self._uses.with_made(in_use)
            )
        if any(line.deleted for line in removed):
            self._doomed |= {layer.digest for layer in image.layers}
            self._sweep()
        return removed

    def prune(
        self,
        *,
        all_unused: bool = False,
        in_use: local.InUse = local.nobody,
        matches: Callable[[Image], bool] = lambda _: True,
    ) -> PruneReport:
        """Delete untagged images, or all, but for those that containers use (``in_use``), and every leftover.

        ``matches`` narrows it down, for filters."""
        before = sum(self._blobs.usage().values())
        removed: list[tuple[Removed, ...]] = []
        for image in local.unused(self._metadata, self._uses, in_use):
            if (all_unused or image.dangling) and matches(image):
                self._metadata.forget(image=image.id)
                self._doomed |= {layer.digest for layer in image.layers}
                names = [Removed(untagged=name) for name in (*image.references, *image.repo_digests)]
                removed.append((*names, Removed(deleted=image.id)))
        self._sweep(leftovers=True)
        return PruneReport(tuple(removed), max(0, before - sum(self._blobs.usage().values())))

    def history(self, reference: str, size_of: Callable[[str], int]) -> builtins.list[HistoryEntry]:
        """How the image was made, newest step first.  ``size_of`` gives a layer's size in bytes by its diff ID."""
        image = self.get(reference)
        if image.artifact_type:
            raise InvalidArgument(f"{reference} is an artifact, {image.artifact_type}, and has no history")
        steps = parse_config(image.config.raw, f"image {image.id}").history
        return entries(image, steps, [size_of(layer.diff_id) for layer in image.layers])

    def layer_blob(self, image: Image, index: int) -> tuple[Layer, Path]:
        """A layer with the file of its verified blob; NotFound if the file is gone."""
        layer = image.layers[index]
        self._need(layer)
        return layer, self._blobs.path(layer.digest)

    def disk_usage(self) -> DiskUsage:
        sizes = self._blobs.usage()
        partial = sizes.pop("")
        needed = self._metadata.layer_digests()
        kept = {digest: size for digest, size in sizes.items() if digest in needed}
        total = sum(sizes.values()) + partial
        return DiskUsage(len(self._metadata.ids()), len(kept), total, total - sum(kept.values()))

    # Inside

    def _register(
        self,
        record: Record,
        tags: Sequence[str] = (),
        digests: Sequence[tuple[str, str]] = (),
        verified: Verified | None = None,
    ) -> None:
        """Register an image whose blobs are all here, with what leads to it.

        One that is here already with a manifest from elsewhere keeps that, and with it its digest, where all
        that came now is the content.
        """
        known = self._metadata.record(record.id)
        if known is not None:
            self._doomed |= {layer.digest for layer in (*known.layers, *record.layers)}  # one set of them
            kept = record.generated and not (known.generated and local.smaller(record, known))
            if kept and all(self._blobs.has(x.digest, x.size_bytes) for x in known.layers):
                self._metadata.point(record.id, tags, digests)
                return
        self._metadata.register(record, tags, digests, verified)

    def _work(self, guard: Guard, prepare: Prepare | None, progress: ReportProgress | None) -> LayerWork:
        return LayerWork(self._blobs, self._flights, self.config, guard, prepare, progress)

    @contextmanager
    def _operation(self, what: str, cancelled: threading.Event | None) -> Iterator[Guard]:
        """What needs blobs to stay where they are; what could not be deleted meanwhile goes afterwards."""
        with Guard(what, cancelled).active() as guard:
            try:
                with self._blobs.session():
                    guard.check()
                    yield guard
            finally:
                if self._doomed:
                    self._sweep()

    def _sweep(self, *, leftovers: bool = False) -> None:
        """Delete blobs that no image needs any more, if nobody is at work; else whoever is does it.  Those that none
        ever needed, for all that the record says, are only ``leftovers``."""
        grace_s = None if leftovers else self.config.leftover_grace_s
        with disk_errors("clean up the image store", self._blobs.root), self._blobs.alone() as alone:
            if alone:
                doomed, self._doomed = self._doomed, set()
                self._blobs.sweep(self._metadata.layer_digests(), doomed, grace_s)

    def _need(self, layer: Layer) -> None:
        if not self._blobs.has(layer.digest, layer.size_bytes):
            raise NotFound(
                f"layer {layer.digest} is not in the image store", hint="pull or load the image again"
            )

    def _whole(self, image_id: str) -> Record:
        """The record of an image whose blobs are all there: a damaged disk may have lost some."""
        record = self._metadata.record(image_id)
        if record is None:
            raise NoSuchImage(image_id)
        self.arrivals.check_whole(image_id)
        for layer in record.layers:
            self._need(layer)
        return record

    def _image(self, image_id: str) -> Image:
        image = self._metadata.image(image_id)
        if image is None:
            raise NoSuchImage(image_id)
        return image
