"""Programs that run in the builder's container, to their end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine.build import command
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.errors import Conflict, HyperError

STDOUT, STDERR = 1, 2
WORDS_MAX_BYTES = 8192


async def run(builder: Container, words: Sequence[str]) -> None:
    """To its end, whatever it says, where there still is a builder."""
    if words and builder.alive:
        with contextlib.suppress(HyperError):
            spec = ExecSpec(command=tuple(words), env=command.environment())
            async with finished(await builder.execs.start_quietly(spec), words[0]):
                pass


async def output(attachment: ProcessAttachment) -> AsyncGenerator[bytes, None]:
    while data := await attachment.read(STDOUT):
        yield data


@contextlib.asynccontextmanager
async def finished(attachment: ProcessAttachment, problem: str) -> AsyncIterator[None]:
    """Within, it gets its input or is read; afterwards it has ended well, or Conflict says what it said.  Who breaks
    off ends it."""
    words = asyncio.create_task(_words(attachment))
    try:
        yield
        said = await words
        ended = await attachment.exit()
        if ended.exit_status:
            raise Conflict(f"{problem}: {ended.error or said or f'status {ended.exit_status}'}")
    except BaseException:
        with contextlib.suppress(HyperError):
            await attachment.signal("KILL")
        raise
    finally:
        words.cancel()
        await asyncio.gather(words, return_exceptions=True)
        await attachment.close()


async def _words(attachment: ProcessAttachment) -> str:
    said = b""
    while data := await attachment.read(STDERR):
        said = (said + data)[-WORDS_MAX_BYTES:]
    text = said.decode(errors="replace").strip()
    return "".join(each if each.isprintable() else " " for each in text)
