"""What a program says at its end: Kubernetes' termination message."""

from __future__ import annotations

import asyncio
import contextlib

from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.engine.container.files import Files
from hypercontainer.engine.health.termination import LOG_MAX_BYTES, LOG_MAX_LINES, termination_message
from hypercontainer.engine.log.container_log import ContainerLog
from hypercontainer.errors import HyperError

READ_S = 5.0
FILE_MAX_BYTES = 1 << 20  # more is not looked at


async def last_words(spec: ContainerSpec, files: Files, log: ContainerLog, exit_status: int) -> str:
    """Of a container whose program has just ended and whose guest still has its files; "" where it wants none."""
    if not spec.termination_message_path:
        return ""
    file: bytes | None = None
    # No file, no guest any more, or one that stalls.
    with contextlib.suppress(HyperError, TimeoutError):
        async with asyncio.timeout(READ_S):
            file = await _beginning(files, spec.termination_message_path)
    log_tail = b""
    if spec.termination_message_fallback and exit_status != 0 and not file:
        log_tail = await _log_tail(log)
    return termination_message(
        file, log_tail, fallback=spec.termination_message_fallback, exit_status=exit_status
    )


async def _beginning(files: Files, path: str) -> bytes:
    _, content = await files.read(path)
    kept = b""
    async with contextlib.aclosing(content):
        async for data in content:
            kept += data
            if len(kept) > FILE_MAX_BYTES:
                break
    return kept


async def _log_tail(log: ContainerLog) -> bytes:
    kept = b""
    async for _, data in log.read(tail=LOG_MAX_LINES):
        kept = (kept + data)[-2 * LOG_MAX_BYTES :]
    return kept
