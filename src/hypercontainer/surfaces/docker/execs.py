"""Processes that are added to a container that runs."""

from __future__ import annotations

import contextlib
import re

from msgspec import Struct

from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.interface import Attachment
from hypercontainer.engine.sandbox.execs import Exec
from hypercontainer.errors import Conflict, HyperError, InvalidArgument
from hypercontainer.surfaces.docker.call import Call, done, found
from hypercontainer.surfaces.docker.containers import size_of
from hypercontainer.surfaces.docker.streams import STDERR, STDOUT, LaterSession, Wish, hijacked
from hypercontainer.surfaces.http.answers import Answer, Reply

Size = tuple[int, int]  # rows, columns
_NUMBERS = re.compile(r"[0-9]{1,9}(:[0-9]{1,9})?")  # of a user, who need not be in any file


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
    container = await call.entered()
    if body.user and not _NUMBERS.fullmatch(body.user):
        await container.check_user(body.user)
    return found({"Id": await container.exec_create(spec)}, 201)


async def start(call: Call) -> Answer:
    body = call.json(StartBody, empty=True)
    held = await call.exec()
    container = await call.entered((await held.inspect()).container)
    if body.detach:
        await (await _started(held, body)).close()
        return done(200)
    await _check_startable(container, held)
    wish, tty = Wish((STDOUT, STDERR), held.spec.stdin, to_its_end=True), held.spec.tty
    return hijacked(call, LaterSession(lambda: _started(held, body), wish, tty=tty), tty=tty)


async def _started(held: Exec, body: StartBody) -> Attachment:
    attachment = await held.start()
    assert attachment is not None  # its specification does not say that nobody wants to be attached
    if held.spec.tty and body.console_size and any(body.console_size):
        with contextlib.suppress(HyperError):  # it has ended already
            await held.resize(*body.console_size)
    return attachment


async def _check_startable(container: Container, held: Exec) -> None:
    """What is known before the head goes out is an answer of its own."""
    known = await held.inspect()
    if known.running or known.exit_status is not None:
        raise Conflict(f"Error: Exec command {held.id} has already run")
    state = (await container.inspect()).state
    if state != "running":
        what = f"container {known.container} is"
        raise Conflict(f"{what} paused" if state == "paused" else f"{what} not running")


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
