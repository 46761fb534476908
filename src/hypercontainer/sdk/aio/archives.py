"""Archives (tar) that are read and written: files, or bytes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from base64 import b64decode
from collections.abc import AsyncGenerator, Mapping
from typing import Any, BinaryIO, Literal

from hypercontainer.contract.answers import PathFacts
from hypercontainer.sdk.transport import Api, Exchange, decoded

Archive = str | os.PathLike[str] | bytes | BinaryIO  # a path, the bytes themselves, or an open file


@contextlib.asynccontextmanager
async def opened(archive: Archive, mode: Literal["rb", "wb"]) -> AsyncGenerator[BinaryIO, None]:
    """What is opened here is closed here."""
    if isinstance(archive, bytes):
        yield io.BytesIO(archive)
    elif isinstance(archive, str | os.PathLike):
        with await asyncio.to_thread(open, archive, mode) as file:
            yield file
    else:
        yield archive


async def written(exchange: Exchange, out: str | os.PathLike[str] | BinaryIO) -> None:
    """Writes an answer to where it is wanted."""
    async with opened(out, "wb") as file:
        async for piece in exchange.pieces():
            await asyncio.to_thread(file.write, piece)


async def packed(
    api: Api, call: str, of: str, query: Mapping[str, Any], out: str | os.PathLike[str] | BinaryIO
) -> PathFacts:
    """Writes an answer that is an archive to where it is wanted; what it is of."""
    async with api.exchange(call, of, query=query) as exchange:
        await written(exchange, out)
        told = b64decode(exchange.header("Hyper-Path-Facts"))
    return decoded(told, PathFacts)


async def unpacked(api: Api, call: str, of: str, query: Mapping[str, Any], archive: Archive) -> None:
    """Sends an archive."""
    async with (
        opened(archive, "rb") as stream,
        api.exchange(call, of, query=query, upload=stream) as exchange,
    ):
        await exchange.read(0)
