"""Containers: made, found, asked for by name; what one of them may be asked is its own to say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from hypercontainer.contract.answers import Created, Summary
from hypercontainer.contract.images import ImageSummary
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.contract.states import State
from hypercontainer.engine import files, views
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.creation import Asker, Creation
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.filters import question
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.network.networks import Networks
from hypercontainer.engine.places import Places
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.sandbox import layout
from hypercontainer.engine.sandbox.execs import Exec
from hypercontainer.engine.service import container_filters
from hypercontainer.engine.service.coupling import Coupling
from hypercontainer.errors import HyperError, NotFound
from hypercontainer.image.importing import Making
from hypercontainer.semantics import committed

log = logging.getLogger(__name__)


class ContainerService:
    def __init__(
        self,
        directory: Directory,
        creation: Creation,
        places: Places,
        images: ImageService,
        networks: Networks,
    ) -> None:
        self._directory = directory
        self._creation = creation
        self._places = places
        self._images = images
        self._coupling = Coupling(directory, creation, networks)

    async def create(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
        said: Mapping[str, Any] | None = None,
        networks_later: bool = False,
        couple: PodSpec | None = None,
    ) -> Created:
        """``asked_by``: the user on whose behalf it is, who may share only such files of the host as are that
        user's to read (or write); None: nobody knows, and none may be shared.  ``said``: what is kept with it, and
        shown by ``inspect``, of how it was asked for; ``networks_later``: they need not be there before it starts;
        ``couple``: as ``Coupling.create`` has it."""
        asker = Asker(asked_by, credentials, progress, said or {}, networks_later)
        if couple is not None:
            return await self._coupling.create(couple, spec, asker)
        return await self._creation.container(spec, asker)

    async def run(
        self,
        spec: ContainerSpec,
        *,
        credentials: Credentials | None = None,
        created: Callable[[Created], None],
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> ProcessAttachment:
        """Creates, attaches, starts.  With ``auto_remove`` the attachment's ``exit`` returns after the removal."""
        made = await self.create(spec, credentials=credentials, progress=progress, asked_by=asked_by)
        created(made)
        return await self._directory.get(made.id).start_attached()

    async def held(self, ref: str) -> Container:
        """By name, ID or the beginning of an ID, once it has been taken back from an earlier hyperd."""
        return await self._directory.held(ref)

    async def commit(
        self,
        container: str,
        *,
        reference: str | None = None,
        change: Sequence[str] = (),
        message: str = "",
        author: str = "",
        pause: bool = True,
        config: Mapping[str, Any] | None = None,
    ) -> ImageSummary:
        """Makes an image of what the container has written and the image that it is of.  ``pause``: where it runs, it
        stands still meanwhile; ``change``: Dockerfile instructions; ``config``: what its configuration's object of this
        name says in place of the container's settings."""
        held = await self.held(container)
        record = held.record
        parent = await self._images.get(record.image_id)
        own = committed.run_config(record.effective, record.labels, parent.config.volumes)
        words = (*record.effective.entrypoint, *record.effective.command)
        making = Making(change, message, author, created_by=" ".join(words))
        async with _standing_still(held, pause):
            image = await self._images.commit(
                parent.id,
                await held.layer(),
                config=committed.over(own, config or {}),
                reference=reference,
                making=making,
            )
        held.tell("commit", imageID=image.id, imageRef=reference or "", comment=message)
        return self._images.summary(image)

    async def find(
        self,
        *,
        all: bool = False,  # noqa: A002 - the contract's word
        filters: Mapping[str, Sequence[str]] | None = None,
        size: bool = False,
    ) -> list[Summary]:
        """Newest first; those that run or are about to again, unless ``all`` or a filter by state asks for more.

        Filters: see `container_filters`."""
        chosen = await self.chosen(all=all, filters=filters)
        found = [container for container, _ in chosen]
        sizes = await asyncio.to_thread(self._sizes, found) if size else {}
        return [
            views.summary(c.record, c.sandbox.record.value, sizes.get(c.id), image=image)
            for c, image in chosen
        ]

    async def chosen(
        self,
        *,
        all: bool = False,  # noqa: A002 - the contract's word
        limit: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> list[tuple[Container, str]]:
        """As `find` finds them, the newest ``limit``; each with what to call its image."""
        everything = all or not {"status", "exited"}.isdisjoint(filters or {})
        names = await self._images.names()
        wanted = question("containers", container_filters.readers(names, self._directory.get), filters)
        found = [
            container
            for container in self._directory.containers.values()
            if (everything or container.alive or container.restarting) and wanted(container)
        ]
        found.sort(key=container_filters.order, reverse=True)
        return [(each, container_filters.image_name(each.record, names)) for each in found[:limit]]

    async def sizes(self, containers: Sequence[Container]) -> dict[str, tuple[int, int]]:
        """By ID, in bytes: what it has written, and all of its files with those of its image (nothing of one that is
        gone)."""
        written = await asyncio.to_thread(self._sizes, containers)
        images = dict.fromkeys((container.record.image_id for container in containers), 0)
        for identifier in images:
            with contextlib.suppress(NotFound):
                images[identifier] = (await self._images.inspect(identifier)).size_bytes
        return {
            each.id: (written[each.id], written[each.id] + images[each.record.image_id])
            for each in containers
        }

    def _sizes(self, containers: Sequence[Container]) -> dict[str, int]:
        return {
            container.id: files.used_bytes(layout.disk_path(self._places, container.sandbox.record.value))
            for container in containers
        }

    async def prune(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> tuple[list[str], int]:
        """Removes every container that does not run: their IDs, and the bytes that came free.  Filters: label, label!
        and until."""
        wanted = question("containers", container_filters.PRUNED, filters)
        removed: list[str] = []
        freed = 0
        for container in tuple(self._directory.containers.values()):
            if container.alive or container.restarting or not wanted(container):
                continue
            size = await asyncio.to_thread(files.used_bytes, self._places.container(container.id))
            try:
                await container.remove()
            except HyperError as error:
                log.warning("prune: %s", error)
                continue
            removed.append(container.id)
            freed += size
        return removed, freed


@contextlib.asynccontextmanager
async def _standing_still(held: Container, wanted: bool) -> AsyncIterator[None]:
    paused = wanted and held.record.state is State.RUNNING
    if paused:
        await held.pause()
    try:
        yield
    finally:
        if paused:
            with contextlib.suppress(HyperError):  # somebody else has, or it has ended
                await held.unpause()


class ExecService:
    """The processes that were added to containers and VMs."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def held(self, exec_id: str) -> Exec:
        return self._directory.exec(exec_id)
