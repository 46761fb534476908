"""Who has use for a VM, and whether it goes when somebody leaves."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod

from hypercontainer.agent.session import Agent
from hypercontainer.errors import AgentError
from hypercontainer.hypervisor.driver import VMExit


class Inhabited(ABC):
    """``busy`` is held by whoever brings the VM up, changes or ends it."""

    def __init__(self) -> None:
        self.busy = asyncio.Lock()
        self.oom_killed: set[str] = set()
        self._users: set[str] = set()
        self._visitors: set[str] = set()  # whose files are worked on in a VM that is bare
        self._held = False
        self._bare = False
        self._whole = asyncio.Event()  # set when such a VM has ended

    @property
    @abstractmethod
    def agent(self) -> Agent: ...

    @abstractmethod
    def awake(self) -> contextlib.AbstractAsyncContextManager[None]: ...

    @abstractmethod
    async def end(self, *, orderly: bool) -> VMExit | None: ...

    @property
    def bare(self) -> bool:
        """Its VM was started for files alone, and has no network."""
        return self._bare

    @property
    def visit(self) -> asyncio.Event | None:
        """Set when such a VM has ended; None where there is none."""
        return self._whole if self._bare else None

    def _is_whole(self) -> None:
        self._bare = False
        self._whole.set()
        self._whole.clear()

    @property
    def in_use(self) -> bool:
        return bool(self._users)

    def used_by_others(self, container: str) -> bool:
        return bool(self._users - {container})

    def join(self, container: str) -> None:
        """A container is about to run."""
        self._users.add(container)
        self.oom_killed.discard(container)

    async def leave(
        self, container: str, *, orderly: bool, comes_back: bool = False, fresh: bool = False
    ) -> None:
        """Its run is over.  With the last user the VM goes, if none ``comes_back`` soon; else only what the guest
        has of this container, with what it has written if it is to come back ``fresh``."""
        async with self.busy:
            if not comes_back:
                self._users.discard(container)
            if not self._bare:  # it has never been in such a VM
                await self._without(container, unused=self._unused, orderly=orderly, fresh=fresh)

    @property
    def _unused(self) -> bool:
        return not self._users and not self._held

    async def _without(
        self, container: str, *, unused: bool, orderly: bool = True, fresh: bool = False
    ) -> None:
        if unused:
            await self.end(orderly=orderly)
            return
        async with self.awake():
            with contextlib.suppress(AgentError):
                await self.agent.destroy_container(container, discard=fresh)

    def hold(self) -> None:
        """Its VM stays although nobody lives in it for a while, until ``release``: others are to come."""
        self._held = True

    async def release(self) -> None:
        held, self._held = self._held, False
        if held:
            await self.end_if_unused()

    async def _left(self, visitor: str) -> None:
        async with self.busy:
            self._visitors.discard(visitor)
            self._users.discard(visitor)
            await self._without(visitor, unused=not self._visitors if self._bare else self._unused)

    async def end_if_unused(self) -> None:
        async with self.busy:
            if not self._users and not self._visitors:
                await self.end(orderly=True)
