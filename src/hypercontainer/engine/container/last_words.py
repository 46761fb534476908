"""What a program says at its end: Kubernetes' termination message."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hypercontainer.engine.container import files as container_files
from hypercontainer.engine.health.termination import LOG_MAX_BYTES, LOG_MAX_LINES, termination_message
from hypercontainer.errors import HyperError

if TYPE_CHECKING:
    from hypercontainer.engine.container.container import Container

READ_S = 5.0
FILE_MAX_BYTES = 1 << 20  # more is not looked at


async def last_words(container: Container, exit_status: int) -> str:
    """Of a container whose program has just ended and whose guest still has its files; "" where it wants none."""
    spec = container.record.spec
    if not spec.termination_message_path:
        return ""
    file: bytes | None = None
    # No file, no guest any more, or one that stalls.
    with contextlib.suppress(HyperError, TimeoutError):
        async with asyncio.timeout(READ_S):
            file = await _file(container, spec.termination_message_path)
    log_tail = b""
    if spec.termination_message_fallback and exit_status != 0 and not file:
        log_tail = await _log_tail(container)
    return termination_message(
        file, log_tail, fallback=spec.termination_message_fallback, exit_status=exit_status
    )


async def _file(container: Container, path: str) -> bytes:
    _, content = await container_files.read(container, path, ended=True)
    kept = b""
    async with contextlib.aclosing(content):
        async for data in content:
            kept += data
            if len(kept) > FILE_MAX_BYTES:
                break
    return kept


async def _log_tail(container: Container) -> bytes:
    kept = b""
    lines = container.log.read(
        follow=False, since_ns=None, until_ns=None, tail=LOG_MAX_LINES, timestamps=False
    )
    async for _, data in lines:
        kept = (kept + data)[-2 * LOG_MAX_BYTES :]
    return kept
