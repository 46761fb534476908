"""A container's life: started, ended, waited for, attached to, removed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from hypercontainer.contract.answers import Exit
from hypercontainer.contract.detach import parse_keys
from hypercontainer.engine.container.container import Container
from hypercontainer.errors import Conflict, GuestError, InvalidArgument, NameTaken, NotSupported
from hypercontainer.surfaces.docker.call import Call, done, found
from hypercontainer.surfaces.docker.creating import name_taken
from hypercontainer.surfaces.docker.streams import (
    RAW,
    STDERR,
    STDOUT,
    PiecesSession,
    ProcessSession,
    Wish,
    hijacked,
    joined,
)
from hypercontainer.surfaces.docker.websocket import websocket
from hypercontainer.surfaces.docker.wording import told
from hypercontainer.surfaces.http.answers import JSON, Answer, Chunks, Reply, json_line

NOT_MODIFIED = 304
NOTHING_TO_SAY = 2  # bytes of "{}", which some clients send where there is no body
_CONDITIONS = {
    "": "not-running",
    "not-running": "not-running",
    "next-exit": "next-exit",
    "removed": "removed",
}


_ALIVE = ("starting", "running", "paused", "restarting")  # there is something to stop


async def start(call: Call) -> Reply:
    if len(call.body) > NOTHING_TO_SAY:
        raise InvalidArgument("start takes no body: what a container is like is said when it is created")
    container = await call.container()
    if (await container.inspect()).state == "running":
        return done(NOT_MODIFIED)
    await container.start()
    return done()


async def stop(call: Call) -> Reply:
    container = await call.container()
    if not await _is_alive(container):
        return done(NOT_MODIFIED)
    await container.stop(timeout_s=call.query.number("t"), signal=_signal(call))
    return done()


async def restart(call: Call) -> Reply:
    await (await call.container()).restart(timeout_s=call.query.number("t"), signal=_signal(call))
    return done()


def _signal(call: Call) -> str | None:
    """Which older versions do not know of."""
    return call.query.text("signal") or None if call.version >= (1, 42) else None


async def kill(call: Call) -> Reply:
    container = await call.container()
    not_running = Conflict(f"cannot kill container: {call.name}: container {container.id} is not running")
    if not await _is_alive(container):
        raise not_running
    try:
        await container.kill(call.query.text("signal") or "KILL")
    except GuestError:
        if await _is_alive(container):
            raise
        raise not_running from None
    return done()


async def _is_alive(container: Container) -> bool:
    return (await container.inspect()).state in _ALIVE


async def pause(call: Call) -> Reply:
    await (await call.container()).pause()
    return done()


async def unpause(call: Call) -> Reply:
    await (await call.container()).unpause()
    return done()


async def rename(call: Call) -> Reply:
    if not (name := call.query.text("name").removeprefix("/")):
        raise InvalidArgument("neither old nor new names may be empty")
    container = await call.container()
    try:
        await container.rename(name)
    except NameTaken as error:
        raise await name_taken(call, name) from error
    return done()


async def resize(call: Call) -> Reply:
    rows, columns = size_of(call)
    await (await call.container()).resize(rows, columns)
    return done(200)


def size_of(call: Call) -> tuple[int, int]:
    """Of a terminal, (rows, columns)."""
    found = [call.query.number(name) for name in "hw"]
    rows, columns = (-1 if each is None else each for each in found)
    if not (0 <= rows <= 65535 and 0 <= columns <= 65535):
        raise InvalidArgument("invalid size of a terminal: h and w are from 0 to 65535")
    return rows, columns


async def remove(call: Call) -> Reply:
    if call.query.flag("link"):
        raise NotSupported(
            "there are no links to remove: containers find one another by the names of a network"
        )
    container, force = await call.container(), call.query.flag("force")
    known = await container.inspect()
    if known.state in _ALIVE and not force:
        raise Conflict(
            f'cannot remove container "/{known.name}": container is {known.state}: '
            "stop the container before removing or force remove"
        )
    await container.remove(force=force, volumes=call.query.flag("v"))
    return done()


async def prune(call: Call) -> Reply:
    removed, freed = await call.engine.containers.prune(filters=call.query.filters(pruning=True))
    return found({"ContainersDeleted": removed or None, "SpaceReclaimed": freed})


async def checkpoint(call: Call) -> Reply:
    await call.container()
    raise NotSupported(
        "checkpoints are not made of containers here: a process's memory is its virtual machine's",
        hint="`docker pause` keeps it still, `docker commit` keeps its files",
    )


# ------------------------------------------------------------------------------------- waited for


async def wait(call: Call) -> Chunks:
    condition = _CONDITIONS.get(call.query.text("condition"))
    if condition is None:
        raise InvalidArgument(f'invalid condition: "{call.query.text("condition")[:80]}"')
    outcome = _outcome(await call.container(), condition)
    # Before the head goes out: it is what ``docker run`` waits for to start the container.
    await anext(outcome)
    return Chunks(200, (("Content-Type", JSON),), outcome, at_once=True)


async def _outcome(container: Container, condition: str) -> AsyncGenerator[bytes, None]:
    waiting = asyncio.ensure_future(container.wait(condition))
    await asyncio.sleep(0)  # it has begun to
    try:
        yield b""
        yield _status(await waiting)
    except Exception as error:
        yield json_line({"StatusCode": -1, "Error": {"Message": told(error)[1]}})
    finally:
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await waiting


def _status(ended: Exit) -> bytes:
    """Why a start failed is start's to say: an error here would be one of waiting."""
    return json_line({"StatusCode": ended.exit_status})


# ------------------------------------------------------------------------------------- attached to


async def attach(call: Call) -> Answer:
    """Also to one that does not run yet: its output is there from the first byte on."""
    try:
        session: ProcessSession | PiecesSession = await (
            _attached(call) if call.query.flag("stream") else _logged(call)
        )
    except Exception as error:  # as clients have it that expect no JSON here
        status, words = told(error)
        return Reply(status, (("Content-Type", RAW),), f"{words}\r\n".encode())
    return hijacked(call, session, tty=session.tty)


async def attach_websocket(call: Call) -> Answer:
    return websocket(call, await _attached(call))


def _channels(call: Call) -> set[int]:
    return {channel for channel, name in ((STDOUT, "stdout"), (STDERR, "stderr")) if call.query.flag(name)}


async def _attached(call: Call) -> ProcessSession:
    query, container = call.query, await call.entered()
    if (await container.inspect()).state == "paused":
        raise Conflict(f"container {call.name} is paused, unpause the container before attach")
    stdin = query.flag("stdin")
    keys = parse_keys(query.text("detachKeys")) if stdin else b""
    attachment = await container.attach(stdin=stdin, logs=query.flag("logs"))
    return ProcessSession(attachment, Wish(_channels(call), stdin, keys))


async def _logged(call: Call) -> PiecesSession:
    """What it has written until now, if that is asked for: nothing that is still to come."""
    container = await call.container()
    channels = _channels(call) if call.query.flag("logs") else ()
    tty = (await container.inspect()).spec.tty
    return PiecesSession(joined(container.logs(), channels, tty=tty), tty=tty)
