"""Processes that are added to a container that runs."""

from __future__ import annotations

from msgspec import Struct

from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine.sandbox.execs import Exec
from hypercontainer.errors import GuestError, InvalidArgument
from hypercontainer.surfaces.docker.call import Call, done, found
from hypercontainer.surfaces.docker.containers import size_of
from hypercontainer.surfaces.docker.streams import (
    STDERR,
    STDOUT,
    ProcessSession,
    Wish,
    WordsSession,
    hijacked,
)
from hypercontainer.surfaces.docker.wording import message
from hypercontainer.surfaces.http.answers import Answer, Reply

Size = tuple[int, int]  # rows, columns


class ExecBody(Struct, rename="pascal"):
    user: str | None = None
    privileged: bool | None = None
    tty: bool | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    detach_keys: str | None = None
    env: list[str] | None = None
    working_dir: str | None = None
    cmd: list[str] | str | None = None
    console_size: Size | None = None


class StartBody(Struct, rename="pascal"):
    detach: bool | None = None
    tty: bool | None = None
    console_size: Size | None = None


async def create(call: Call) -> Reply:
    body = call.json(ExecBody)
    command = (body.cmd,) if isinstance(body.cmd, str) else tuple(body.cmd or ())
    if not command:
        raise InvalidArgument("no exec command specified")
    rows, columns = body.console_size or (0, 0)
    spec = ExecSpec(
        command=command,
        env=tuple(body.env or ()),
        working_dir=body.working_dir or None,
        user=body.user or None,
        tty=bool(body.tty),
        stdin=bool(body.attach_stdin),
        privileged=bool(body.privileged),
        rows=rows,
        columns=columns,
    )
    container = await call.container()
    return found({"Id": await container.exec_create(spec)}, 201)


async def start(call: Call) -> Answer:
    body = call.json(StartBody, empty=True)
    held = await call.exec()
    tty = held.spec.tty
    try:
        attachment = await held.start()
    except GuestError as error:
        if body.detach:
            raise
        return hijacked(call, WordsSession(message(error), tty=tty), tty=tty)
    assert attachment is not None  # its specification does not say that nobody wants to be
    if body.console_size and tty:
        await held.resize(*body.console_size)
    if body.detach:
        await attachment.close()
        return done(200)
    return hijacked(call, ProcessSession(attachment, Wish((STDOUT, STDERR), held.spec.stdin)), tty=tty)


async def resize(call: Call) -> Reply:
    rows, columns = size_of(call)
    await (await call.exec()).resize(rows, columns)
    return done(200)


async def inspect(call: Call) -> Reply:
    held = await call.exec()
    state = await held.inspect()
    return found(_shape(held, state.running, state.exit_status, state.pid, state.container))


def _shape(held: Exec, running: bool, exit_status: int | None, pid: int, container: str) -> dict[str, object]:
    spec = held.spec
    return {
        "ID": held.id,
        "Running": running,
        "ExitCode": exit_status,
        "ProcessConfig": {
            "tty": spec.tty,
            "entrypoint": spec.command[0],
            "arguments": list(spec.command[1:]),
            "privileged": spec.privileged,
            **({"user": spec.user} if spec.user else {}),
        },
        "OpenStdin": spec.stdin,
        "OpenStderr": True,
        "OpenStdout": True,
        "CanRemove": exit_status is not None,
        "ContainerID": container,
        "DetachKeys": "",
        "Pid": pid,
    }
