"""The builder's container: made and started when somebody builds, stopped when nobody has for a while.

It is a container as any other, so that people see what it takes, and may remove it: the next build makes it anew, with
the cache, which is a volume.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from hypercontainer.config import Config
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine.build import command
from hypercontainer.engine.build.programs import finished
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.creation import Asker, Creation
from hypercontainer.engine.directory import Directory
from hypercontainer.errors import Conflict, HyperError, NotFound, Remedy, Unavailable

log = logging.getLogger(__name__)

READY_S = 300.0  # under emulation its programs take their time
LAST_WORDS = 2000


class Builder:
    def __init__(self, directory: Directory, creation: Creation, config: Config) -> None:
        self._directory, self._creation, self._config = directory, creation, config
        self._turn = asyncio.Lock()
        self._builds = 0
        self._ready: tuple[str, int] | None = None  # which container, in which run
        self._rest: asyncio.Task[None] | None = None  # before it is stopped

    @contextlib.asynccontextmanager
    async def held(self, asker: Asker) -> AsyncIterator[Container]:
        """Within, it runs, and takes builds."""
        self._builds += 1
        self._wake()
        try:
            async with self._turn:
                container = await self._running(asker)
            yield container
        finally:
            self._builds -= 1
            self.rest()

    def rest(self) -> None:
        """From now on nobody builds, perhaps."""
        self._wake()
        if not self._builds:
            self._rest = asyncio.create_task(self._stop_later(), name="builder's rest")

    async def close(self) -> None:
        """Lets go; it lives on."""
        self._wake()

    def _wake(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    async def _stop_later(self) -> None:
        await asyncio.sleep(self._config.build.idle_s)  # as the configuration has it: no poll
        with contextlib.suppress(HyperError):
            container = await self._found()
            await asyncio.shield(container.stop())

    async def exists(self) -> bool:
        """It has built, or could."""
        try:
            await self._found()
        except (NotFound, Conflict):
            return False
        return True

    async def at_work(self) -> Container | None:
        """It, if it runs."""
        try:
            container = await self._found()
        except (NotFound, Conflict):
            return None
        return container if container.alive else None

    async def _found(self) -> Container:
        container = await self._directory.held(command.NAME)
        if command.LABEL not in container.record.labels:
            raise Conflict(
                f"container {command.NAME} is none that builds, and the builder has no other name",
                remedies=[Remedy("containers.rename", command.NAME)],
            )
        return container

    async def _running(self, asker: Asker) -> Container:
        wanted = command.container(self._config)
        try:
            container = await self._found()
            if container.record.spec.image != wanted.image:  # it is configured otherwise now
                await container.remove(force=True)
                raise NotFound(command.NAME)
        except NotFound:
            made = await self._creation.container(wanted, asker)
            container = await self._directory.held(made.id)
        for last in (False, True):
            if not container.alive:
                await container.start()
            run = (container.id, container.record.run)
            try:
                if self._ready != run:
                    await self._wait(container)
                    await _cleared(container)
                    self._ready = run
                break
            except (
                Unavailable
            ):  # dockerd gives its containerd 15 s, which is little on a machine with much to do
                if last or container.alive:
                    raise
        return container

    async def _wait(self, container: Container) -> None:
        said = b""
        try:
            async with asyncio.timeout(READY_S):
                lines = container.logs(follow=True, since=container.record.started)
                async with contextlib.aclosing(lines):  # type: ignore[type-var]
                    async for _, data in lines:
                        said = (said + data)[-LAST_WORDS:]
                        if command.READY in said:
                            return
        except TimeoutError:
            pass
        words = said.decode(errors="replace").strip().rpartition("\n")[2]
        what = f"is not ready after {READY_S:g} s" if container.alive else "ended"
        raise Unavailable(
            f"the builder (container {command.NAME}, image {container.record.spec.image}) {what}: "
            f"{words or 'it said nothing'}",
            remedies=[Remedy("containers.logs", command.NAME, aim="tells more")],
        )


async def _cleared(container: Container) -> None:
    """No build goes on in it; nobody has what one has left there."""
    spec = ExecSpec(command=command.CLEAR, env=command.environment())
    async with finished(await container.execs.start_quietly(spec), "what builds have left cannot be removed"):
        pass
