"""What a request can be answered with: something whole, a body that is made as it goes, or another protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

T = TypeVar("T")

JSON = "application/json"
TICK_S = 1.0
Fields = tuple[tuple[str, str], ...]  # of a head


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Fields = ()
    body: bytes = b""


@dataclass(frozen=True)
class Chunks:
    """``at_once``: the head goes out before the first chunk is there, for what may be silent for long.  What fails
    before the head went out is told as any error; after it the connection is broken off."""

    status: int
    headers: Fields
    chunks: AsyncGenerator[bytes, None]
    at_once: bool = False


class Session(Protocol):
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        """Has the connection until it ends; ``initial`` is what the client has sent ahead."""


@dataclass(frozen=True)
class Upgrade:
    """101, and the connection is the session's.  ``headers``: beside those of the upgrade itself."""

    protocol: str
    session: Session
    headers: Fields = ()


@dataclass(frozen=True)
class Raw:
    """A head, and what follows is the session's, to the end of the connection: a body without a length, whose client
    may go on sending."""

    status: int
    headers: Fields
    session: Session


@dataclass(frozen=True)
class Silent:
    """No answer: the connection is the session's from its first byte, of a client that has begun to speak HTTP/2."""

    session: Session


Answer = Reply | Chunks | Upgrade | Raw | Silent


def json_reply(value: object, status: int = 200) -> Reply:
    return Reply(status, (("Content-Type", JSON),), msgspec.json.encode(value))


def json_line(value: object) -> bytes:
    """One of an answer of many."""
    return msgspec.json.encode(value) + b"\n"


@contextlib.asynccontextmanager
async def closed_after(values: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """Closes an iterator that can be closed when the block is left, not when it is collected."""
    try:
        yield values
    finally:
        close = getattr(values, "aclose", None)
        if close is not None:
            await close()


async def passed_on(values: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async with closed_after(values):
        async for value in values:
            yield value


async def every_second(first: T, take: Callable[[], Awaitable[T]]) -> AsyncGenerator[T, None]:
    """``first``, and then what ``take`` gives at every tick; a client that is slow misses ticks."""
    loop = asyncio.get_running_loop()
    value = first
    while True:
        due = loop.time() + TICK_S
        yield value
        await asyncio.sleep(due - loop.time())
        value = await take()
