"""From a container's record to a running process: one burst of operations to the guest, and processes taken back.

Whatever goes wrong on the way becomes one error that says why: the hypervisor's stderr and the guest's last lines, or
what the guest said.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

from hypercontainer.agent.operations import ProcessExited, ProcessState, Welcome
from hypercontainer.agent.wire import split_stream_id
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.engine.network.network import own_address
from hypercontainer.engine.process.process import Process
from hypercontainer.engine.sandbox import layout, storage
from hypercontainer.engine.sandbox.beginning import Newcomer, Told
from hypercontainer.engine.sandbox.contents import Contents
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.engine.timings import Stopwatch
from hypercontainer.errors import AgentError
from hypercontainer.semantics import docker
from hypercontainer.semantics.placing import placed

INIT = 1  # the first process's number in its VM

WriteLog = Callable[[int, bytes], None]


async def start(
    sandbox: Sandbox,
    contents: Callable[[], Contents],
    record: ContainerRecord,
    write_log: WriteLog | None,
    stopwatch: Stopwatch,
    *,
    before: Callable[[], Awaitable[None]] | None = None,
) -> Process:
    """Starts the container's process in its sandbox, which is up or is brought up; its output does not flow yet.
    ``before``: what is to be done when the guest has the container's files, and its process does not run yet.

    Only what the guest says of the container counts as an error of a clone.
    """
    begun = _Start(sandbox, contents, record, write_log, stopwatch)
    newcomer = Newcomer(record.id, f"container {record.name}", record.diff_ids, begun.tell)
    with sandbox.starting():
        told = await sandbox.up(newcomer, contents, stopwatch)
        try:
            return await begun.process(told, before)
        except AgentError as error:
            raise await sandbox.explain(newcomer, error) from error


@contextlib.asynccontextmanager
async def visited(
    sandbox: Sandbox, contents: Callable[[], Contents], record: ContainerRecord
) -> AsyncIterator[None]:
    """Within, the guest has the container's files as its program would find them, and does not run that."""
    begun = _Start(sandbox, contents, record, None, Stopwatch())
    newcomer = Newcomer(record.id, f"container {record.name}", record.diff_ids, begun.tell)
    async with sandbox.visited(newcomer, contents):
        yield


class _Start:
    def __init__(
        self,
        sandbox: Sandbox,
        contents: Callable[[], Contents],
        record: ContainerRecord,
        write_log: WriteLog | None,
        stopwatch: Stopwatch,
    ) -> None:
        self._sandbox = sandbox
        self._contents = contents
        self._record = record
        self._write_log = write_log
        self._stopwatch = stopwatch
        self._planned: docker.Start

    def tell(self, timeout_s: float) -> list[tuple[str, Future[None]]]:
        """The guest of the container."""
        sandbox, record, live = self._sandbox, self._record, self._sandbox.running()
        alone = sandbox.record.value.alone
        number = INIT if alone and live.untouched else live.new_process_number()
        facts = self._facts(number)
        made = placed(record.effective, facts.address, facts.host)
        self._planned = docker.start(record.spec, made, record.id, facts)
        return [("root", live.agent.create_container(self._planned.container, timeout_s=timeout_s))]

    def _facts(self, number: int) -> docker.Facts:
        sandbox, record = self._sandbox, self._record
        pod, network = sandbox.record.value, sandbox.network
        volumes = [brought.volume for brought in self._contents().volumes.values()]
        return docker.Facts(
            lower=layout.lower(sandbox.image_part(record.diff_ids)),
            upper=None if record.spec.read_only else layout.upper(pod, record.id),
            process=number,
            address=own_address(network),
            host=network.host,
            architecture=pod.architecture,
            name_servers=network.resolvers if network.asks else record.spec.dns or network.resolvers,
            single_files=storage.single_files(volumes),
            shared_memory=storage.memory_volume(pod, record.spec),
            unfilled=frozenset() if record.started else storage.writable(volumes),
            in_pod=not pod.alone,
            authority=network.authority,
        )

    async def process(self, told: Told, before: Callable[[], Awaitable[None]] | None) -> Process:
        stopwatch, live = self._stopwatch, self._sandbox.running()
        if before is not None:
            await asyncio.gather(*(future for _, future in told.stages))
            await before()
        for stage, future in told.stages:
            if stage:
                future.add_done_callback(partial(stopwatch.lap, stage))
        started = live.agent.start_process(self._planned.process, timeout_s=told.timeout_s)
        process = _process(live, self._planned.process.process, self._record.spec, self._write_log)
        await asyncio.gather(*(future for _, future in told.stages), started)
        stopwatch.lap("process")
        return process


def _process(live: Live, number: int, spec: ContainerSpec, write_log: WriteLog | None) -> Process:
    process = Process(
        live.agent,
        number,
        tty=spec.tty,
        stdin=spec.stdin_open,
        close_stdin=spec.stdin_once,
        going=live.going,
        record=write_log,
    )
    live.add(process)
    return process


# ------------------------------------------------------------------------------------- another hyperd's processes


def resume(
    live: Live,
    spec: ContainerSpec,
    state: ProcessState,
    offsets: Mapping[int, int],
    write_log: WriteLog | None,
) -> Process:
    """Takes a running container's process back; its output goes on where the log ends."""
    process = _process(live, state.process, spec, write_log)
    kept = {split_stream_id(stream.stream)[1]: stream for stream in state.streams}
    process.open_output(
        {
            channel: min(max(offsets.get(channel, 0), kept[channel].acked_bytes), kept[channel].end_bytes)
            for channel in process.channels
            if channel in kept
        }
    )
    if state.exited:
        process.ended.set_result(ProcessExited(state.process, state.wait_status, state.time_ns, state.oom))
    return process


def drain_others(live: Live, welcome: Welcome, container: str, init: int) -> None:
    """Execs of an earlier hyperd have lost their clients: what they still write is read and dropped."""
    for state in welcome.processes:
        if state.container != container or state.process == init:
            continue
        if state.exited:
            live.give_up(state.process)
            continue
        which = {split_stream_id(stream.stream)[1] for stream in state.streams}
        process = Process(
            live.agent, state.process, tty=2 not in which, stdin=False, close_stdin=False, going=live.going
        )
        live.add(process)
        kept = {split_stream_id(stream.stream)[1]: stream.acked_bytes for stream in state.streams}
        process.open_output(kept)
        process.ended.add_done_callback(partial(_give_up, live, state.process))


def _give_up(live: Live, number: int, _: object) -> None:
    live.give_up(number)
