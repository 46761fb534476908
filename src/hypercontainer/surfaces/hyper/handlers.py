"""The calls that are more than a method and its arguments (``native.perform``)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import msgspec

from hypercontainer import __version__
from hypercontainer.contract.answers import Created
from hypercontainer.contract.calls import Ping
from hypercontainer.contract.frames import CONTROL, frames
from hypercontainer.contract.routes import PROTOCOL, VERSION
from hypercontainer.engine.interface import Attachment, ProgressSink
from hypercontainer.engine.pipes import written
from hypercontainer.errors import InvalidArgument
from hypercontainer.semantics import shape
from hypercontainer.surfaces.http.answers import (
    Chunks,
    Reply,
    Upgrade,
    closed_after,
    every_second,
    json_reply,
    passed_on,
)
from hypercontainer.surfaces.hyper.call import Call, Handler
from hypercontainer.surfaces.hyper.faults import FaultBody, fault_of
from hypercontainer.surfaces.hyper.progress import value_lines
from hypercontainer.surfaces.hyper.session import StreamSession

# hyperd itself


async def ping(call: Call) -> Reply:
    return call.reply(Ping(__version__, VERSION))


async def version(call: Call) -> Reply:
    method = await call.method()
    return call.reply(msgspec.to_builtins(Ping(__version__, VERSION)) | await method())


async def info(call: Call) -> Reply:
    """In Docker's words, as ``hyper info`` shows it."""
    method = await call.method()
    return call.reply(shape.info(msgspec.to_builtins(await method())))


async def shutdown(call: Call) -> Reply:
    call.shutdown(call.body.stop_containers)
    return call.reply(None)


async def openapi(call: Call) -> Reply:
    from hypercontainer.surfaces.hyper.openapi import document  # late: few ask for it

    return call.reply(document())


# Bodies that are made as they go


async def logs(call: Call) -> Chunks:
    method = await call.method()
    return call.chunks(_log_frames(method()), at_once=True)


async def _log_frames(entries: AsyncIterator[tuple[int, bytes]]) -> AsyncGenerator[bytes, None]:
    try:
        async with closed_after(entries):
            async for channel, data in entries:
                yield frames(channel, data)
    except Exception as error:
        yield frames(CONTROL, msgspec.json.encode(FaultBody(fault_of(error)[1])))


async def stats(call: Call) -> Reply | Chunks:
    async def sample() -> Any:
        return call.wrapped(await (await call.target()).stats())

    first = await sample()
    if not call.query.stream:
        return json_reply(first)
    return call.chunks(value_lines(every_second(first, sample)))


async def read_file(call: Call) -> Chunks:
    method = await call.method()
    facts, content = await method()
    said = (f"{facts.mode:04o}", str(facts.uid), str(facts.gid), str(facts.size_bytes))
    return call.chunks(passed_on(content), headers=tuple(zip(call.route.tells, said, strict=True)))


async def write_file(call: Call) -> Reply:
    given = call.arguments()
    given |= {"content": given.pop("stream"), "mode": int(given["mode"], 8)}
    return call.reply(await (await call.target()).write_file(**given))


async def pack(call: Call) -> Chunks:
    method = await call.method()
    facts, archive = await method()
    said = b64encode(msgspec.json.encode(facts)).decode()
    return call.chunks(passed_on(archive), headers=tuple(zip(call.route.tells, (said,), strict=True)))


async def export(call: Call) -> Chunks:
    method = await call.method()
    return call.chunks(passed_on(await method()))


async def save(call: Call) -> Chunks:
    method = await call.method()
    return call.chunks(written(lambda file: method(out=file)))


# Pods


async def create_pod(call: Call) -> Reply:
    pods = await call.target()
    created = await pods.create(call.body, **call.on_behalf())
    if call.query.start:
        await (await pods.held(created.id)).start()
    return call.reply(created)


# Connections that go on as frames


async def attach(call: Call) -> Upgrade:
    _need_upgrade(call)
    method = await call.method()
    return carry(await method())


async def run(call: Call) -> Upgrade:
    """Or another call that makes what it attaches to."""
    _need_upgrade(call)
    method = await call.method()

    async def begin(created: Callable[[Created], None], progress: ProgressSink) -> Attachment:
        attachment: Attachment = await method(created=created, progress=progress)
        return attachment

    return Upgrade(PROTOCOL, StreamSession(begin))


async def exec_start(call: Call) -> Upgrade | Reply:
    method = await call.method()
    attachment: Attachment | None = await method()
    if attachment is None:
        return call.reply(None)
    if not call.upgrade:  # nobody listens: it goes on alone, as after a detach
        await attachment.close()
        return call.reply(None)
    return carry(attachment)


def carry(attachment: Attachment) -> Upgrade:
    async def begin(created: Callable[[Created], None], progress: ProgressSink) -> Attachment:
        return attachment

    return Upgrade(PROTOCOL, StreamSession(begin))


def _need_upgrade(call: Call) -> None:
    if not call.upgrade:
        raise InvalidArgument(
            "this call goes on as frames", hint=f"send `Connection: Upgrade` and `Upgrade: {PROTOCOL}`"
        )


HANDLERS: dict[str, Handler] = {
    "system.ping": ping,
    "system.version": version,
    "system.info": info,
    "system.shutdown": shutdown,
    "system.openapi": openapi,
    "images.save": save,
    "images.build": run,
    "images.lend_agent": attach,
    "containers.logs": logs,
    "containers.stats": stats,
    "containers.read_file": read_file,
    "containers.write_file": write_file,
    "containers.pack": pack,
    "containers.export": export,
    "containers.attach": attach,
    "containers.run": run,
    "containers.exec_start": exec_start,
    "pods.create": create_pod,
    "pods.stats": stats,
    "volumes.pack": pack,
}
