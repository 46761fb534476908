"""Programs that hyperstart is, run where a container's files are: no image needs to have any for it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncGenerator, Callable

from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine.pipes import Pieces
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.sandbox.execs import Execs
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.turns import Turns
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound, ReadOnly, StreamClosed
from hypercontainer.semantics import docker

STDOUT, STDERR = 1, 2
WORDS_MAX_BYTES = 8192  # of what such a program says: a path, and why not
WRITES_MAX = 512
NO_ERRNO = 125  # from here on: how a program that could not be started ends, or that was ended

_WRITES = Turns("files for containers", WRITES_MAX)


class Inside:
    """Of the container ``identifier`` while its guest has it, or ("") of the VM, where ``root`` is the directory that
    their paths begin in; ``what`` names it for people."""

    def __init__(
        self, identifier: str, what: Callable[[], str], live: Callable[[], Live], root: str | None = None
    ) -> None:
        self.what = what
        self._root = root
        self._going: set[ProcessAttachment] = set()
        self._execs = Execs(
            identifier,
            live,
            lambda spec, number: docker.vm_process(spec, number, tools=identifier),
            lambda action, /, **attributes: None,
        )

    async def start(self, *command: str, stdin: bool = False) -> ProcessAttachment:
        spec = ExecSpec(command=command, stdin=stdin, working_dir=self._root)
        attachment = await self._execs.start_quietly(spec)
        self._going.add(attachment)
        return attachment

    async def close(self, attachment: ProcessAttachment) -> None:
        """It has ended."""
        self._going.discard(attachment)
        await attachment.close()

    async def output(
        self, attachment: ProcessAttachment, refused: Callable[[int, str], HyperError]
    ) -> AsyncGenerator[bytes, None]:
        """To be read or closed; raises what ``refused`` makes of its exit status and its words."""
        try:
            while data := await attachment.read(STDOUT):
                yield data
            status, words = await end_of(attachment)
            if status:
                raise refused(status, words)
        except BaseException:
            await self.broken_off(attachment)
            raise
        await self.close(attachment)

    async def broken_off(self, attachment: ProcessAttachment) -> None:
        self._going.discard(attachment)
        with contextlib.suppress(HyperError):  # it has ended, or its guest has
            await attachment.signal("TERM")  # not KILL: it takes away what it has not finished
        await attachment.close()

    async def cut_off(self) -> None:
        """All that work there now are ended."""
        for attachment in [*self._going]:
            with contextlib.suppress(HyperError):
                await attachment.signal("KILL")

    async def feed(self, content: Pieces, *command: str) -> tuple[int, str]:
        """The program's end, when it has got all of ``content``: its exit status and what it said.  Who breaks off
        ends it.  Unavailable where too many write."""
        with _WRITES.held():
            attachment = await self.start(*command, stdin=True)
            try:
                try:
                    async with contextlib.aclosing(content):
                        async for data in content:
                            await attachment.write(data)
                    await attachment.end_input()
                except StreamClosed:
                    pass  # it has ended; why is what follows
                told = await end_of(attachment)
            except BaseException:
                await self.broken_off(attachment)
                raise
            await self.close(attachment)
            return told


async def beginning(attachment: ProcessAttachment, is_whole: Callable[[bytes], bool]) -> bytes:
    """What a program says first on its standard error, which carries the head of its answer: until that is whole, or
    there is no more."""
    said = b""
    while not is_whole(said) and (data := await attachment.read(STDERR)):
        said += data
    return said


async def end_of(attachment: ProcessAttachment, said: bytes = b"") -> tuple[int, str]:
    """The exit status and the words of a program, which has said the first of them already."""
    while data := await attachment.read(STDERR):
        said = (said + data)[:WORDS_MAX_BYTES]
    ended = await attachment.exit()
    words = said.decode(errors="replace").strip()
    printable = "".join(each if each.isprintable() else "?" for each in words)
    return ended.exit_status, ended.error or printable


def refusal(what: str, status: int) -> HyperError:
    """Of a program that ended with this errno."""
    match status:
        case errno.ENOENT | errno.ENOTDIR:
            return NotFound(what + os.strerror(status))
        case errno.EROFS:
            return ReadOnly(what + "it is mounted read-only")
        case errno.EISDIR | errno.EINVAL:
            return InvalidArgument(what + "no regular file")
        case errno.EBUSY:
            return Conflict(what + "something is mounted there, so it cannot be replaced")
    return Conflict(what + os.strerror(status))
