"""Files and trees of a container that has a VM, as archives, and what it has changed of its image."""

from __future__ import annotations

import contextlib
import errno
import posixpath
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial

from hypercontainer.agent.operations import Disk
from hypercontainer.contract.answers import Change, PathFacts
from hypercontainer.engine.container.inside import (
    NO_ERRNO,
    STDOUT,
    Inside,
    beginning,
    end_of,
    refusal,
)
from hypercontainer.engine.pipes import Pieces
from hypercontainer.errors import AgentProtocolError, Conflict, HyperError, InvalidArgument

STAT, PACK, UNPACK = "hyper-stat", "hyper-pack", "hyper-unpack"
FACTS_MAX_BYTES = 8192
FACTS = re.compile(rb"([0-7]{1,7}) ([0-9]{1,19}) (-?[0-9]{1,19})\n([^\0\n]*)")
EXPORT, LAYER, CHANGES = "hyper-export", "hyper-layer", "hyper-changes"
BEGUN = b"packing\n"
EMPTY_ARCHIVE = bytes(1024)
CHANGE = re.compile(rb"([ACD])(/[^\0]*)", re.DOTALL)
CHANGES_MAX_BYTES = 16 << 20  # of their paths
KINDS = {b"A": "added", b"C": "modified", b"D": "deleted"}
ITSELF = "-"  # as whose the entries of an archive are unpacked: as its own say
WHOLE = "="  # so, and what it says of its root goes for the directory that it is unpacked in


@dataclass(frozen=True)
class Changed:
    """Where a container's changes are, and where the image that they are of."""

    upper: Disk
    lower: Disk

    def words(self) -> tuple[str, ...]:
        upper, lower = self.upper, self.lower
        part = (str(lower.offset_bytes or 0), str(lower.length_bytes or 0))
        checked = (str(lower.data_bytes), lower.root_hash) if lower.root_hash else ()
        return (upper.serial, upper.directory, lower.serial, lower.filesystem, *part, *checked)


class Trees:
    """While the container's guest has it, whether or not its program still runs."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    async def stat(self, path: str) -> PathFacts:
        """NotFound where nothing is there."""
        attachment = await self._inside.start(STAT, path)
        try:
            said = b""
            while len(said) < FACTS_MAX_BYTES and (data := await attachment.read(STDOUT)):
                said += data
            status, words = await end_of(attachment)
        except BaseException:
            await self._inside.broken_off(attachment)
            raise
        await self._inside.close(attachment)
        found = FACTS.fullmatch(said)
        if status or found is None:
            raise self._refused(path, status or (errno.EBADMSG if said else 0), words)
        mode, size, modified = int(found[1], 8), int(found[2]), int(found[3])
        return PathFacts(name_of(path), mode, size, modified, found[4].decode(errors="replace"))

    async def pack(self, path: str, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """An archive of what is there, which is to be read or closed; its entries' names begin with that of the path,
        or with "." where it ends in "/.".  NotFound where nothing is there."""
        return await self._output(path, PACK, path, name_of(path), "1" if follow else "0")

    async def export(self) -> AsyncGenerator[bytes, None]:
        """An archive of the root, without what is mounted in it, which is to be read or closed."""
        return await self._output("/", EXPORT)

    async def layer(self, changed: Changed) -> AsyncGenerator[bytes, None]:
        """What the container has changed of its image, as images have layers; to be read or closed."""
        return await self._output("/", LAYER, *changed.words())

    async def changes(self, changed: Changed) -> list[Change]:
        """Sorted by path, a directory before what is in it."""
        text = bytearray()
        output = await self._output("/", CHANGES, *changed.words())
        async with contextlib.aclosing(output):
            async for data in output:
                text += data
                if len(text) > CHANGES_MAX_BYTES:
                    raise Conflict(f"{self._inside.what()}: its changes are too many for a list")
        return [_change(line) for line in bytes(text).split(b"\0")[:-1]]

    async def _output(self, path: str, *command: str) -> AsyncGenerator[bytes, None]:
        attachment = await self._inside.start(*command)
        try:
            said = await beginning(attachment, lambda said: len(said) >= len(BEGUN))
            if not said.startswith(BEGUN):
                raise self._refused(path, *await end_of(attachment, said))
        except BaseException:
            await self._inside.broken_off(attachment)
            raise
        return self._inside.output(attachment, partial(self._refused, path))

    async def unpack(self, path: str, content: Pieces, *, replace: bool = False, owner: str = ITSELF) -> None:
        """Lays an archive into a directory; what is laid there before something fails stays.  ``owner`` is said as a
        container's user is."""
        status, words = await self._inside.feed(content, UNPACK, path, "1" if replace else "0", owner)
        if status:
            raise self._refused(path, status, words)

    def _refused(self, path: str, status: int, words: str) -> HyperError:
        what = f"{self._inside.what()}: {path}: "
        if status == errno.EBADMSG:
            return InvalidArgument(what + (words or "it says nothing of it"))
        if not status or status >= NO_ERRNO:
            return Conflict(what + (words or "it was broken off"))
        if status in (errno.ENOTDIR, errno.EISDIR):
            return InvalidArgument(f"{self._inside.what()}: {words or path}")
        return refusal(f"{self._inside.what()}: {words.rpartition(': ')[0] or path}: ", status)


def name_of(path: str) -> str:
    """What entries of an archive of this path begin with."""
    last = posixpath.basename(path.rstrip("/"))
    return last if last not in ("", "..") else "."


def _change(line: bytes) -> Change:
    """AgentProtocolError where the guest has said something else."""
    found = CHANGE.fullmatch(line)
    if found is None:
        raise AgentProtocolError(f"no change: {line[:60]!r}")
    return Change(found[2].decode(errors="replace"), KINDS[found[1]])
