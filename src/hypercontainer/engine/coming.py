"""Root disks of images, whether or not their layers are here yet.

An image of which a table of contents tells where each file is in its layers is used before these are here: a server of
its own has its disk (`hypercontainer.lazy`), until it is here whole.  A server outlives this process, and the next one
finds it by its folder; where it is gone, and its image still coming, there is another.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from hypercontainer.config import Config
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.places import Places
from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.image.ahead import Offer
from hypercontainer.image.cancel import Cancellation
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.documents import parse_config
from hypercontainer.image.store import ImageStore
from hypercontainer.lazy import client
from hypercontainer.lazy.contents import has_table
from hypercontainer.lazy.job import LEAVE, Job, Registries, State
from hypercontainer.linux import unix
from hypercontainer.linux.waiting import ended
from hypercontainer.rootfs import LayerLimits, LayerStore, RootDisk, chain_id

LEAVING_S = 5.0  # until a server that nobody needs has ended

log = logging.getLogger(__name__)


class Coming:
    """``start`` it with the loop whose thread publishes events; the other methods may block, in any thread."""

    def __init__(
        self,
        config: Config,
        places: Places,
        store: ImageStore,
        layers: LayerStore,
        limits: LayerLimits,
        events: EventBus,
    ) -> None:
        self._config, self._folder, self._trees = config, places.lazy, places.trees
        self._store = store
        self._layers, self._limits, self._events = layers, limits, events
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches: dict[Path, asyncio.Task[None]] = {}
        # Of an image's ID: the names of the containers that use it.
        self.users_of: Callable[[str], Sequence[str]] = lambda image_id: ()

    def root_disk(self, diff_ids: Sequence[str], *, cancelled: Callable[[], bool] | None = None) -> RootDisk:
        """As ``LayerStore.root_disk``; also of an image that is coming."""
        offer = next(
            (x for x in self._store.arrivals.coming() if tuple(_diff_ids(x)) == tuple(diff_ids)), None
        )
        if offer is None:
            return self._layers.root_disk(diff_ids, cancelled=cancelled)
        if self._config.images.verity == "required":
            raise Unavailable(
                f"image {offer.reference} is not here whole, and what comes of it cannot be verified by its guest",
                hint="pull it; or allow images that are not verified in hyperd's configuration",
            )
        with self._alone(diff_ids):
            served = client.find(self._place(diff_ids)) or self._resumed(offer)
        return RootDisk(chain_id(diff_ids), served.extents)

    def taking(
        self, credentials: Credentials | None, cancelled: Cancellation
    ) -> Callable[[Offer], Callable[[], None] | None]:
        """What `ImageStore.pull` asks whether an image is to be used before it is here."""

        def ahead(offer: Offer) -> Callable[[], None] | None:
            images = self._config.images
            if (
                images.lazy == "off"
                or images.verity == "required"
                or offer.missing_bytes < images.lazy_min_bytes
            ):
                return None
            if not any(has_table(layer) for layer in offer.manifest.layers):
                return None
            with self._alone(_diff_ids(offer)):
                if client.find(self._place(_diff_ids(offer))) is not None:
                    return lambda: None  # it is coming already
                return self._begun(offer, credentials, cancelled)

        return ahead

    def _begun(
        self, offer: Offer, credentials: Credentials | None, cancelled: Cancellation | None
    ) -> Callable[[], None] | None:
        try:
            place = self._place(_diff_ids(offer))
            starting = client.start(place, self._job(offer, credentials), cancelled)
        except client.Refused as error:
            log.info("image %s comes whole: %s", offer.reference, error)
            return None

        def go() -> None:
            starting.go()
            self._watch(offer, starting.served)

        return go

    def _resumed(self, offer: Offer) -> client.Served:
        """Another server, where an image's has ended before it was whole."""
        place = self._place(_diff_ids(offer))
        go = self._begun(offer, None, None)
        if go is not None:
            go()
        served = client.find(place)
        if served is None:
            raise Unavailable(
                f"image {offer.reference} is not here whole, and cannot be had in pieces any more",
                hint="pull it",
            )
        return served

    def _job(self, offer: Offer, credentials: Credentials | None) -> Job:
        registries = self._config.registries
        return Job(
            image=offer.manifest.config.digest,
            images=str(self._config.root / "images"),
            layers=str(self._config.root / "layers"),
            tree=str(self._trees / f"{self._place(_diff_ids(offer)).name}.erofs"),
            reference=offer.reference,
            manifest=offer.manifest.raw,
            manifest_type=offer.manifest.media_type,
            config=offer.config,
            credentials=credentials,
            registries=Registries(
                dict(registries.mirrors),
                tuple(registries.insecure),
                {name: str(path) for name, path in registries.ca.items()},
                registries.parallel_downloads,
            ),
            limits=self._limits,
            wait_s=self._config.images.lazy_wait_s,
        )

    def _place(self, diff_ids: Sequence[str]) -> Path:
        return self._folder / chain_id(diff_ids).partition(":")[2][:32]

    @contextmanager
    def _alone(self, diff_ids: Sequence[str]) -> Iterator[None]:
        """Nobody else starts or looks for this image's server."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._place(diff_ids).with_suffix(".lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    # ------------------------------------------------------------------------- what servers say

    def start(self) -> None:
        """Takes up the servers that are there, and has others for the images that have none."""
        self._loop = asyncio.get_running_loop()
        there = {served.folder: served for served in self._servers()}
        for tree in set(self._trees.glob("*")) - {served.tree for served in there.values()}:
            tree.unlink(missing_ok=True)
        for offer in self._store.arrivals.coming():
            served = there.get(self._place(_diff_ids(offer)))
            if served is not None:
                self._hear(offer, served)
            else:
                self._loop.run_in_executor(None, self._resume, offer)

    def _servers(self) -> list[client.Served]:
        """All that there are."""
        found = (client.find(folder) for folder in self._folder.glob("*/"))
        return [served for served in found if served is not None]

    def _resume(self, offer: Offer) -> None:
        try:
            self.root_disk(_diff_ids(offer))
        except HyperError as error:
            log.warning("the rest of image %s does not come: %s", offer.reference, error.message)

    def _gone(self, offer: Offer) -> None:
        """Its server has ended; another image of the same layers may still be without."""
        place = self._place(_diff_ids(offer))
        with self._alone(_diff_ids(offer)):
            there = client.find(place) is not None
        if not there and any(
            self._place(_diff_ids(other)) == place for other in self._store.arrivals.coming()
        ):
            self._resume(offer)

    def _watch(self, offer: Offer, served: client.Served) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hear, offer, served)

    def _hear(self, offer: Offer, served: client.Served) -> None:
        task = asyncio.ensure_future(self._follow(offer, served))
        self._watches[served.folder] = task

    async def _follow(self, offer: Offer, served: client.Served) -> None:
        with suppress(OSError, msgspec.MsgspecError):
            reader, writer = await asyncio.open_unix_connection(sock=unix.connect(served.control))
            try:
                while line := await reader.readline():
                    self._heard(offer, msgspec.json.decode(line, type=State))
            except asyncio.CancelledError:
                await self._leave(reader, writer)
                raise
            finally:
                writer.close()
        await asyncio.to_thread(self._gone, offer)

    @staticmethod
    async def _leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Nobody but VMs need it from now on."""
        writer.write(LEAVE)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LEAVING_S):
                await reader.read()

    def _heard(self, offer: Offer, said: State) -> None:
        image_id = offer.manifest.config.digest
        if said.state == "coming":
            return
        users = ", ".join(self.users_of(image_id))
        facts = {"name": offer.reference, "reason": said.why, "containers": users}
        self._events.publish("image", said.state, image_id, **{key: x for key, x in facts.items() if x})
        if said.state == "wrong":
            log.error(
                "image %s proved wrong, containers that use it: %s: %s", offer.reference, users, said.why
            )
        elif said.state == "stalled":
            log.warning("the rest of image %s does not come: %s", offer.reference, said.why)

    def look(self) -> None:
        """Ends the servers whose image is gone, which no container uses then."""
        servers = self._servers()
        kept = {image.id for image in self._store.list()} if servers else set()
        for served in servers:
            if served.image not in kept:
                served.end()

    async def close(self) -> None:
        """Those that no VM reads from end; their images go on coming under the next hyperd."""
        for task in self._watches.values():
            task.cancel()
        for task in self._watches.values():
            await ended(task)


def _diff_ids(offer: Offer) -> Sequence[str]:
    return parse_config(offer.config, offer.reference).diff_ids
