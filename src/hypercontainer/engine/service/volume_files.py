"""The files of volumes: of one that a VM has, through that; of any other, through one that is brought up for it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from hypercontainer.contract.answers import PathFacts
from hypercontainer.engine.container.inside import Inside
from hypercontainer.engine.container.trees import Trees
from hypercontainer.engine.container.visits import packed
from hypercontainer.engine.pipes import Pieces
from hypercontainer.engine.service.volume_vms import Having, VolumeVMs


class VolumeFiles:
    """Paths begin at the volume's root, and no link in it leads out."""

    def __init__(self, vms: VolumeVMs) -> None:
        self._vms = vms

    async def stat_path(self, name: str, *, path: str) -> PathFacts:
        """NotFound where nothing is there."""
        async with self._trees(name, write=False) as trees:
            return await trees.stat(path)

    async def pack(
        self, name: str, *, path: str, follow: bool = False
    ) -> tuple[PathFacts, AsyncGenerator[bytes, None]]:
        """What is there, and an archive of it, which is to be read or closed.  NotFound where nothing is; ``follow``:
        of a link at the end of the path, what it leads to."""
        return await packed(self._trees(name, write=False), path, follow=follow)

    async def unpack(self, name: str, *, path: str, stream: Pieces, replace: bool = False) -> None:
        """Lays an archive into a directory that is there.  ``replace``: a directory may take the place of something
        else, and something else that of a directory."""
        async with self._trees(name, write=True) as trees:
            await trees.unpack(path, stream, replace=replace)

    @contextlib.asynccontextmanager
    async def _trees(self, name: str, *, write: bool) -> AsyncIterator[Trees]:
        async with self._vms.having(name, write=write) as having:
            yield trees_of(having, name)


def trees_of(having: Having, name: str) -> Trees:
    return Trees(Inside("", lambda: f"volume {name}", lambda: having.live, root=having.root))
