"""Single files of a container that has a VM.

Whoever breaks off ends the program, which leaves no trace; only a `write` that returned has written.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from functools import partial

from hypercontainer.contract.answers import FileFacts
from hypercontainer.engine.container.inside import NO_ERRNO, Inside, beginning, end_of, refusal
from hypercontainer.engine.pipes import Pieces, pieces_of
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.errors import Conflict, HyperError, InvalidArgument

READ, WRITE, USER = "hyper-read", "hyper-write", "hyper-user"
HEAD_MAX_BYTES = 64
HEAD = re.compile(rb"([0-7]{1,4}) ([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,19})\n")
MAX_ID = 2**32 - 2  # the last one is "as it is" to the kernel


class Files:
    """While the container's guest has it, whether or not its program still runs."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    async def read(self, path: str) -> tuple[FileFacts, AsyncGenerator[bytes, None]]:
        """What the file is, and its bytes, which are to be read or closed.  NotFound, InvalidArgument for what is no
        regular file."""
        _check(path)
        attachment = await self._inside.start(READ, path)
        try:
            said = await beginning(attachment, lambda said: b"\n" in said or len(said) >= HEAD_MAX_BYTES)
            head = HEAD.match(said)
            if head is None:
                raise await self._failure(path, attachment)
        except BaseException:
            await self._inside.broken_off(attachment)
            raise
        mode, uid, gid, size = int(head[1], 8), *map(int, head.groups()[1:])
        return FileFacts(mode, uid, gid, size), self._inside.output(attachment, partial(self._refused, path))

    async def write(
        self, path: str, content: Pieces, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """The file is whole or as it was; its directory has to be there.  Unavailable where too many are being written
        for who asks."""
        _check(path)
        if not 0 <= mode <= 0o7777:
            raise InvalidArgument(f"mode {mode:o}: no mode of a file", hint="from 0 to 7777")
        if not (0 <= uid <= MAX_ID and 0 <= gid <= MAX_ID):
            raise InvalidArgument(f"uid {uid}, gid {gid}: no owner of a file")
        status, words = await self._inside.feed(content, WRITE, path, f"{mode:o}", str(uid), str(gid))
        if status:
            raise self._refused(path, status, words)

    async def check_user(self, user: str) -> None:
        """InvalidArgument, in Docker's words, where its passwd and group files have none of this name."""
        status, words = await self._inside.feed(pieces_of(b""), USER, user)
        if status:
            raise InvalidArgument(words)

    async def _failure(self, path: str, attachment: ProcessAttachment) -> HyperError:
        return self._refused(path, *await end_of(attachment))

    def _refused(self, path: str, status: int, words: str) -> HyperError:
        what = f"{self._inside.what()}: {path}: "
        return refusal(what, status) if status < NO_ERRNO else Conflict(what + words)


def _check(path: str) -> None:
    if not path.startswith("/") or "\0" in path or len(path) > 4095 or path.endswith("/"):
        raise InvalidArgument(f"{path!r} is no path of a file in a container", hint="an absolute path")
