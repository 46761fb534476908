"""Archives (tar) that are read and written: files, or bytes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncGenerator
from typing import BinaryIO, Literal

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
