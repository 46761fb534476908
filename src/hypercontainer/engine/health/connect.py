"""Connections from inside the guest: every check of a port goes out from the pod's own network.

A connection is a process that the agent starts in the VM, outside any container; its standard input and output are
the two directions.  The protocols above know only ``Dial`` and ``Stream``.  What comes in is the guest's: bounded by
its readers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from hypercontainer.contract.probes import TcpConnect
from hypercontainer.engine.health.result import Result, bounded, quoted
from hypercontainer.engine.interface import Attachment
from hypercontainer.errors import AgentError, Conflict, HyperError, StreamClosed, Unavailable

PROGRAM = "hyper-connect"
LOOPBACK = "127.0.0.1"
CONNECTED = b"connected"  # what the program may say on its standard error as soon as it is
ERROR_MAX_BYTES = 1024
CLOSE_S = 5.0
STDOUT, STDERR = 1, 2


class Stream(Protocol):
    """One TCP connection, which may still be on its way: a failed one shows at ``connected`` and ``read``."""

    async def connected(self) -> None:
        """Returns when the peer has accepted; Unavailable where it has not."""

    async def read(self, limit: int) -> bytes:
        """1 to ``limit`` bytes; b"" at the end.  Unavailable, which says why, where there is no connection."""

    async def write(self, data: bytes) -> None:
        """What the peer does not take any more is dropped; ``read`` tells of it."""

    async def end_input(self) -> None:
        """No more is written; reading goes on."""

    async def close(self) -> None:
        """Of both directions, now.  Never fails, and may be called twice."""


class Dial(Protocol):
    async def __call__(self, host: str, port: int) -> Stream: ...


async def tcp(dial: Dial, check: TcpConnect, timeout_s: float | None, *, address: str = LOOPBACK) -> Result:
    """Good where somebody accepts.  Nothing is sent."""

    async def attempt() -> Result:
        stream = await dial(check.host or address, check.port)
        try:
            await stream.end_input()  # a peer that answers with its own end has accepted, too
            await stream.connected()
        finally:
            await stream.close()
        return Result(True, "connected")

    return await bounded(attempt(), timeout_s)


def through(start: Callable[[tuple[str, ...]], Awaitable[Attachment]]) -> Dial:
    """``start`` executes an argument vector in the VM, with input, output and error as pipes."""

    async def dial(host: str, port: int) -> Stream:
        attachment = await start((PROGRAM, host, str(port)))
        return ProcessStream(attachment, f"{host} port {port}")

    return dial


class ProcessStream:
    """Owner of one connecting process: ``close`` ends it."""

    def __init__(self, attachment: Attachment, peer: str) -> None:
        self._attachment = attachment
        self._peer = peer
        self._left = b""
        self._heard = False  # anything from the peer
        self._said = b""
        self._exit = asyncio.ensure_future(attachment.exit())
        self._errors = asyncio.create_task(self._read_errors(), name=f"errors of {PROGRAM} {peer}")
        self._knows = asyncio.Event()
        self._exit.add_done_callback(lambda _: self._knows.set())
        self._closed = False

    async def connected(self) -> None:
        output = asyncio.create_task(self._fill())
        output.add_done_callback(lambda _: self._knows.set())
        try:
            await self._knows.wait()
            if self._heard or self._said.startswith(CONNECTED):
                return
            await self._check_end()
        finally:
            output.cancel()
            await asyncio.wait([output])

    async def read(self, limit: int) -> bytes:
        if not self._left:
            await self._fill()
        if not self._left and not self._heard:
            await self._check_end()
        data, self._left = self._left[:limit], self._left[limit:]
        return data

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(StreamClosed, Conflict):
            await self._attachment.write(data)

    async def end_input(self) -> None:
        with contextlib.suppress(StreamClosed, Conflict):
            await self._attachment.end_input()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Whatever comes in between, a process that nobody talks to must not stay behind in the guest.
        with contextlib.suppress(HyperError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if not self._exit.done():
                    await self._attachment.signal("KILL")
        with contextlib.suppress(HyperError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._attachment.close()
        for task in (self._errors, self._exit):
            task.cancel()
        await asyncio.gather(self._errors, self._exit, return_exceptions=True)

    async def _fill(self) -> None:
        self._left = await self._attachment.read(STDOUT)
        self._heard = self._heard or bool(self._left)

    async def _read_errors(self) -> None:
        while data := await self._attachment.read(STDERR):
            if len(self._said) < ERROR_MAX_BYTES:
                self._said += data[: ERROR_MAX_BYTES - len(self._said)]
            if self._said.startswith(CONNECTED):
                self._knows.set()

    async def _check_end(self) -> None:
        """The process has ended without a byte from the peer: was there a connection?"""
        ended = await asyncio.shield(self._exit)
        with contextlib.suppress(AgentError):
            await asyncio.shield(self._errors)
        if ended.exit_status != 0 and not self._said.startswith(CONNECTED):
            reason = quoted(self._said) or f"{PROGRAM} ended with status {ended.exit_status}"
            raise Unavailable(f"{self._peer}: {reason}")
