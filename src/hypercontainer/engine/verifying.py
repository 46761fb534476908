"""Images' disks whose guests check what they read: what of them is wrong, once a guest has found that something is."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Collection

from hypercontainer.engine.coming import Coming
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.record import Kept
from hypercontainer.engine.state import PodRecord
from hypercontainer.errors import GuestError, HyperError, ImageError
from hypercontainer.image.model import Image
from hypercontainer.image.store import ImageStore
from hypercontainer.rootfs import LayerStore, chain_id

AGAIN = "pull or load the image again, and start what uses it anew"
EXAMINATIONS_MAX = 3  # of one VM's disks

log = logging.getLogger(__name__)


class Doubts:
    """What a sandbox's guest says of its images' disks, as often as it likes; only so often it is looked at."""

    def __init__(self, verifying: Verifying, record: Kept[PodRecord]) -> None:
        self._verifying, self._record = verifying, record
        self._task: asyncio.Task[ImageError | None] | None = None
        self._count = 0

    def begin(self) -> None:
        """Of another VM."""
        self._task, self._count = None, 0

    def corrupted(self) -> None:
        """It is looked at, unless it is being looked at, or something was found."""
        if self._count < EXAMINATIONS_MAX and (self._task is None or _found_nothing(self._task)):
            self._count += 1
            self._task = asyncio.create_task(self._examine(), name="examination of images' disks")

    async def behind(self, error: HyperError) -> ImageError | None:
        """What is wrong with those that the guest checks, where an error of its may come of that."""
        if not isinstance(error, GuestError) or error.errno != errno.EIO:
            return None
        self.corrupted()
        return None if self._task is None else await asyncio.shield(self._task)

    async def _examine(self) -> ImageError | None:
        checked = [part.chain_id for part in self._record.value.images if part.root_hash]
        try:
            return await self._verifying.examine(checked)
        except (HyperError, OSError) as error:
            log.warning("images' disks cannot be examined: %s", error)
            return None


def _found_nothing(task: asyncio.Task[ImageError | None]) -> bool:
    return task.done() and (task.cancelled() or task.result() is None)


class Verifying:
    """The guest is not believed: a file that is as it was made stays, whatever is said of it."""

    def __init__(self, store: ImageStore, layers: LayerStore, coming: Coming, events: EventBus) -> None:
        self._store, self._layers, self._coming, self._events = store, layers, coming, events
        self._alone = asyncio.Lock()
        self._told: dict[str, ImageError] = {}  # by chain ID, until its disk is there again

    async def examine(self, chain_ids: Collection[str]) -> ImageError | None:
        """Of the images with these disks, what is wrong; what is, is not used again."""
        async with self._alone:
            for image, diff_ids in await asyncio.to_thread(self._images, frozenset(chain_ids)):
                chain = chain_id(diff_ids)
                try:
                    said = await asyncio.to_thread(self._layers.examine, diff_ids)
                except HyperError:  # a file is gone since it was examined before
                    if chain in self._told:
                        return self._told[chain]
                    continue
                if said:
                    self._told[chain] = self._tell(image, said)
                    return self._told[chain]
        return None

    def _images(self, chain_ids: Collection[str]) -> list[tuple[Image, tuple[str, ...]]]:
        found = [(image, tuple(layer.diff_id for layer in image.layers)) for image in self._store.list()]
        return [(image, diff_ids) for image, diff_ids in found if chain_id(diff_ids) in chain_ids]

    def _tell(self, image: Image, said: str) -> ImageError:
        name = image.references[0] if image.references else image.id
        users = ", ".join(self._coming.users_of(image.id))
        facts = {"name": name, "reason": said, "containers": users}
        self._events.publish("image", "wrong", image.id, **{key: x for key, x in facts.items() if x})
        log.error("the root disk of image %s, which %s use: %s", name, users or "no containers", said)
        return ImageError(f"the root disk of image {name} is not what it was: {said}", hint=AGAIN)
