"""Images for the engine: the store's verified blobs, and the root disks made of them.

An image is registered only after its layers have become a root disk, so whatever is listed can run.
The store's calls block; each runs in a thread, and a cancelled caller cancels it.  What waits for a registry or for a
client has threads of its own (`Workers`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from hypercontainer.contract.calls import AuthAnswer
from hypercontainer.contract.images import (
    Described,
    HistoryLine,
    ImageInspect,
    ImagesPruned,
    ImageSummary,
    LayerProgress,
    PullTarget,
    Removed,
    SearchResult,
)
from hypercontainer.engine import image_filters
from hypercontainer.engine.coming import Coming
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.interface import Credentials as Wanted
from hypercontainer.engine.interface import ProgressSink
from hypercontainer.engine.pipes import read_by
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import ImageError, NotFound, Remedy
from hypercontainer.image import model, platforms
from hypercontainer.image.artifacts import not_to_run, unpackable
from hypercontainer.image.cancel import Cancellation
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.importing import IMPORTED, Making
from hypercontainer.image.model import Image, Layer, Progress
from hypercontainer.image.store import ImageStore
from hypercontainer.rootfs import LayerStore

# Each pull brings its layers in a few threads more.
TRANSFERS_MAX = 16
ARCHIVES_MAX = 64

T = TypeVar("T")
Found = Callable[[PullTarget], None]


class ImageService:
    """``users_of`` names the containers that use an image, by its ID."""

    def __init__(
        self,
        store: ImageStore,
        layers: LayerStore,
        coming: Coming,
        events: EventBus,
        users_of: Callable[[str], Sequence[str]],
    ) -> None:
        self._store = store
        self._layers = layers
        self._coming = coming
        coming.users_of = users_of
        self._events = events
        self._users_of = users_of
        self._transfers = Workers("transfers", TRANSFERS_MAX, waits=True)
        self._archives = Workers("archives", ARCHIVES_MAX)

    async def find(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> list[ImageSummary]:
        """The latest arrival first.  Filters: see `image_filters`."""

        def find() -> list[Image]:
            return image_filters.chosen(self._store.list(), filters, self._store.get)

        return [self.summary(image) for image in await asyncio.to_thread(find)]

    async def names(self) -> dict[str, str]:
        """Of all images, canonical: the ID of the image that each leads to."""
        return await asyncio.to_thread(self._store.names)

    async def shared_bytes(self) -> dict[str, int]:
        """What each image takes on disk of layers that others have too, by its ID."""

        def count() -> dict[str, int]:
            layers = {image.id: {layer.diff_id for layer in image.layers} for image in self._store.list()}
            users = Counter(diff_id for each in layers.values() for diff_id in each)
            return {
                identifier: sum(self._layer_bytes(diff_id) for diff_id in each if users[diff_id] > 1)
                for identifier, each in layers.items()
            }

        return await asyncio.to_thread(count)

    async def inspect(self, ref: str) -> ImageInspect:
        image = await self.get(ref)
        return ImageInspect(
            **self._facts(image),
            config={} if image.artifact_type else json.loads(image.config.raw),
            layers=tuple(layer.diff_id for layer in image.layers),
            tagged=image.tagged,
        )

    async def history(self, ref: str) -> list[HistoryLine]:
        entries = await asyncio.to_thread(self._store.history, ref, self._layer_bytes)
        return [
            HistoryLine(
                id=entry.image,
                created=entry.created,
                created_by=entry.created_by,
                size_bytes=entry.size_bytes,
                comment=entry.comment,
                references=entry.references,
            )
            for entry in entries
        ]

    async def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        credentials: Wanted | None = None,
        progress: ProgressSink | None = None,
        artifacts: bool = True,
        whole: bool = True,
        found: Found | None = None,
    ) -> ImageSummary:
        image = await self.fetch(
            reference,
            platform=platform,
            credentials=credentials,
            progress=progress,
            artifacts=artifacts,
            whole=whole,
            found=found,
        )
        return self.summary(image)

    async def fetch(
        self,
        reference: str,
        *,
        platform: str | None = None,
        credentials: Wanted | None = None,
        progress: ProgressSink | None = None,
        artifacts: bool = True,
        whole: bool = True,
        found: Found | None = None,
    ) -> Image:
        """``artifacts`` False: before anything of one that is no image is fetched, InvalidArgument.  ``whole``: with
        all its layers; else they may come while the image is used.  ``found`` is told what it will be, when nothing
        speaks against that, and before any progress."""
        report = _reporter(progress)
        tell = _on_loop(found or (lambda _: None))
        image = await self._transfers.cancellable(
            lambda cancelled: self._store.pull(
                reference,
                platform=platforms.parse(platform) if platform else None,
                credentials=_own(credentials),
                prepare=self._preparer(report, cancelled),
                assemble=lambda chain: self._layers.root_disk(chain, cancelled=cancelled.is_set),
                ahead=None if whole else self._coming.taking(_own(credentials), cancelled),
                progress=report,
                cancelled=cancelled,
                artifacts=artifacts,
                found=tell,
            )
        )
        self._events.publish("image", "pull", image.id, name=reference)
        return image

    async def push(
        self, reference: str, *, credentials: Wanted | None = None, progress: ProgressSink | None = None
    ) -> str:
        report = _reporter(progress)  # here: it is bound to this thread's event loop
        digest = await self._transfers.cancellable(
            lambda cancelled: self._store.push(
                reference, credentials=_own(credentials), progress=report, cancelled=cancelled
            )
        )
        self._events.publish("image", "push", reference, digest=digest)
        return digest

    async def load(
        self, stream: BinaryIO, *, platform: str | None = None, progress: ProgressSink | None = None
    ) -> list[ImageSummary]:
        """``stream`` is read in a worker thread, to its end or to the first error.  Each image under the names that the
        archive has for it."""
        report = _reporter(progress)
        wanted = platforms.parse(platform) if platform else None
        images = await self._archives.cancellable(
            lambda cancelled: self._store.load(
                stream,
                platform=wanted,
                prepare=self._preparer(report, cancelled),
                assemble=lambda chain: self._layers.root_disk(chain, cancelled=cancelled.is_set),
                progress=report,
                cancelled=cancelled,
            )
        )
        for image in images:
            self._events.publish("image", "load", image.id, name=", ".join(image.references))
        return [self.summary(image) for image in images]

    async def take(self, stream: BinaryIO, references: Sequence[str]) -> str:
        """The image of an archive, under these names and not those that it has there; its ID."""
        names = tuple(references)
        (image,) = await self._archives.cancellable(
            lambda cancelled: self._store.load(
                stream,
                tags=names,
                prepare=self._preparer(None, cancelled),
                assemble=lambda chain: self._layers.root_disk(chain, cancelled=cancelled.is_set),
                cancelled=cancelled,
            )
        )
        self._events.publish("image", "build", image.id, name=", ".join(image.references))
        return image.id

    async def save(self, ref: Sequence[str], out: BinaryIO, *, format: str = "docker") -> None:  # noqa: A002
        """``out`` is written, and flushed, in a worker thread."""

        def write(cancelled: Cancellation) -> list[str]:
            saved = self._store.save(ref, out, format=format, cancelled=cancelled)
            out.flush()
            return saved

        for identifier in await self._archives.cancellable(write):
            self._events.publish("image", "save", identifier, name=identifier)

    async def import_(
        self,
        stream: BinaryIO,
        *,
        reference: str | None = None,
        change: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
    ) -> ImageSummary:
        """``change``: Dockerfile instructions.  ``platform``: what its programs are for; None: this machine."""
        made_for = platforms.parse(platform) if platform else None
        image = await self._archives.cancellable(
            lambda cancelled: self._store.import_(
                stream,
                reference=reference,
                making=replace(IMPORTED, changes=change, message=message or IMPORTED.message),
                platform=made_for,
                prepare=self._preparer(None, cancelled),
                assemble=lambda chain: self._layers.root_disk(chain, cancelled=cancelled.is_set),
                cancelled=cancelled,
            )
        )
        self._events.publish("image", "import", image.id, name=reference or "")
        return self.summary(image)

    async def commit(
        self,
        parent: str,
        layer: AsyncGenerator[bytes, None],
        *,
        config: Mapping[str, Any],
        reference: str | None,
        making: Making,
    ) -> Image:
        """An image of that of the ID ``parent`` and one layer more; ``config`` says how a container of it is run."""

        def commit(stream: BinaryIO, cancelled: Cancellation) -> Image:
            return self._store.commit(
                parent,
                stream,
                config=config,
                reference=reference,
                making=making,
                prepare=self._preparer(None, cancelled),
                assemble=lambda chain: self._layers.root_disk(chain, cancelled=cancelled.is_set),
                cancelled=cancelled,
            )

        return await read_by(
            layer,
            lambda stream: self._archives.cancellable(partial(commit, stream)),
            "the layer ended in the middle",
        )

    def summary(self, image: Image) -> ImageSummary:
        return ImageSummary(**self._facts(image))

    async def tag(self, source: str, target: str) -> None:
        await asyncio.to_thread(self._store.tag, source, target)
        image = await self.get(target)
        self._events.publish("image", "tag", image.id, name=target)

    async def remove(self, ref: str, *, force: bool = False) -> list[Removed]:
        identifier = ref
        with contextlib.suppress(ImageError):  # a damaged one can be removed too
            identifier = (await self.get(ref)).id
        removed = await asyncio.to_thread(self._store.remove, ref, force=force, in_use=self._users_of)
        await asyncio.to_thread(self._coming.look)
        return self._told(identifier, removed)

    async def prune(
        self,
        *,
        all: bool = False,  # noqa: A002 - as in `SystemService.prune`
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> ImagesPruned:
        """Deletes images that no container uses and that have no name; ``all``: and those that have.  Filters: see
        `image_filters`.  What their layers were made into stays."""
        matches = image_filters.to_prune(filters)
        report = await asyncio.to_thread(
            self._store.prune, all_unused=all, in_use=self._users_of, matches=matches
        )
        await asyncio.to_thread(self._coming.look)
        lines: list[Removed] = []
        for gone in report.removed:
            lines += self._told(gone[-1].deleted, gone)
        self._events.publish("image", "prune", "", reclaimed=str(report.reclaimed_bytes))
        return ImagesPruned(tuple(lines), report.reclaimed_bytes)

    def _told(self, identifier: str, lines: Sequence[model.Removed]) -> list[Removed]:
        for line in lines:
            action = "untag" if line.untagged else "delete"
            self._events.publish("image", action, identifier, name=line.untagged or line.deleted)
        return [Removed(line.untagged, line.deleted) for line in lines]

    async def authenticate(self, registry: str, credentials: Wanted) -> AuthAnswer:
        """Whether the registry takes them: what to tell the user, and an identity token or ""."""
        own = _own(credentials)
        assert own is not None
        token = await self._transfers.cancellable(
            lambda cancelled: self._store.inquiries.check_credentials(registry, own, cancelled=cancelled)
        )
        return AuthAnswer("Login Succeeded", token)

    async def tags(self, name: str, *, credentials: Wanted | None = None) -> list[str]:
        """All that a repository has at its registry."""
        own = _own(credentials)
        return await self._transfers.cancellable(
            lambda cancelled: self._store.inquiries.tags(name, own, cancelled=cancelled)
        )

    async def describe(self, reference: str, *, credentials: Wanted | None = None) -> Described:
        """What a registry has under a reference."""
        own = _own(credentials)
        return await self._transfers.cancellable(
            lambda cancelled: self._store.inquiries.describe(reference, own, cancelled=cancelled)
        )

    async def search(
        self, registry: str, term: str, *, limit: int, credentials: Wanted | None = None
    ) -> list[SearchResult]:
        """Repositories of a registry that ``term`` finds; NotFound of one that does not search."""
        own = _own(credentials)
        return await self._transfers.cancellable(
            lambda cancelled: self._store.inquiries.search(registry, term, limit, own, cancelled=cancelled)
        )

    async def get(self, ref: str, *, platform: str | None = None) -> Image:
        """NotFound, too, where what is here is for another platform than ``platform``."""
        return _for_platform(await asyncio.to_thread(self._store.get, ref), ref, platform)

    async def to_use(self, ref: str, *, platform: str | None = None, artifacts: bool = False) -> Image:
        """The same, for a container or, with ``artifacts``, a volume; Untrusted where the policy forbids it, and
        without ``artifacts`` InvalidArgument for one."""
        image = await asyncio.to_thread(self._store.to_use, ref)
        if image.artifact_type and not artifacts:
            raise not_to_run(ref, image.artifact_type)
        return image if image.artifact_type else _for_platform(image, ref, platform)

    def held(self, image: Image) -> AbstractContextManager[None]:
        """Nobody removes it while what uses it is made; NotFound where somebody has."""
        return self._store.held(image.id)

    def _preparer(
        self, report: Callable[[Progress], None] | None, cancelled: Cancellation
    ) -> Callable[[Layer, Path], None]:
        """Makes a layer's filesystem image of its blob, in the store's thread."""

        def prepare(layer: Layer, blob: Path) -> None:
            def on_bytes(done: int) -> None:
                if report is not None:
                    report(Progress(layer.digest, "extracting", done, layer.size_bytes))

            with unpackable(layer, blob) as source:
                self._layers.convert(
                    source,
                    diff_id=layer.diff_id,
                    compression=layer.compression,
                    layer=layer.digest,
                    progress=on_bytes,
                    cancelled=cancelled.is_set,
                )

        return prepare

    def _layer_bytes(self, diff_id: str) -> int:
        """A layer's size is what it takes on disk unpacked, however it came and wherever it goes."""
        return self._layers.size_bytes(diff_id)

    def _facts(self, image: Image) -> dict[str, Any]:
        return {
            "id": image.id,
            "references": image.references,
            "repo_digests": image.repo_digests,
            "created": image.created,
            "size_bytes": sum(self._layer_bytes(diff_id) for diff_id in {x.diff_id for x in image.layers}),
            "architecture": image.architecture,
            "os": image.os,
            "variant": image.variant,
            "artifact_type": image.artifact_type,
            "labels": dict(image.config.labels),
            "containers": len(self._users_of(image.id)),
            "content_bytes": image.size_bytes,
            "manifest_digest": image.manifest_digest,
            "manifest_type": image.manifest_media_type,
            "manifest_bytes": image.manifest_bytes,
            "coming": image.coming,
        }


def _for_platform(image: Image, ref: str, platform: str | None) -> Image:
    """NotFound where it is for another than ``platform``."""
    if platform:
        wanted = platforms.parse(platform)
        if all(platforms.suitability(image.platform, each) is None for each in platforms.candidates(wanted)):
            raise NotFound(
                f"image {ref} is here for {image.platform}, not for {wanted}",
                remedies=[Remedy("images.pull", ref, options={"platform": platform})],
            )
    return image


def _reporter(sink: ProgressSink | None) -> Callable[[Progress], None] | None:
    """Carries progress from the store's threads to the loop's."""
    if sink is None:
        return None
    tell = _on_loop(sink)

    def report(progress: Progress) -> None:
        tell(LayerProgress(progress.layer, progress.status, progress.current, progress.total))

    return report


def _on_loop(sink: Callable[[T], None]) -> Callable[[T], None]:
    """``sink``, for threads: it is called in this loop's."""
    loop = asyncio.get_running_loop()

    def tell(what: T) -> None:
        loop.call_soon_threadsafe(sink, what)

    return tell


def _own(credentials: Wanted | None) -> Credentials | None:
    if credentials is None:
        return None
    return Credentials(
        username=credentials.username,
        password=credentials.password,
        identity_token=credentials.identity_token,
        registry_token=credentials.registry_token,
    )
