"""BuildKit's own protocol: a client's gRPC is passed on to the BuildKit of the builder, and its sessions back.

Most calls pass untouched.  A build is held up twice: before its Dockerfile is read the images that this names are given
to the builder, and before the client hears that it is done its image has come into the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from h2.errors import ErrorCodes

from hypercontainer.engine import names, protobuf
from hypercontainer.engine.build import command, solving
from hypercontainer.engine.build.bases import Bases
from hypercontainer.engine.build.exchange import CredentialsOf, Exchange, nobodys
from hypercontainer.engine.build.grpc import Late, Reset, Reworded, Whole, framed, path_of, refusal, value_of
from hypercontainer.engine.build.http2 import Carrier, Fields, Link, Outward, Wire
from hypercontainer.engine.build.programs import run
from hypercontainer.engine.build.sessions import ClientSession
from hypercontainer.engine.build.wires import dialed
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.turns import Turns
from hypercontainer.errors import Conflict, HyperError
from hypercontainer.image.dockerfile import images
from hypercontainer.image.reference import is_digest

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 64
SESSION_S = 5.0  # for the session of a build to come, as BuildKit waits for it

Held = Callable[[], AbstractAsyncContextManager[Container]]


class Control:
    """All that is spoken with BuildKit.  ``Builder.held`` is given by who knows on whose behalf."""

    def __init__(self, bases: Bases, exchange: Exchange) -> None:
        self._bases, self._exchange = bases, exchange
        self._turns = Turns("connections to the builder", CONNECTIONS_MAX)
        self._sessions: dict[str, ClientSession] = {}
        self._came = asyncio.Condition()
        self._tidying: set[asyncio.Task[None]] = set()
        self.sessions_of: dict[str, str] = {}  # by the name of a build that goes on

    async def close(self) -> None:
        for task in self._tidying:
            task.cancel()
        await asyncio.gather(*self._tidying, return_exceptions=True)

    async def serve(self, wire: Wire, held: Held) -> None:
        """A client that calls BuildKit, until it goes."""
        with self._turns.held():
            await Caller(self, wire, held).run()

    async def serve_session(
        self, wire: Wire, held: Held, identifier: str, fields: Sequence[tuple[str, str]]
    ) -> None:
        """A client that BuildKit calls.  ``fields`` say which calls it takes."""
        with self._turns.held():
            async with held() as builder, dialed(builder) as far:
                await far.upgrade("/session", fields)
                session = ClientSession(wire, far)
                async with self._known(identifier, session):
                    await session.run()

    @contextlib.asynccontextmanager
    async def _known(self, identifier: str, session: ClientSession) -> AsyncIterator[None]:
        if identifier in self._sessions:
            raise Conflict("there is a session of this name already")
        async with self._came:
            self._sessions[identifier] = session
            self._came.notify_all()
        try:
            yield
        finally:
            del self._sessions[identifier]

    async def _session(self, identifier: str) -> ClientSession | None:
        """None where none comes."""
        if not identifier:
            return None
        try:
            async with asyncio.timeout(SESSION_S), self._came:
                await self._came.wait_for(lambda: identifier in self._sessions)
        except TimeoutError:
            return None
        return self._sessions.get(identifier)

    @contextlib.contextmanager
    def going(self, job: solving.Job) -> Iterator[None]:
        self.sessions_of[job.ref] = job.session
        try:
            yield
        finally:
            self.sessions_of.pop(job.ref, None)

    async def prepared(self, builder: Container, path: str, message: bytes, session: str) -> bytes:
        """A call that may have a Dockerfile read: the builder then has the images that it names."""
        frontend = solving.frontend(path, message)
        resolved = False
        if frontend.name:
            resolved = await self._bring(builder, frontend, await self._session(session))
        return solving.with_options(path, message, solving.as_here(frontend.options, resolved=resolved))

    async def _bring(
        self, builder: Container, frontend: solving.Frontend, session: ClientSession | None
    ) -> bool:
        """Whether the builder has all of them."""
        named = frontend.named()
        if session is not None and not frontend.remote:
            try:
                text = await session.dockerfile(*frontend.dockerfile)
            except HyperError as error:
                log.info("what a Dockerfile names is not known: %s", error)
            else:
                named += images(text, frontend.args)

        platform = frontend.options.get("platform", "")
        return await self._bases.bring(
            builder,
            named,
            _credentials(session),
            pull=frontend.pulls,
            platform=platform if platform and "," not in platform else None,
        )

    async def take_back(self, builder: Container, name: str, answer: bytes, job: solving.Job) -> bytes:
        said = solving.facts(answer).get(solving.CONFIG_DIGEST, "")  # not of an image with attestations
        known = said if is_digest(said) else ""
        identifier = digest = await self._exchange.take_back(builder, name, known, job.tags)
        if job.pushed:
            session = await self._session(job.session)
            digest = await self._exchange.push(job.tags, _credentials(session))
        return solving.settled(answer, name, job, identifier, digest)

    def forget(self, builder: Container, result: str) -> None:
        """The image of a build is here, and that of an earlier one goes from the builder: nobody waits for it."""
        if words := command.removal(self._exchange.outlived(result)):
            task = asyncio.create_task(run(builder, words))
            self._tidying.add(task)
            task.add_done_callback(self._tidying.discard)


def _credentials(session: ClientSession | None) -> CredentialsOf:
    return session.credentials if session is not None else nobodys


class Caller:
    """One client."""

    def __init__(self, control: Control, wire: Wire, held: Held) -> None:
        self._control, self._held = control, held
        self._near = Link(wire, caller=True, opened=self._opened)
        self._carrier = Carrier()
        self._stack = contextlib.AsyncExitStack()
        self._far: asyncio.Task[Link] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._names: dict[str, list[str]] = {}  # of its builds' images, by what the builder calls them

    async def run(self) -> None:
        self._carrier.add(self._near)
        try:
            await self._carrier.run()
        finally:
            tasks = [*self._calls, *([self._far] if self._far is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stack.aclose()

    def _opened(self, stream: int, fields: Fields) -> Late:
        if self._far is None:
            self._far = asyncio.create_task(self._dial())
        late = Late()
        task = asyncio.create_task(self._call(stream, fields, late))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return late

    async def _dial(self) -> Link:
        self._builder = await self._stack.enter_async_context(self._held())
        wire = await self._stack.enter_async_context(dialed(self._builder))
        await wire.upgrade("/grpc", ())
        far = Link(wire, caller=False)
        self._carrier.add(far)
        return far

    async def _call(self, stream: int, fields: Fields, late: Late) -> None:
        back = Outward(self._near, stream)
        try:
            assert self._far is not None
            far = await asyncio.shield(self._far)
            path = path_of(fields)
            if path in solving.FRONTENDS:
                await self._looked_at(far, path, fields, late, back)
            elif path == solving.CONTROL_STATUS:
                told = Reworded(back, lambda news: solving.reworded(news, self._names))
                late.become(far.open(fields, told))
            else:
                late.become(far.open(fields, back))
        except Reset as error:
            back.reset(error.reset_code)
        except HyperError as error:
            back.headers(refusal(error), ended=True)
        except protobuf.Malformed as error:
            back.headers(refusal(Conflict(f"BuildKit: {error}")), ended=True)
        except Exception:
            log.exception("a call of BuildKit's")
            back.reset(ErrorCodes.INTERNAL_ERROR)

    async def _looked_at(self, far: Link, path: str, fields: Fields, late: Late, back: Outward) -> None:
        task = asyncio.current_task()
        assert task is not None
        asked = Whole(task.cancel)  # its client does not want it any more
        late.become(asked)
        message = await asked.message()
        if message is None:
            raise Conflict("BuildKit is asked for a build without a word")
        if path == solving.CONTROL_SOLVE:
            await self._build(far, message, fields, back)
        else:
            session = self._control.sessions_of.get(value_of(fields, solving.BUILD_ID), "")
            message = await self._control.prepared(self._builder, path, message, session)
            async with _answered(far, fields, message) as answer:
                _tell(back, answer, await answer.message())

    async def _build(self, far: Link, message: bytes, fields: Fields, back: Outward) -> None:
        job, result = solving.job(message), names.new_id()[:24]
        here = job.names
        message = await self._control.prepared(self._builder, solving.CONTROL_SOLVE, message, job.session)
        message, name = solving.entitled(message), command.result_name(result)
        if job.images:
            message = solving.redirected(message, name)
            self._names[name] = here
        with self._control.going(job):
            async with _answered(far, fields, message) as answer:
                said = await answer.message()
        if said is not None and job.images:
            try:
                said = await self._control.take_back(self._builder, name, said, job)
            finally:
                self._control.forget(self._builder, result)
        _tell(back, answer, said)


@contextlib.asynccontextmanager
async def _answered(far: Link, fields: Fields, message: bytes) -> AsyncIterator[Whole]:
    """A call that is passed on.  Who breaks off gives it up."""
    answer = Whole()
    out = far.open(fields, answer)
    out.data(framed(message), lambda: None)
    out.end()
    try:
        yield answer
    except BaseException:
        out.reset(ErrorCodes.CANCEL)
        raise


def _tell(back: Outward, answer: Whole, message: bytes | None) -> None:
    *heads, trailers = answer.heads
    for head in heads:
        back.headers(head, ended=False)
    if message is not None:
        back.data(framed(message), lambda: None)
    back.headers(trailers, ended=True)
