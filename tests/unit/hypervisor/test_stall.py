"""A VM that its host has no room for stands still and goes on by itself, unless somebody has paused it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.qemu import stall as module
from hypercontainer.hypervisor.qemu.monitored import MonitoredVM
from hypercontainer.hypervisor.qemu.qmp import Event, QmpDisconnected, QmpError
from hypercontainer.hypervisor.qemu.stall import Stall

STOP = Event(
    "BLOCK_IO_ERROR", {"action": "stop", "node-name": "disk-disk", "reason": "No space left on device"}
)


class Machine:
    """QEMU, whose disk has room again after so many tries."""

    def __init__(self, stall: Stall, tries: int) -> None:
        self.stall = stall
        self.tries = tries
        self.commands: list[str] = []
        self.gone = False
        self.refusals: list[HypervisorError] = []

    async def execute(self, command: str) -> None:
        if self.gone:
            raise QmpDisconnected("gone")
        self.commands.append(command)
        if self.refusals:
            raise self.refusals.pop(0)
        self.tries -= 1
        if self.tries > 0:
            self.stall.on_event(STOP)


class Held(MonitoredVM):
    """Nothing but what is asked of it here."""

    def __init__(self, machine: Any, stall: Stall) -> None:
        self._qmp, self._stall = machine, stall

    async def _reach_agent(self) -> Pair:
        raise NotImplementedError


Story = Callable[[Stall, Any, list[bool]], Awaitable[None]]


def tell(story: Story, tries: int = 1) -> None:
    async def main() -> None:
        stall = Stall("the VM")
        machine: Any = Machine(stall, tries)
        stall.watch(machine)
        heard: list[bool] = []
        stall.tell(heard.append)
        async with asyncio.timeout(10):
            await story(stall, machine, heard)
            await stall.close()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S", "SETTLED_S"):
        monkeypatch.setattr(module, name, 0.001)


async def over(stall: Stall) -> None:
    while stall.stalled:
        await asyncio.sleep(0)


def test_it_goes_on_once_there_is_room() -> None:
    async def story(stall: Stall, machine: Machine, heard: list[bool]) -> None:
        for _ in range(3):  # of several requests that failed at once
            stall.on_event(STOP)
        assert heard == [True]
        await over(stall)
        assert machine.commands == ["cont"] * 4
        assert heard == [True, False]

    tell(story, tries=4)


def test_a_guest_that_was_told_of_an_error_runs_on() -> None:
    async def story(stall: Stall, machine: Machine, heard: list[bool]) -> None:
        stall.on_event(Event("BLOCK_IO_ERROR", {"action": "report"}))
        assert not stall.stalled
        assert heard == []
        assert machine.commands == []

    tell(story)


def test_who_has_paused_it_lets_it_go_on() -> None:
    async def story(stall: Stall, machine: Machine, heard: list[bool]) -> None:
        stall.hold(True)
        stall.on_event(STOP)
        await asyncio.sleep(0.05)
        assert machine.commands == []
        stall.hold(False)
        await over(stall)
        assert machine.commands == ["cont"]

    tell(story)


def test_one_that_ends_is_not_tried_again() -> None:
    async def story(stall: Stall, machine: Machine, heard: list[bool]) -> None:
        stall.on_event(STOP)
        machine.gone = True
        await over(stall)
        assert machine.commands == []

    tell(story)


def test_one_that_stood_still_before_it_was_watched() -> None:
    async def main() -> None:
        stall = Stall("the VM")
        stall.on_event(STOP)
        machine: Any = Machine(stall, 1)
        heard: list[bool] = []
        stall.watch(machine)
        stall.tell(heard.append)
        assert heard == [True]
        await over(stall)
        assert heard == [True, False]

    asyncio.run(main())


def test_who_pauses_one_that_goes_on_again_lets_it_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the time in which it may yet stop again, and nobody else is to tell it to go on."""
    monkeypatch.setattr(module, "SETTLED_S", 60)

    async def story(stall: Stall, machine: Machine, heard: list[bool]) -> None:
        vm = Held(machine, stall)
        stall.on_event(STOP)
        while machine.commands != ["cont"]:
            await asyncio.sleep(0)
        assert stall.stalled
        await vm.pause()
        await vm.resume()
        assert machine.commands == ["cont", "stop", "cont"]

    tell(story)


def test_one_that_stands_still_is_let_go_on_once() -> None:
    async def story(stall: Stall, machine: Machine, heard: list[bool]) -> None:
        vm = Held(machine, stall)
        await vm.pause()
        stall.on_event(STOP)
        await vm.resume()
        await over(stall)
        assert machine.commands == ["stop", "cont"]

    tell(story)


def test_what_qemu_refuses_or_answers_too_late_is_tried_again() -> None:
    async def story(stall: Stall, machine: Machine, heard: list[bool]) -> None:
        machine.refusals = [QmpError("cont", "GenericError", "a disk is busy"), HypervisorError("too late")]
        stall.on_event(STOP)
        while len(machine.commands) < 2:
            assert heard == [True]
            await asyncio.sleep(0)
        await over(stall)
        assert machine.commands == ["cont"] * 3
        assert heard == [True, False]

    tell(story)
