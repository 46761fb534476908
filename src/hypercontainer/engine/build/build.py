"""One build, as a program that a client is attached to (``engine.interface.Attachment``)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager

import msgspec

from hypercontainer.contract.answers import Exit
from hypercontainer.contract.builds import BuildSpec
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine.build import command
from hypercontainer.engine.build.bases import Bases
from hypercontainer.engine.build.exchange import CredentialsOf, Exchange
from hypercontainer.engine.build.programs import STDERR, STDOUT, finished, run
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.container.trees import ITSELF, UNPACK
from hypercontainer.engine.pipes import pieces_of
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.process.streams import Pipe
from hypercontainer.errors import Conflict, HyperError, NotFound
from hypercontainer.image.dockerfile import images
from hypercontainer.linux.waiting import whole

log = logging.getLogger(__name__)

LEND = "hyper-lend"
INTERRUPT, CANCEL_S = "INT", 10.0  # what it is asked to end by, and how long that may take
FACTS_MAX_BYTES = DOCKERFILE_MAX_BYTES = 1 << 20
CANCELLED = 130


class Build:
    """``begin`` it, and close it.  ``held`` gives the builder's container, ``place`` a place among the builds."""

    def __init__(
        self,
        identifier: str,
        spec: BuildSpec,
        held: AbstractAsyncContextManager[Container],
        exchange: Exchange,
        bases: Bases,
        credentials: CredentialsOf,
        place: AbstractContextManager[None],
        called: str = "",
    ) -> None:
        self.called = called  # by its client
        self.id, self._spec, self._exchange = identifier, spec, exchange
        self._stack = contextlib.AsyncExitStack()
        self._held, self._place = held, place
        self._bases, self._credentials = bases, credentials
        self._pipes = {STDOUT: Pipe(), STDERR: Pipe()}
        self._agents: dict[str, ProcessAttachment] = {}
        self._context: ProcessAttachment | None = None
        self._program: ProcessAttachment | None = None
        self._work: asyncio.Task[Exit] | None = None
        self._cancelled = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def begin(self) -> None:
        try:
            self._stack.enter_context(self._place)
            self._builder = await self._stack.enter_async_context(self._held)
            self._stack.push_async_callback(self._tidy)
            await self._lay_out()
            for number, name in enumerate(self._spec.ssh):
                path = command.agent_path(self.id, number)
                self._agents[name] = await self._builder.beside(LEND, path, stdin=True)
            if not self._spec.remote:
                path = f"{command.WORK}/{self.id}/context"
                self._context = await self._builder.beside(UNPACK, path, "0", ITSELF, stdin=True)
        except BaseException:
            await whole(self._end())
            raise
        self._work = asyncio.create_task(self._whole(), name=f"build {self.id}")

    async def lend(self, ssh: str = "default") -> ProcessAttachment:
        """What speaks with the agent of this ID; once."""
        if ssh not in self._agents:
            raise NotFound(f"build {self.id} wants no agent {ssh}, or has one")
        return self._agents.pop(ssh)

    # ------------------------------------------------------------------------------------- for the client

    @property
    def tty(self) -> bool:
        return False

    async def read(self, channel: int) -> bytes:
        return await self._pipes[channel].get()

    async def write(self, data: bytes) -> None:
        if self._context is None:
            raise Conflict("the build's context comes from elsewhere")
        await self._context.write(data)

    async def end_input(self) -> None:
        if self._context is not None:
            await self._context.end_input()

    async def resize(self, rows: int, columns: int) -> None:
        if self._program is not None and self._program.tty:
            await self._program.resize(rows, columns)

    async def signal(self, name: str) -> None:
        """Any is a wish that it ends."""
        self._cancelled = True
        if self._program is not None:
            await self._program.signal(INTERRUPT)
        elif self._work is not None:
            self._work.cancel()

    async def exit(self) -> Exit:
        assert self._work is not None
        return await asyncio.shield(self._work)

    async def close(self) -> None:
        """It is over, or ended now; what it has in the builder goes."""
        for pipe in self._pipes.values():
            pipe.leave()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

    # ------------------------------------------------------------------------------------- the work

    async def _whole(self) -> Exit:
        try:
            return await self._worked()
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            return Exit(CANCELLED, "the build was cancelled")
        except HyperError as error:
            return Exit(1, str(error))
        finally:
            for pipe in self._pipes.values():
                pipe.end()
            self._ending = asyncio.create_task(self._end())  # nobody waits for it

    async def _end(self) -> None:
        try:
            await self._stack.aclose()
        finally:
            if not self.over.done():
                self.over.set_result(None)

    async def _worked(self) -> Exit:
        await self._exchange.hand_over(self._builder, self._spec.images)
        if self._context is not None:
            async with finished(self._context, "the context cannot be laid out"):
                pass
            if self._spec.dockerfile is None:
                await self._bring()
        status = await self._run()
        if self._cancelled or status:
            return Exit(CANCELLED if self._cancelled else status)
        if self._spec.output == "image":
            await self._take_image()
        else:
            await self._pass_on()
        return Exit(0)

    async def _run(self) -> int:
        spec, terminal = self._spec, self._spec.progress == "tty"
        wanted = ExecSpec(
            command=command.argv(spec, self.id),
            env=(*command.environment(), *(("TERM=xterm-256color",) if terminal else ())),
            tty=terminal,
            rows=spec.rows,
            columns=spec.columns,
        )
        self._program = program = await self._builder.execs.start_quietly(wanted)
        channels = (STDOUT,) if terminal else (STDOUT, STDERR)
        try:
            await asyncio.gather(*(self._tell(program, channel) for channel in channels))
            return (await program.exit()).exit_status
        except BaseException:
            await whole(_ended(program))
            raise
        finally:
            self._program = None
            await program.close()

    async def _tell(self, program: ProcessAttachment, channel: int) -> None:
        """Whatever it says is told of the work: the result has a file."""
        while data := await program.read(channel):
            await self._pipes[STDERR].put(data)

    async def _take_image(self) -> None:
        name = command.result_name(self.id)
        identifier = await self._exchange.take_back(self._builder, name, await self._made(), self._spec.tags)
        await self._pipes[STDOUT].put(f"{identifier}\n".encode())

    async def _bring(self) -> None:
        """The images that a Dockerfile in the context names."""
        spec = self._spec
        try:
            text = await self._read(command.dockerfile_path(spec, self.id), DOCKERFILE_MAX_BYTES)
        except NotFound:
            name = spec.dockerfile_path or "Dockerfile"
            raise NotFound(f"Cannot locate specified Dockerfile: {name}") from None
        names = images(text.decode(errors="replace"), spec.args)
        await self._bases.bring(
            self._builder, names, self._credentials, pull=spec.pull, platform=spec.platform
        )

    async def _made(self) -> str:
        """The image's ID, as the builder has written it down."""
        said = await self._read(command.facts_path(self.id), FACTS_MAX_BYTES)
        try:
            return str(msgspec.json.decode(said, type=dict[str, object])["containerimage.config.digest"])
        except (msgspec.DecodeError, KeyError) as error:
            raise Conflict(f"the builder does not say which image it has made: {error}") from error

    async def _read(self, path: str, limit_bytes: int) -> bytes:
        """A file of its in the builder."""
        facts, content = await self._builder.read_file(path)
        async with contextlib.aclosing(content):
            if facts.size_bytes > limit_bytes:
                raise Conflict(f"{posixpath.basename(path)} has more than {limit_bytes} bytes")
            return b"".join([data async for data in content])

    async def _pass_on(self) -> None:
        _, content = await self._builder.read_file(command.archive_path(self.id))
        async with contextlib.aclosing(content):
            async for data in content:
                await self._pipes[STDOUT].put(data)

    # ------------------------------------------------------------------------------------- its files in the builder

    async def _lay_out(self) -> None:
        spec = self._spec
        files = {}
        if spec.dockerfile is not None:
            files[f"file/{spec.dockerfile_name}"] = spec.dockerfile.encode()
            if spec.ignore is not None:
                files[f"file/{spec.dockerfile_name}.dockerignore"] = spec.ignore.encode()
        secrets = {f"secret{number}": each.content for number, each in enumerate(spec.secrets)}
        secrets |= {f"key{number}": each.content for number, each in enumerate(spec.ssh_keys)}
        await self._builder.unpack(command.WORK, pieces_of(_tree(self.id, files, empty=("context", "file"))))
        if secrets or spec.ssh:
            await self._builder.unpack(command.IN_MEMORY, pieces_of(_tree(self.id, secrets)))

    async def _tidy(self) -> None:
        """Nothing of it stays but the cache, and for a while an image."""
        for agent in self._agents.values():
            with contextlib.suppress(HyperError):
                await _ended(agent)
        for words in (
            ("rm", "-rf", f"{command.WORK}/{self.id}", f"{command.IN_MEMORY}/{self.id}"),
            command.removal(self._exchange.outlived(self.id) if self._spec.output == "image" else ()),
        ):
            await run(self._builder, words)


async def _ended(program: ProcessAttachment) -> None:
    """Asked to, and after a while told to."""
    for name in (INTERRUPT, "KILL"):
        with contextlib.suppress(HyperError, TimeoutError):
            await program.signal(name)
            async with asyncio.timeout(CANCEL_S):
                await program.exit()
                return


def _tree(name: str, files: dict[str, bytes], *, empty: tuple[str, ...] = ()) -> bytes:
    """An archive of a directory that is root's alone."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for info, content in _entries(name, files, empty):
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def _entries(
    name: str, files: dict[str, bytes], empty: tuple[str, ...]
) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for path in (name, *(f"{name}/{each}" for each in empty)):
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, 0o700
        yield info, b""
    for path, content in files.items():
        info = tarfile.TarInfo(f"{name}/{path}")
        info.mode, info.size = 0o600, len(content)
        yield info, content
