"""Docker's API, for the programs of a container that was given it (``ContainerSpec.api_socket``): a socket there whose
connections come to hyperd.

The engine serves no API: whoever does opens the ``Door``, and what comes by it has the rights of the user who has
created the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable

from hypercontainer.engine.container.inside import Inside, beginning, end_of
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.process.relay import Connect, Relay
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.errors import Conflict, HyperError
from hypercontainer.linux.waiting import whole

LEND, LISTENING = "hyper-lend", b"listening\n"
LISTEN_S = 30.0  # for a guest that takes long, or knows nothing of it
END_S = 2.0

log = logging.getLogger(__name__)


class Door:
    """Who comes before it is open waits."""

    def __init__(self) -> None:
        self._connect: Callable[[int], Awaitable[socket.socket]]
        self._is_open = asyncio.Event()

    def open(self, connect: Callable[[int], Awaitable[socket.socket]]) -> None:
        """``connect`` gives a new connection's near end, with the rights of the user of this number."""
        self._connect = connect
        self._is_open.set()

    async def connect(self, uid: int) -> socket.socket:
        await self._is_open.wait()
        return await self._connect(uid)


class ApiSocket:
    """Of one run of a container, at ``path``."""

    def __init__(self, container: str, what: str, sandbox: Sandbox, path: str, connect: Connect) -> None:
        self._what, self._path, self._sandbox = what, path, sandbox
        self._inside = Inside(container, lambda: what, sandbox.running)
        self._connect = connect
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Before its program begins.  Conflict where it cannot be."""
        attachment = await self._listening()
        self._work = asyncio.create_task(self._carry(attachment), name=f"Docker's API for {self._what}")

    def open_again(self) -> None:
        """Its program runs, and the socket was an earlier hyperd's: nobody waits for this."""
        self._work = asyncio.create_task(self._open_again(), name=f"Docker's API for {self._what}")

    async def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _open_again(self) -> None:
        try:
            await self._sandbox.running().going.wait()
            attachment = await self._listening()
        except HyperError as error:
            log.warning("%s has no API any more: %s", self._what, error)
        else:
            await self._carry(attachment)

    async def _listening(self) -> ProcessAttachment:
        attachment = await self._inside.start(LEND, self._path, stdin=True)
        try:
            async with asyncio.timeout(LISTEN_S):
                said = await beginning(attachment, lambda said: said.endswith(b"\n"))
                if said == LISTENING:
                    return attachment
                _, words = await end_of(attachment, said)
        except TimeoutError:
            words = f"its guest did not listen within {LISTEN_S:g} s"
        except BaseException:
            await self._inside.broken_off(attachment)
            raise
        await self._inside.broken_off(attachment)
        raise Conflict(f"{self._what}: Docker's API at {self._path}: {words}")

    async def _carry(self, attachment: ProcessAttachment) -> None:
        try:
            await Relay(attachment, self._connect).run()
            log.warning("%s has no API any more: what listened there has ended", self._what)
        except HyperError as error:
            log.warning("%s has no API any more: %s", self._what, error)
        finally:
            await whole(self._end(attachment))

    async def _end(self, attachment: ProcessAttachment) -> None:
        """Its guest can let go of the container's files then."""
        with contextlib.suppress(HyperError, TimeoutError):
            async with asyncio.timeout(END_S):
                await self._inside.broken_off(attachment)
                await attachment.exit()
