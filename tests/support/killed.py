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
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
Step = tuple[str, str]  # and the ID of the VM
LAUNCHING, LAUNCHED, ENDING, DONE = "launching", "launched", "ending", "done"
WORDS = b"echo this"
LIVES = 2  # of one that is killed, one after the other
WRITTEN = b"written"
GONE_S = 20.0  # what is at its gate, or told by a connection's end, ends by itself


@dataclass(frozen=True)
class Plan:
    """``make`` is the ``recipe`` of a harness: it makes its driver, in another process (``pickle``)."""

    make: Callable[[], Driver]
    specs: tuple[VMSpec, ...]
    acts: tuple[tuple[Act, ...], ...]
    ends: tuple[bool, ...]

    @property
    def steps(self) -> list[Step]:
        """All that it tells, but for its end."""
        each = zip(self.specs, self.ends, strict=True)
        return [(step, spec.id) for spec, ends in each for step in (LAUNCHING, LAUNCHED, *[ENDING] * ends)]


# ------------------------------------------------------------------------------------- the one that is killed


async def live(plan: Plan) -> None:
    driver = plan.make()
    for spec, acts, ends in zip(plan.specs, plan.acts, plan.ends, strict=True):
        tell(LAUNCHING, spec)
        vm = await driver.launch(spec)
        tell(LAUNCHED, spec)
        for act in acts:
            await act(vm)
        if ends:
            tell(ENDING, spec)
            await vm.kill()
    tell(DONE, plan.specs[0])
    await asyncio.Event().wait()


def tell(step: str, spec: VMSpec) -> None:
    sys.stdout.write(f"{step} {spec.id}\n")
    sys.stdout.flush()


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
    do: so it is known how long each step takes.  The others are killed within a step, at any moment of that."""

    def __init__(self, kind: Kind, folder: Path, seed: int, letter: str, answer: Act) -> None:
        """``letter`` is what its guests do, and ``answer`` raises where one does not."""
        self._kind, self._folder, self._letter, self._answer = kind, folder, letter, answer
        self._chance = random.Random(seed)
        self._took_s: dict[str, float] = {}
        self.seen: Counter[str] = Counter()  # what was found of VMs

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
        told = await self._killed(plan, harness.folder)
        for spec in plan.specs:
            await self._found(harness, spec, told)
        still = partial(remains, harness, plan)
        with contextlib.suppress(AssertionError):
            await asyncio.to_thread(until, lambda: not still(), "nothing left", deadline_s=GONE_S)
        assert not still(), f"left behind: {still()}, of one that told {told}"
        for spec in plan.specs:
            assert all(_is_whole(disk) for disk in spec.disks), "what was written before is lost"

    async def _killed(self, plan: Plan, folder: Path) -> set[Step]:
        """What it had told by then."""
        until_told, after_s = (DONE, plan.specs[0].id), 0.0
        if self._took_s:
            until_told = self._chance.choice(plan.steps)
            after_s = self._chance.uniform(0, 1.1 * self._took_s[until_told[0]])
        process = await begun(plan, folder)
        assert process.stdout is not None
        told: dict[Step, float] = {}
        try:
            while until_told not in told:
                line = await process.stdout.readline()
                assert line, "it ended by itself"
                told[_step(line)] = time.monotonic()
            await asyncio.sleep(after_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            rest = await process.stdout.read()
            status = await process.wait()
        assert status == -signal.SIGKILL, f"it ended by itself: {told}"
        if not self._took_s:
            times = [*told.values()]
            self._took_s = {
                step: after - at for (step, _), at, after in zip(told, times, times[1:], strict=False)
            }
        return {*told, *map(_step, rest.split(b"\n")[:-1])}

    async def _found(self, harness: Harness, spec: VMSpec, told: set[Step]) -> None:
        """What has no record was never there; what was handed over is there; the rest is one of the two."""
        driver, record = harness.driver, read_record(spec.run_dir)
        certain = (LAUNCHED, spec.id) in told and (ENDING, spec.id) not in told
        if record is None:
            assert not certain, f"VM {spec.id} is lost: it has no record"
            shutil.rmtree(spec.run_dir, ignore_errors=True)
            self.seen["not there"] += 1
        elif not certain and self._chance.random() < 0.5:
            await driver.destroy(record)
            self.seen["ended by its record"] += 1
        elif (vm := await driver.adopt(record)) is not None:
            if certain:
                await self._answers(vm)
            await vm.kill()
            self.seen["went on" if certain else "adopted"] += 1
        else:
            assert not certain, f"VM {spec.id} is lost"
            self.seen["not adopted"] += 1


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
        acts.append(tuple(chance.sample(more, len(more))))
    assert hasattr(harness, "recipe")
    first = chance.random() < 0.5
    return Plan(harness.recipe(), tuple(specs), tuple(acts), (first, not first))


def _port(harness: Harness) -> PortMapping:
    return PortMapping(80, harness.free_port(), "127.0.0.1")


async def begun(plan: Plan, folder: Path) -> asyncio.subprocess.Process:
    """The one that is to be killed."""
    file = folder / "plan"
    file.write_bytes(pickle.dumps(plan))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "killed", str(file)),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def _step(line: bytes) -> Step:
    step, name = line.decode().split()
    return step, name


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
