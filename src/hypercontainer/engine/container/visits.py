"""A container's files, whether or not it runs.

Where it does not, they are reached as its program would reach them, in a VM in which nothing of its image runs.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from hypercontainer.contract.answers import Change, FileFacts, PathFacts
from hypercontainer.engine.container import launch
from hypercontainer.engine.container.facts import Facts
from hypercontainer.engine.container.files import Files
from hypercontainer.engine.container.inside import Inside
from hypercontainer.engine.container.run import Run
from hypercontainer.engine.container.ties import Ties
from hypercontainer.engine.container.trees import EMPTY_ARCHIVE, ITSELF, Changed, Trees
from hypercontainer.engine.pipes import Pieces, pieces_of
from hypercontainer.engine.plain import plain
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox import layout
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import Conflict, DiskFull, GuestGone, LaunchError, Remedy
from hypercontainer.linux.waiting import whole

DIAL = "hyper-dial"


class Visited(Facts):
    def __init__(self, record: Kept[ContainerRecord], ties: Ties) -> None:
        super().__init__(record, ties)
        self.sandbox = ties.sandbox
        self._inside = inside = Inside(self.id, lambda: self.what, self.sandbox.running)
        self._files, self._trees = Files(inside), Trees(inside)
        self._visits = 0  # while it does not run
        self._evictions = 0

    @abstractmethod
    def _running(self) -> Run:
        """Conflict where it does not."""

    @abstractmethod
    def _at_rest(self) -> contextlib.AbstractAsyncContextManager[bool]:
        """Whether it does not run, and is not started within either."""

    # ------------------------------------------------------------------------------------- one file

    async def read_file(self, path: str) -> tuple[FileFacts, AsyncGenerator[bytes, None]]:
        """Of a container that runs; its image needs no program for it.  The iterator is read to its end, or closed."""
        self._running()
        return await self._files.read(path)

    async def write_file(
        self, path: str, content: Pieces, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Whole or not at all, where there is a file too; the directory has to be there."""
        self._running()
        await self._files.write(path, content, mode=mode, uid=uid, gid=gid)

    async def check_user(self, user: str) -> None:
        """InvalidArgument where a container that runs has no user (``USER[:GROUP]``) of this name."""
        self._running()
        await self._files.check_user(user)

    async def beside(self, *command: str, stdin: bool = False) -> ProcessAttachment:
        """A program that hyperstart is, where the files of a container are that runs."""
        self._running()
        return await self._inside.start(*command, stdin=stdin)

    @contextlib.asynccontextmanager
    async def dialed(self, path: str) -> AsyncIterator[ProcessAttachment]:
        """Within, what is connected with a socket in a container that runs, by its input and its output."""
        connected = await self.beside(DIAL, path, stdin=True)
        try:
            yield connected
        finally:
            await whole(self._inside.broken_off(connected))

    # ------------------------------------------------------------------------------------- trees

    async def stat_path(self, path: str) -> PathFacts:
        """NotFound where nothing is there."""
        async with self._there() as trees:
            return await trees.stat(path)

    async def pack(self, path: str, *, follow: bool = False) -> tuple[PathFacts, AsyncGenerator[bytes, None]]:
        """What is there, and an archive of it, which is to be read or closed.  NotFound where nothing is; ``follow``:
        of a link at the end of the path, what it leads to."""
        return await packed(self._there(), path, follow=follow)

    async def unpack(self, path: str, stream: Pieces, *, replace: bool = False, own: bool = False) -> None:
        """Lays an archive, compressed or not, into a directory that is there.  ``replace``: a directory may take the
        place of something else, and something else that of a directory; ``own``: all of it belongs to the container's
        user."""
        owner = self.record.effective.user if own else ""
        async with self._there() as trees:
            await trees.unpack(path, plain(stream), replace=replace, owner=owner or ITSELF)

    # ------------------------------------------------------------------------------------- all of it

    async def export(self) -> AsyncGenerator[bytes, None]:
        """An archive of its root without what is mounted there, which is to be read or closed."""
        return await _read_within(self._there(), Trees.export)

    async def changes(self) -> list[Change]:
        """What it has changed of its image, sorted by path."""
        if self.record.spec.read_only:
            return []
        async with self._there():
            return await self._trees.changes(self._changed_on())

    async def layer(self) -> AsyncGenerator[bytes, None]:
        """What it has changed of its image, as an image's layer, which is to be read or closed."""
        if self.record.spec.read_only:
            return pieces_of(EMPTY_ARCHIVE)
        return await _read_within(self._there(), lambda trees: trees.layer(self._changed_on()))

    def _changed_on(self) -> Changed:
        upper = layout.upper(self.sandbox.record.value, self.id)
        return Changed(upper, layout.lower(self.sandbox.image_part(self.record.diff_ids)))

    @contextlib.asynccontextmanager
    async def _there(self) -> AsyncIterator[Trees]:
        """Within, the guest has its files."""
        async with self._at_rest() as resting, contextlib.AsyncExitStack() as stack:
            evictions = self._evictions
            try:
                if resting:
                    self._visits += 1
                    stack.callback(self._visit_over)
                    visit = launch.visited(self.sandbox, self._ties.contents, self.record)
                    await stack.enter_async_context(visit)
                self._check_room()
                await stack.enter_async_context(self.sandbox.awake())
                yield self._trees
            except (GuestGone, LaunchError) as error:
                if self._evictions != evictions:
                    raise Conflict(f"{self.what} is being removed") from error
                if isinstance(error, LaunchError):
                    raise
                raise Conflict(f"{self.what} has ended meanwhile") from error

    def _check_room(self) -> None:
        """DiskFull where its VM stands still, and would say nothing."""
        if self.sandbox.stalled:
            why = f"{self.what}: its VM stands still until there is room on the host for what it writes"
            raise DiskFull(why, hint="free some space", remedies=[Remedy("system.prune")])

    def _visit_over(self) -> None:
        self._visits -= 1

    async def _evict(self) -> None:
        """Who is there while it does not run is cut off."""
        self._evictions += 1
        if self._visits and self.sandbox.bare:
            await self.sandbox.end(orderly=False)
        elif self._visits:
            await self._inside.cut_off()


async def packed(
    there: contextlib.AbstractAsyncContextManager[Trees], path: str, *, follow: bool
) -> tuple[PathFacts, AsyncGenerator[bytes, None]]:
    """As ``Visited.pack``; the archive is read within ``there``."""
    async with contextlib.AsyncExitStack() as undo:
        trees = await undo.enter_async_context(there)
        facts = await trees.stat(path)
        if follow and facts.leads_to:
            facts = await trees.stat(facts.leads_to)
        archive = await trees.pack(path, follow=follow)
        return facts, _within(undo.pop_all(), archive)


async def _read_within(
    there: contextlib.AbstractAsyncContextManager[Trees],
    begin: Callable[[Trees], Awaitable[AsyncGenerator[bytes, None]]],
) -> AsyncGenerator[bytes, None]:
    """What ``begin`` begins, read within ``there``; where it cannot begin, that is left."""
    async with contextlib.AsyncExitStack() as undo:
        archive = await begin(await undo.enter_async_context(there))
        return _within(undo.pop_all(), archive)


async def _within(
    stack: contextlib.AsyncExitStack, archive: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    async with stack, contextlib.aclosing(archive):
        async for data in archive:
            yield data
