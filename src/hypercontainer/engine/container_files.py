"""Files of a container that has a VM, by programs that hyperstart is: no image needs to have any for it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, BinaryIO

from hypercontainer.agent.operations import ProcessPlan
from hypercontainer.engine import plan
from hypercontainer.engine.execs import Execs
from hypercontainer.engine.process import ProcessAttachment
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound, StreamClosed
from hypercontainer.types.answers import FileFacts
from hypercontainer.types.spec import ExecSpec

if TYPE_CHECKING:
    from hypercontainer.engine.container import Container
    from hypercontainer.engine.pod import Pod

READ, WRITE = "hyper-read", "hyper-write"
STDOUT, STDERR = 1, 2
CHUNK_BYTES = 64 * 1024
HEAD_MAX_BYTES = 1024


class _Files:
    """``execs.Owner``: what works on the files of a container whose guest has it, whether or not it runs."""

    def __init__(self, container: Container) -> None:
        self._container = container

    @property
    def id(self) -> str:
        return self._container.id

    @property
    def pod(self) -> Pod:
        return self._container.pod

    def exec_plan(self, spec: ExecSpec, number: int) -> ProcessPlan:
        return plan.vm_process(spec, number, tools=self._container.id)

    def tell(self, action: str, /, **attributes: str) -> None:
        self._container.tell(action, **attributes)


async def _start(container: Container, *command: str) -> ProcessAttachment:
    spec = ExecSpec(command=command, stdin=command[0] == WRITE)
    return await Execs(_Files(container)).start_quietly(spec)


async def read(
    container: Container, path: str, *, ended: bool = False
) -> tuple[FileFacts, AsyncIterator[bytes]]:
    """What the file is, and its bytes.  NotFound, InvalidArgument for what is no regular file.

    ``ended``: its program has ended just now, and its guest still has it.
    """
    _check(path)
    if not ended:
        container.running_init()
    attachment = await _start(container, READ, path)
    try:
        head = b""
        while b"\n" not in head and (data := await attachment.read(STDERR)):
            head += data[: HEAD_MAX_BYTES - len(head)]
        words = head.partition(b"\n")[0].split()
        try:
            mode, uid, gid, size = int(words[0], 8), *map(int, words[1:4])
        except (ValueError, IndexError):
            raise await _failure(container, path, attachment) from None
    except BaseException:
        await attachment.close()
        raise
    return FileFacts(mode & 0o7777, uid, gid, size), _content(container, path, attachment)


async def _content(container: Container, path: str, attachment: ProcessAttachment) -> AsyncIterator[bytes]:
    try:
        while data := await attachment.read(STDOUT):
            yield data
        if (await attachment.exit()).exit_status:
            raise await _failure(container, path, attachment)
    finally:
        if not attachment.left:
            await _end(attachment)


async def write(
    container: Container, path: str, content: BinaryIO, *, mode: int = 0o644, uid: int = 0, gid: int = 0
) -> None:
    """The file is whole or as it was; its directory has to be there.  ``content`` is read in a thread."""
    _check(path)
    if not 0 <= mode <= 0o7777:
        raise InvalidArgument(f"mode {mode:o}: no mode of a file", hint="from 0 to 7777")
    container.running_init()
    attachment = await _start(container, WRITE, path, f"{mode:o}", str(uid), str(gid))
    try:
        try:
            while data := await asyncio.to_thread(content.read, CHUNK_BYTES):
                await attachment.write(data)
            await attachment.end_input()
        except StreamClosed:
            pass  # it has ended; why is what follows
        if (await attachment.exit()).exit_status:
            raise await _failure(container, path, attachment)
    except BaseException:
        await _end(attachment)
        raise
    await attachment.close()


async def _end(attachment: ProcessAttachment) -> None:
    with contextlib.suppress(HyperError):  # it has ended, or its guest has
        await attachment.signal("KILL")
    await attachment.close()


async def _failure(container: Container, path: str, attachment: ProcessAttachment) -> HyperError:
    status = (await attachment.exit()).exit_status
    what = f"{container.what}: {path}: {os.strerror(status)}"
    if status in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(what)
    if status in (errno.EISDIR, errno.EINVAL):
        return InvalidArgument(f"{container.what}: {path} is no regular file")
    return Conflict(what)


def _check(path: str) -> None:
    if not path.startswith("/") or "\0" in path or len(path) > 4095 or path.endswith("/"):
        raise InvalidArgument(f"{path!r} is no path of a file in a container", hint="an absolute path")
