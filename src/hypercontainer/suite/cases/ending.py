"""How a VM ends, and what is told of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import BANNER, FLOOD, HALT, POWER_OFF, REBOOT, Harness
from hypercontainer.suite.linux import LinuxHarness


@case()
async def kill_ends_the_vm_once(harness: Harness) -> None:
    vm = await harness.launch()
    waiting = asyncio.create_task(vm.wait())
    ended = await vm.kill()
    assert ended.reason is ExitReason.HOST_KILL
    assert ended.exit_code == (-signal.SIGKILL if vm.pid else None)
    assert not vm.record.run_dir.exists()
    assert await waiting == await vm.wait() == await vm.kill() == ended


@case()
async def whoever_kills_at_the_same_time_is_told_the_same(harness: Harness) -> None:
    vm = await harness.launch()
    first, second, third = await asyncio.gather(vm.kill(), vm.wait(), vm.kill())
    assert first == second == third
    assert first.reason is ExitReason.HOST_KILL


OFF, RESET = {"off": (POWER_OFF, ExitReason.GUEST_SHUTDOWN)}, {"reboot": (REBOOT, ExitReason.GUEST_RESET)}


@case("letters", params=OFF)
@case("letters", "resets", params=RESET)
async def wait_tells_everybody_why_the_guest_ended(harness: Harness, letter: str, reason: ExitReason) -> None:
    vm = await harness.launch(letter)
    first, second = await asyncio.gather(vm.wait(), vm.wait())
    assert first == second
    assert (first.reason, first.stderr) == (reason, "")
    if harness.has("process"):
        assert first.exit_code is not None and first.exit_code >= 0
    assert BANNER in first.console
    assert vm.console_tail(10) == first.console[-10:]
    assert not vm.record.run_dir.exists()


@case("letters", params=OFF)
@case("letters", "resets", params=RESET)
async def an_adopted_vm_still_tells_why_its_guest_ended(
    harness: Harness, letter: str, reason: ExitReason
) -> None:
    vm = await harness.launch(letter)
    if harness.has("pauses"):  # or it might end while nobody has it
        await vm.pause()
    again = await harness.adopted(vm)
    if harness.has("pauses"):
        await again.resume()
    assert (await again.wait()).reason is reason


@case("letters")
async def a_cancelled_waiter_leaves_the_vm_and_the_others_alone(harness: Harness) -> None:
    vm = await harness.launch(POWER_OFF)
    other = asyncio.create_task(vm.wait())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await vm.wait()
    assert (await other).reason is ExitReason.GUEST_SHUTDOWN


@case("letters")
async def a_guest_that_has_ended_is_not_killed_any_more(harness: Harness) -> None:
    vm = await harness.launch(POWER_OFF)
    ended = await vm.wait()
    assert await vm.kill() == ended
    assert ended.reason is ExitReason.GUEST_SHUTDOWN


@case("letters", params={"at-once": (HALT, False), "up": (HALT, True), "busy": (FLOOD, True)})
async def a_guest_is_killed_whatever_it_does(harness: Harness, letter: str, up: bool) -> None:
    vm = await harness.launch(letter)
    if up:
        await harness.printed(vm, "xxxx" if letter == FLOOD else BANNER)
    assert (await vm.kill()).reason is ExitReason.HOST_KILL


@case()
async def nothing_can_be_done_with_a_vm_that_has_ended(harness: Harness) -> None:
    vm = await harness.launch()
    ended = await vm.kill()
    calls: list[Callable[[], Awaitable[object]]] = [vm.connect_agent]
    calls += [vm.pause, vm.resume] if harness.has("pauses") else []
    for call in calls:
        with pytest.raises(HypervisorError):
            await call()
    if harness.has("plugs"):
        with pytest.raises(HypervisorError):
            await vm.attach_disk(harness.disk("one"))
    await vm.close()
    await vm.close()
    assert await vm.wait() == ended
    assert vm.console_tail() == ended.console


@case("crash")
async def a_vm_that_somebody_else_kills_has_crashed(harness: Harness) -> None:
    vm = await harness.launch()
    await harness.crash(vm)
    ended = await vm.wait()
    assert ended.reason is ExitReason.CRASH
    assert ended.from_outside or not (harness.has("process") and harness.has("status"))
    assert not vm.record.run_dir.exists()


@case("crash")
async def an_adopted_vm_that_somebody_else_kills_has_crashed(harness: Harness) -> None:
    again = await harness.adopted(await harness.launch())
    await harness.crash(again)
    assert (await again.wait()).reason in (ExitReason.CRASH, ExitReason.UNKNOWN)
    assert not again.record.run_dir.exists()


@case("crash", "letters")
async def what_the_guest_said_is_told_after_a_crash(harness: Harness) -> None:
    vm = await harness.launch()
    await harness.printed(vm)
    await harness.crash(vm)
    assert BANNER in (await vm.wait()).console


@case("crash")
async def a_vm_that_was_killed_while_nobody_watched_is_gone(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.close()
    await harness.crash(vm)
    again = await harness.another_driver().adopt(vm.record)
    if again is not None:  # it has not been buried yet
        assert (await again.wait()).reason in (ExitReason.CRASH, ExitReason.UNKNOWN)
    assert await harness.another_driver().adopt(vm.record) is None
    assert not vm.record.run_dir.exists()


@case("linux", "resets")
async def a_guest_that_panics_has_ended(harness: LinuxHarness) -> None:
    """As one whose first process ends.  It may not come up again: that would be a guest of which nobody knows."""
    vm = await harness.launch(**harness.linux("echo before; exit 1"))
    ended = await vm.wait()
    assert ended.reason in (ExitReason.GUEST_RESET, ExitReason.CRASH)
    assert "before" in ended.console
