"""A process that has VMs of a driver's is killed at any moment, and another finds by their records what there is.

`python -m killed PLAN` is the one that is killed: it launches VMs, does something with each, ends some, and prints a
line for each step when it is done, as a hyperd would write it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from hyper import processes_that_mention
from hypercontainer.contract.spec import PortMapping
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.driver import VM, Driver
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.spec import NAT, DiskSpec, VMSpec
from hypercontainer.suite.harness import MEBIBYTE, TEST_UID, Harness
from hypercontainer.suite.leftovers import groups, of_user
from hypercontainer.suite.running import with_harness
from until import until

Kind = Callable[[Path, AsyncExitStack], Harness]
Act = Callable[[VM], Awaitable[None]]
WORDS = b"echo this"
LIVES = 2  # of one that is killed, one after the other
WRITTEN = b"written"
GONE_S = 20.0  # what is at its gate, or told by a connection's end, ends by itself


class Killable(Protocol):
    """What a harness has besides: ``recipe`` makes its driver, in another process (``pickle``)."""

    def recipe(self) -> Callable[[], Driver]: ...


@dataclass(frozen=True)
class Plan:
    make: Callable[[], Driver]
    specs: tuple[VMSpec, ...]
    acts: tuple[tuple[Act, ...], ...]
    seed: str


# ------------------------------------------------------------------------------------- the one that is killed


async def live(plan: Plan) -> None:
    chance, driver = random.Random(plan.seed), plan.make()
    tell("begins")
    for spec, acts in zip(plan.specs, plan.acts, strict=True):
        vm = await driver.launch(spec)
        tell("launched", spec.id)
        for act in chance.sample(acts, chance.randint(0, len(acts))):
            await act(vm)
        if chance.random() < 0.5:
            tell("ends", spec.id)
            await vm.kill()
    tell("done")
    await asyncio.Event().wait()


def tell(*words: str) -> None:
    print(*words, flush=True)


async def pauses(vm: VM) -> None:
    await vm.pause()
    await vm.resume()


async def forwards(port: PortMapping, vm: VM) -> None:
    await vm.add_forward(port)
    await vm.remove_forward(port)
    await vm.add_forward(port)


async def plugs(disk: DiskSpec, vm: VM) -> None:
    await vm.attach_disk(disk)


# ------------------------------------------------------------------------------------- who kills it, and looks


class Kills:
    """Of the drivers that ``kind`` makes, each time a later one.  The first process comes to the end of what it is to
    do: so it is known how long that takes."""

    def __init__(self, kind: Kind, folder: Path, seed: int, letter: str, answer: Act) -> None:
        """``letter`` is what its guests do, and ``answer`` raises where one does not."""
        self._kind, self._folder, self._letter, self._answer = kind, folder, letter, answer
        self._chance = random.Random(seed)
        self._span_s: float | None = None
        self.lived = self.ended = 0  # VMs that were found alive, and others of which there was a record

    async def _answers(self, vm: VM) -> None:
        if await vm.paused():
            await vm.resume()
        await vm.stats()
        async with asyncio.timeout(GONE_S):
            await self._answer(vm)

    def again(self, times: int, timeout_s: float) -> None:
        for number in range(times):
            try:
                with_harness(self._kind, self._folder, self._once, timeout_s=timeout_s)
            except BaseException as error:
                error.add_note(f"at kill {number}")
                raise

    async def _once(self, harness: Harness) -> None:
        plan = planned(harness, self._letter, self._chance)
        for spec in plan.specs:
            harness.stack.push_async_callback(_swept, harness, spec)
        limit = None if self._span_s is None else self._chance.uniform(0, self._span_s)
        told, took_s = await _killed(plan, harness.folder, limit)
        self._span_s = self._span_s or took_s
        for spec in plan.specs:
            await self._found(harness, spec, told)
        still = partial(remains, harness, plan)
        with contextlib.suppress(AssertionError):
            await asyncio.to_thread(until, lambda: not still(), "nothing left", deadline_s=GONE_S)
        assert not still(), f"left behind: {still()}, of one that told {told}"
        for spec in plan.specs:
            assert all(_is_whole(disk) for disk in spec.disks), "what was written before is lost"

    async def _found(self, harness: Harness, spec: VMSpec, told: set[tuple[str, str]]) -> None:
        """What has no record was never there; what was handed over is there; the rest is one of the two."""
        driver, record = harness.driver, read_record(spec.run_dir)
        certain = ("launched", spec.id) in told and ("ends", spec.id) not in told
        if record is None:
            assert not certain, f"VM {spec.id} is lost: it has no record"
            shutil.rmtree(spec.run_dir, ignore_errors=True)
        elif not certain and self._chance.random() < 0.5:
            await driver.destroy(record)
            self.ended += 1
        elif (vm := await driver.adopt(record)) is not None:
            if certain:
                await self._answers(vm)
            await vm.kill()
            self.lived += 1
        else:
            assert not certain, f"VM {spec.id} is lost"
            self.ended += 1


def planned(harness: Harness, letter: str, chance: random.Random) -> Plan:
    able = harness.capabilities
    specs, acts = [], []
    for number in range(LIVES):
        disks = [
            harness.disk(f"image{number}", content=WRITTEN, read_only=True),
            harness.disk(f"disk{number}", content=WRITTEN, locked=harness.has("locks")),
        ]
        port = partial(_port, harness)
        nat = NAT in able.nics
        spec = harness.spec(
            letter,
            nics=(harness.nic(0, *[port() for _ in range(nat)]),),
            disks=tuple(chance.sample(disks, chance.randint(0, len(disks)))),
            hotplug_slots=int(able.plugs),
        )
        specs.append(spec)
        more: list[Act] = [pauses] if able.pauses else []
        more += [partial(forwards, port())] if nat and able.live_ports else []
        more += [partial(plugs, harness.disk(f"more{number}", read_only=True))] if able.plugs else []
        acts.append(tuple(more))
    assert hasattr(harness, "recipe")
    return Plan(harness.recipe(), tuple(specs), tuple(acts), str(chance.random()))


def _port(harness: Harness) -> PortMapping:
    return PortMapping(80, harness.free_port(), "127.0.0.1")


async def _killed(plan: Plan, folder: Path, after_s: float | None) -> tuple[set[tuple[str, str]], float]:
    """What it had told by then, each with the VM's ID, and how long it had lived; None: up to the end of its plan."""
    file = folder / "plan"
    file.write_bytes(pickle.dumps(plan))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "killed", str(file)),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        said, begun = [await process.stdout.readline()], time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                while said[-1] not in (b"done\n", b""):
                    said.append(await process.stdout.readline())
    finally:
        took_s = time.monotonic() - begun
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        said += (await process.stdout.read()).splitlines()
        status = await process.wait()
    assert status == -signal.SIGKILL, f"it ended by itself: {said}"
    words = [line.decode().split() for line in said]
    return {(each[0], each[1]) for each in words if len(each) == 2}, took_s


async def counts(vm: VM) -> None:
    """Of a guest that prints for ever; of what it prints while nobody has it, nothing has to be kept."""
    before = vm.console_tail()
    await asyncio.to_thread(until, lambda: vm.console_tail() != before, "the guest goes on")


async def echoes(vm: VM) -> None:
    reader, writer = await vm.connect_agent()
    writer.write(WORDS)
    assert await reader.readexactly(len(WORDS)) == WORDS


async def runs(vm: VM) -> None:
    """Of one without a guest."""
    assert not await vm.paused()


async def _swept(harness: Harness, spec: VMSpec) -> None:
    """Where the test has failed."""
    if (record := read_record(spec.run_dir)) is not None:
        await harness.driver.destroy(record)


def remains(harness: Harness, plan: Plan) -> list[str]:
    """What there is of its VMs on this machine, in words."""
    found = []
    for spec in plan.specs:
        found += [str(spec.run_dir)] if spec.run_dir.exists() else []
        found += [str(group) for group in groups() if group.name == spec.id]
        found += processes_that_mention(str(spec.run_dir))
        found += [f"port {port}" for port in _ports(spec) if _is_taken(port)]
        found += [f"lock on {disk.serial}" for disk in spec.disks if _is_locked(disk)]
    return found + [f"process {pid}" for pid in (of_user(TEST_UID) if os.geteuid() == 0 else ())]


def _ports(spec: VMSpec) -> Iterator[int]:
    for _, port in spec.forwards:
        yield port.host_port


def _is_taken(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _is_locked(disk: DiskSpec) -> bool:
    with disk.extents[0][0].open("r+b") as file:
        return locks.taken(file.fileno(), read_only=False)


def _is_whole(disk: DiskSpec) -> bool:
    path, _ = disk.extents[0]
    return path.stat().st_size == MEBIBYTE and path.read_bytes().startswith(WRITTEN)


if __name__ == "__main__":
    asyncio.run(live(pickle.loads(Path(sys.argv[1]).read_bytes())))
