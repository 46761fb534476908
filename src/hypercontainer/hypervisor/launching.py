"""How every driver starts a process: behind a gate, shut in, and undone whole where it comes to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor import helpers
from hypercontainer.hypervisor.driver import VM, VMRecord
from hypercontainer.hypervisor.helpers import Served
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import Accelerator, Limits, VMSpec
from hypercontainer.linux import cgroup, netns, waiting
from hypercontainer.linux.cgroup import Cgroup
from hypercontainer.linux.confine import GATE_FD, GATE_OPEN, Means, Rights, entered, jail_argv
from hypercontainer.linux.process import Process
from hypercontainer.linux.waiting import ended

T = TypeVar("T", bound=VM)
R = TypeVar("R")
P = ParamSpec("P")
# Of its last words, what an error repeats.
MAX_WORDS = 300


class Launches(Generic[T]):
    """Launches that are under way, each undone whole however often who asked for it is cancelled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[T]] = set()

    async def run(self, launch: Coroutine[Any, Any, T], name: str) -> T:
        task = asyncio.create_task(launch, name=f"launch-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            await ended(asyncio.create_task(_undone(task)))
            raise


async def _undone(launch: asyncio.Task[T]) -> None:
    await ended(launch)
    if not launch.cancelled() and launch.exception() is None:
        await launch.result().kill()  # it was there already


async def whole(work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """In a thread, which is waited for also where who wants it is cancelled: what undoes it finds all that it made."""
    return await waiting.whole(asyncio.to_thread(work, *arguments, **named))


class Gate:
    """What opens a process's gate."""

    def __init__(self, opener: socket.socket) -> None:
        self._opener = opener

    def open(self) -> None:
        with contextlib.suppress(ConnectionError):  # it has ended; why is found out where it is to answer
            self._opener.send(GATE_OPEN)


async def held(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    rights: Rights,
    means: Means,
    stdio: tuple[int, int, int],
    inherited: Sequence[int],
    fds: contextlib.ExitStack,
    space: int | None = None,
) -> tuple[Gate, Process]:
    """The program in its jail, waiting at its gate; ``inherited`` become the descriptors from 4 on until the gate is
    open, and the same afterwards.  ``space``: a process in whose network namespace it starts.  Raises ``OSError``, of
    which ``ChildProcessError`` where the jail said why."""
    opener, gate = (fds.enter_context(end) for end in socket.socketpair())
    jailed = jail_argv(argv, rights, means, root=os.geteuid() == 0, gate=GATE_FD)
    with netns.entered(space) if space is not None else contextlib.nullcontext():
        process = Process.spawn(jailed, env=environment, stdio=stdio, inherited=[gate.fileno(), *inherited])
    gate.close()
    return Gate(opener), await entered(process, opener) if means.namespaces else process


def stdio(run: RunDir, fds: contextlib.ExitStack) -> tuple[int, int, int]:
    """Nothing to read, and a pipe for its last words."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    fds.callback(os.close, null)
    words = run.make_pipe(run.stderr)
    fds.callback(os.close, words)
    return null, words, words


def limit(
    name: str,
    limits: Limits,
    max_tasks: int,
    processes: Sequence[Process],
    undo: contextlib.AsyncExitStack,
) -> Cgroup:
    """A group with the processes in it; ``undo`` removes it once they, which it ends before, are out of it."""
    group = cgroup.here().create(name, memory_bytes=limits.memory_bytes, cpus=limits.cpus, pids=max_tasks)
    undo.callback(group.remove)
    for process in processes:
        undo.push_async_callback(helpers.end, process)
        group.add(process.pid)
    return group


def recorded(
    driver: str,
    spec: VMSpec,
    accelerator: Accelerator,
    process: Process,
    group: Cgroup,
    serving: Sequence[Served],
    *,
    shares: str = "",
) -> VMRecord:
    """What there is to write down of a VM that is this process, with who serves it; ``shares`` as the record has it."""
    return VMRecord(
        driver=driver,
        id=spec.id,
        name=spec.name,
        run_dir=spec.run_dir,
        accelerator=accelerator,
        pid=process.pid,
        start_ticks=process.identity.start_ticks,
        boot_id=process.identity.boot_id,
        cgroups=group.paths,
        hotplug_slots=spec.hotplug_slots,
        helpers=tuple(one.helper for one in serving),
        shares=shares,
        taps=spec.taps,
        waits_for_room=spec.waits_for_room,
    )


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2][:MAX_WORDS]


def words(error: OSError | InvalidArgument) -> str:
    if isinstance(error, InvalidArgument):
        return error.message
    return f"{error.filename}: {error.strerror}" if error.filename else (error.strerror or str(error))
