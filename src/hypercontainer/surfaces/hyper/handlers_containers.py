"""Handlers of the calls on containers and their processes; docs/api.md, "Containers"."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

import msgspec

from hypercontainer.contract import calls as m
from hypercontainer.contract.answers import Created, ExecState, Exit, Inspect, Sample
from hypercontainer.contract.spec import ContainerSpec, ExecSpec
from hypercontainer.engine.interface import Attachment, ProgressSink
from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.hyper import frames
from hypercontainer.surfaces.hyper.faults import FaultBody, fault_of
from hypercontainer.surfaces.hyper.progress import closed_after, every_second, value_lines
from hypercontainer.surfaces.hyper.routing import PROTOCOL, Call, Chunks, Nothing, Upgrade
from hypercontainer.surfaces.hyper.session import StreamSession


async def create(call: Call[Nothing, ContainerSpec]) -> Created:
    return await call.engine.containers.create(
        call.body, credentials=call.credentials, asked_by=call.peer_uid
    )


async def find(call: Call[m.ListQuery, Nothing]) -> m.ContainerList:
    query = call.query
    found = await call.engine.containers.find(
        include_stopped=query.all, filters=query.filters, size=query.size
    )
    return m.ContainerList(found)


async def inspect(call: Call[Nothing, Nothing]) -> Inspect:
    return await call.engine.containers.inspect(call.id)


async def start(call: Call[Nothing, Nothing]) -> None:
    await call.engine.containers.start(call.id)


async def stop(call: Call[Nothing, m.StopBody]) -> None:
    body = call.body
    await call.engine.containers.stop(call.id, timeout_s=body.timeout_s, signal=body.signal)


async def restart(call: Call[Nothing, m.RestartBody]) -> None:
    await call.engine.containers.restart(call.id, timeout_s=call.body.timeout_s)


async def kill(call: Call[Nothing, m.KillBody]) -> None:
    await call.engine.containers.kill(call.id, call.body.signal)


async def pause(call: Call[Nothing, Nothing]) -> None:
    await call.engine.containers.pause(call.id)


async def unpause(call: Call[Nothing, Nothing]) -> None:
    await call.engine.containers.unpause(call.id)


async def rename(call: Call[Nothing, m.RenameBody]) -> None:
    await call.engine.containers.rename(call.id, call.body.name)


async def resize(call: Call[Nothing, m.ResizeBody]) -> None:
    await call.engine.containers.resize(call.id, call.body.rows, call.body.columns)


async def wait(call: Call[m.WaitQuery, Nothing]) -> Exit:
    return await call.engine.containers.wait(call.id, call.query.condition)


async def remove(call: Call[m.ForceQuery, Nothing]) -> None:
    await call.engine.containers.remove(call.id, force=call.query.force)


async def logs(call: Call[m.LogsQuery, Nothing]) -> Chunks:
    await call.engine.containers.inspect(call.id)  # a container that is not there is an HTTP answer
    query = call.query
    entries = call.engine.containers.logs(
        call.id,
        follow=query.follow,
        since=query.since,
        until=query.until,
        tail=query.tail,
        timestamps=query.timestamps,
    )
    return Chunks(_log_frames(entries), at_once=True)


async def _log_frames(entries: AsyncIterator[tuple[int, bytes]]) -> AsyncGenerator[bytes, None]:
    try:
        async with closed_after(entries):
            async for channel, data in entries:
                yield frames.encode_all(channel, data)
    except Exception as error:
        yield frames.encode_all(frames.CONTROL, msgspec.json.encode(FaultBody(fault_of(error)[1])))


FILE_FACTS = {
    "Hyper-File-Mode": "Octal.",
    "Hyper-File-Uid": "Its owner.",
    "Hyper-File-Gid": "Its group.",
    "Hyper-File-Size": "In bytes, when it was opened; 0 for what the kernel makes up.",
}


async def read_file(call: Call[m.FileQuery, Nothing]) -> Chunks:
    facts, content = await call.engine.containers.read_file(call.id, call.query.path)
    said = (f"{facts.mode:04o}", str(facts.uid), str(facts.gid), str(facts.size_bytes))
    return Chunks(_pieces(content), headers=tuple(zip(FILE_FACTS, said, strict=True)))


async def _pieces(content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async with closed_after(content):
        async for piece in content:
            yield piece


async def write_file(call: Call[m.WriteFileQuery, Nothing]) -> None:
    query, stream = call.query, call.stream
    assert stream is not None
    await call.engine.containers.write_file(
        call.id, query.path, stream, mode=int(query.mode, 8), uid=query.uid, gid=query.gid
    )


async def top(call: Call[Nothing, Nothing]) -> m.ProcessList:
    return m.ProcessList(await call.engine.containers.top(call.id))


async def stats(call: Call[m.StatsQuery, Nothing]) -> Chunks | Sample:
    async def sample() -> Sample:
        return await call.engine.containers.stats(call.id)

    first = await sample()
    return Chunks(value_lines(every_second(first, sample))) if call.query.stream else first


async def attach(call: Call[m.AttachQuery, Nothing]) -> Upgrade:
    _need_upgrade(call.upgrade)
    query = call.query
    return carry(await call.engine.containers.attach(call.id, stdin=query.stdin, logs=query.logs))


async def run(call: Call[Nothing, ContainerSpec]) -> Upgrade:
    _need_upgrade(call.upgrade)

    async def begin(created: Callable[[Created], None], progress: ProgressSink) -> Attachment:
        return await call.engine.containers.run(
            call.body,
            credentials=call.credentials,
            created=created,
            progress=progress,
            asked_by=call.peer_uid,
        )

    return Upgrade(StreamSession(begin))


async def exec_create(call: Call[Nothing, ExecSpec]) -> m.ExecCreated:
    return m.ExecCreated(await call.engine.containers.exec_create(call.id, call.body))


async def exec_start(call: Call[Nothing, Nothing]) -> Upgrade | None:
    attachment = await call.engine.containers.exec_start(call.id)
    if attachment is None:
        return None
    if not call.upgrade:  # nobody listens: it goes on alone, as after a detach
        await attachment.close()
        return None
    return carry(attachment)


async def exec_resize(call: Call[Nothing, m.ResizeBody]) -> None:
    await call.engine.containers.exec_resize(call.id, call.body.rows, call.body.columns)


async def exec_inspect(call: Call[Nothing, Nothing]) -> ExecState:
    return await call.engine.containers.exec_inspect(call.id)


def carry(attachment: Attachment) -> Upgrade:
    async def begin(created: Callable[[Created], None], progress: ProgressSink) -> Attachment:
        return attachment

    return Upgrade(StreamSession(begin))


def _need_upgrade(asked: bool) -> None:
    if not asked:
        raise InvalidArgument(
            "this call goes on as frames", hint=f"send `Connection: Upgrade` and `Upgrade: {PROTOCOL}`"
        )
