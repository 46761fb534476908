"""Files of a container that has a VM, by programs that hyperstart is: no image needs to have any for it.

Whoever breaks off ends the program, which leaves no trace; only a `write` that returned has written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import BinaryIO

from hypercontainer.contract.answers import FileFacts
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.sandbox.execs import Execs
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.turns import Turns
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound, StreamClosed
from hypercontainer.semantics import docker

READ, WRITE = "hyper-read", "hyper-write"
STDOUT, STDERR = 1, 2
CHUNK_BYTES = 64 * 1024
HEAD_MAX_BYTES = 64
HEAD = re.compile(rb"([0-7]{1,4}) ([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,19})\n")
MAX_ID = 2**32 - 2  # the last one is "as it is" to the kernel
WRITES_MAX = 512

_WRITES = Turns("files for containers", WRITES_MAX)
_READS = Workers(
    "files for containers", WRITES_MAX, waits=True
)  # of whatever clients send; one of each write's


class Files:
    """Of the container ``identifier`` while its guest has it, whether or not its program still runs; ``what`` names it
    for people."""

    def __init__(self, identifier: str, what: Callable[[], str], live: Callable[[], Live]) -> None:
        self._what = what
        self._execs = Execs(
            identifier,
            live,
            lambda spec, number: docker.vm_process(spec, number, tools=identifier),
            lambda action, /, **attributes: None,
        )

    async def read(self, path: str) -> tuple[FileFacts, AsyncGenerator[bytes, None]]:
        """What the file is, and its bytes, which are to be read or closed.  NotFound, InvalidArgument for what is no
        regular file."""
        _check(path)
        attachment = await self._start(READ, path)
        try:
            said = b""
            while (
                b"\n" not in said and len(said) < HEAD_MAX_BYTES and (data := await attachment.read(STDERR))
            ):
                said += data
            head = HEAD.match(said)
            if head is None:
                raise await self._failure(path, attachment)
        except BaseException:
            await _end(attachment)
            raise
        mode, uid, gid, size = int(head[1], 8), *map(int, head.groups()[1:])
        return FileFacts(mode, uid, gid, size), self._content(path, attachment)

    async def _content(self, path: str, attachment: ProcessAttachment) -> AsyncGenerator[bytes, None]:
        try:
            while data := await attachment.read(STDOUT):
                yield data
            if (await attachment.exit()).exit_status:
                raise await self._failure(path, attachment)
        except BaseException:
            await _end(attachment)
            raise
        await attachment.close()

    async def write(
        self, path: str, content: BinaryIO, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """The file is whole or as it was; its directory has to be there.  ``content`` is read in a thread.  Unavailable
        where too many are being written for who asks."""
        _check(path)
        if not 0 <= mode <= 0o7777:
            raise InvalidArgument(f"mode {mode:o}: no mode of a file", hint="from 0 to 7777")
        if not (0 <= uid <= MAX_ID and 0 <= gid <= MAX_ID):
            raise InvalidArgument(f"uid {uid}, gid {gid}: no owner of a file")
        with _WRITES.held():
            await self._write(path, content, f"{mode:o}", str(uid), str(gid))

    async def _write(self, path: str, content: BinaryIO, *facts: str) -> None:
        attachment = await self._start(WRITE, path, *facts)
        try:
            try:
                while data := await _READS.run(partial(content.read, CHUNK_BYTES)):
                    await attachment.write(data)
                await attachment.end_input()
            except StreamClosed:
                pass  # it has ended; why is what follows
            if (await attachment.exit()).exit_status:
                raise await self._failure(path, attachment)
        except BaseException:
            await _end(attachment)
            raise
        await attachment.close()

    async def _start(self, *command: str) -> ProcessAttachment:
        return await self._execs.start_quietly(ExecSpec(command=command, stdin=command[0] == WRITE))

    async def _failure(self, path: str, attachment: ProcessAttachment) -> HyperError:
        ended = await attachment.exit()
        what = f"{self._what()}: {path}: "
        match ended.exit_status:
            case _ if ended.error:
                return Conflict(what + ended.error)
            case errno.ENOENT | errno.ENOTDIR as status:
                return NotFound(what + os.strerror(status))
            case errno.EISDIR | errno.EINVAL:
                return InvalidArgument(what + "no regular file")
            case errno.EBUSY:
                return Conflict(what + "something is mounted there, so it cannot be replaced")
            case status:
                return Conflict(what + os.strerror(status))


async def _end(attachment: ProcessAttachment) -> None:
    with contextlib.suppress(HyperError):  # it has ended, or its guest has
        await attachment.signal("TERM")  # not KILL: it takes away what it has not finished
    await attachment.close()


def _check(path: str) -> None:
    if not path.startswith("/") or "\0" in path or len(path) > 4095 or path.endswith("/"):
        raise InvalidArgument(f"{path!r} is no path of a file in a container", hint="an absolute path")
