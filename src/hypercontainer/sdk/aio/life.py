"""What a container and a pod go through, and what all handles on them have in common."""

from __future__ import annotations

import contextlib
from typing import ClassVar, Self

from hypercontainer.contract.answers import Created, PodCreated
from hypercontainer.errors import NotFound
from hypercontainer.sdk.transport import Api


class AsyncLife:
    """A handle on a container or a pod.  As a context manager it is removed, by force, when the block is left."""

    _collection: ClassVar[str]  # of the calls that are made on it

    def __init__(self, api: Api, created: Created | PodCreated) -> None:
        self._api = api
        self._created = created

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.id[:12]}>"

    @property
    def id(self) -> str:
        return self._created.id

    @property
    def name(self) -> str:
        return self._created.name

    @property
    def warnings(self) -> tuple[str, ...]:
        """What hyperd, and a podfile's reader, had to say when it was made."""
        return self._created.warnings

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(NotFound):
            await self._discard()

    async def _discard(self) -> None:
        await self.remove(force=True)

    def _name(self, method: str) -> str:
        return f"{self._collection}.{method}"

    async def start(self) -> None:
        """Starts it; a container that runs already is left alone, and of a pod every container runs then that shall.

        Example::

            await box.start()
        """
        await self._api.act(self._name("start"), self.id)

    async def stop(self, *, grace_s: int | None = None) -> None:
        """Asks it to end, and ends it after ``grace_s``.  None: as it was created, or ten seconds.

        Example::

            await pod.stop(grace_s=0)
            assert (await pod.inspect()).state != "running"
        """
        await self._api.act(self._name("stop"), self.id, body={"timeout_s": grace_s})

    async def restart(self, *, grace_s: int | None = None) -> None:
        """Stops and starts it.

        Example::

            await box.restart(grace_s=0)
        """
        await self._api.act(self._name("restart"), self.id, body={"timeout_s": grace_s})

    async def kill(self, signal: str = "KILL") -> None:
        """Sends its first process a signal; of a pod, that of each container.

        Example::

            await box.kill()
            assert await box.wait() == 137
        """
        await self._api.act(self._name("kill"), self.id, body={"signal": signal})

    async def pause(self) -> None:
        """Makes it stand still until ``unpause``.

        Example::

            await box.pause()
            assert (await box.inspect()).state == "paused"
            await box.unpause()
        """
        await self._api.act(self._name("pause"), self.id)

    async def unpause(self) -> None:
        """Lets it go on after ``pause``.

        Example::

            await pod.pause()
            await pod.unpause()
            assert (await pod.inspect()).state == "running"
        """
        await self._api.act(self._name("unpause"), self.id)

    async def remove(self, *, force: bool = False) -> None:
        """Removes it with all that it has written; ``force``: also while it runs.

        Example::

            await box.remove(force=True)
        """
        await self._api.act(self._name("remove"), self.id, query={"force": force})
