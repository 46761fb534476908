"""Images between the store and the builder: what a Dockerfile begins with goes in, what was made of it comes out.

Which image the builder has under a name is written down beside its cache, whose fate it shares.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine.build import command
from hypercontainer.engine.build.programs import finished, output
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.interface import Credentials
from hypercontainer.engine.pipes import pieces_of, read_by, written
from hypercontainer.errors import Conflict, HyperError, NotFound, StreamClosed
from hypercontainer.image.reference import parse

STDOUT = 1
KNOWN_MAX_BYTES = 128
RESULTS_KEPT = 4

# Those that a user has for a registry.
CredentialsOf = Callable[[str], Awaitable[Credentials | None]]


async def nobodys(registry: str) -> None:
    """Of who has none."""


class Exchange:
    def __init__(self, images: ImageService) -> None:
        self._images = images
        self._results: list[str] = []
        self._turn = asyncio.Lock()  # of who hands images over: two would hand over the same

    async def hand_over(self, builder: Container, names: Sequence[str]) -> None:
        """The images of these names; one that is not here the builder looks for itself."""
        async with self._turn:
            for name in names:
                with contextlib.suppress(NotFound):
                    image = await self._images.get(name)
                    if await self._known(builder, name) != image.id:
                        await self._send(builder, name)
                        await self._note(builder, name, image.id)

    async def take_back(self, builder: Container, name: str, identifier: str, tags: Sequence[str]) -> str:
        """The image that the builder has under ``name``, whose ID is known to be this, or "": it gets ``tags`` here.
        Its ID."""
        try:
            if not identifier:
                raise NotFound(name)
            await self._images.get(identifier)
        except HyperError:
            identifier = await self._receive(builder, name, tags)
        for tag in tags:
            await self._images.tag(identifier, tag)
        return identifier

    async def push(self, tags: Sequence[str], credentials: CredentialsOf) -> str:
        """An image that has come, as it is named; the digest that a registry has it as."""
        digest = ""
        for tag in tags:
            digest = await self._images.push(tag, credentials=await credentials(parse(tag).registry))
        return digest

    def outlived(self, identifier: str) -> list[str]:
        """The builds whose results are to be removed from the builder, now that there is one of this.  The last ones
        stay for a while: a build that makes the same again need not lay its layers out again."""
        self._results.append(identifier)
        outlived = self._results[:-RESULTS_KEPT]
        del self._results[:-RESULTS_KEPT]
        return outlived

    async def _send(self, builder: Container, name: str) -> None:
        spec = ExecSpec(command=("docker", "load", "--quiet"), stdin=True, env=command.environment())
        attachment = await builder.execs.start_quietly(spec)
        async with finished(attachment, f"{name} cannot be given to the builder"):
            with contextlib.suppress(StreamClosed, Conflict):  # it has ended; why is what it says
                save = partial(self._images.save, [name], format="oci")
                async with contextlib.aclosing(written(lambda file: save(out=file))) as pieces:
                    async for data in pieces:
                        await attachment.write(data)
                await attachment.end_input()

    async def _receive(self, builder: Container, name: str, tags: Sequence[str]) -> str:
        spec = ExecSpec(command=("docker", "save", name), env=command.environment())
        attachment = await builder.execs.start_quietly(spec)
        async with finished(attachment, "the image cannot be had of the builder"):
            taken = partial(self._images.take, references=tags)
            return await read_by(output(attachment), taken, "the builder has ended")

    async def _known(self, builder: Container, name: str) -> str:
        try:
            facts, content = await builder.read_file(_note_of(name))
        except NotFound:
            return ""
        async with contextlib.aclosing(content):
            if facts.size_bytes > KNOWN_MAX_BYTES:
                return ""
            return b"".join([data async for data in content]).decode(errors="replace")

    async def _note(self, builder: Container, name: str, identifier: str) -> None:
        await builder.write_file(_note_of(name), pieces_of(identifier.encode()))


def _note_of(name: str) -> str:
    return f"{command.STATE}/images/{hashlib.sha256(parse(name).canonical.encode()).hexdigest()}"
