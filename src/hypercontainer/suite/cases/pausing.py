"""A VM stands still, and goes on."""

from __future__ import annotations

import asyncio

import pytest

from hypercontainer.errors import AgentTimeout, HypervisorError, NotSupported
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import POWER_OFF, Harness
from hypercontainer.suite.linux import LinuxHarness


@case("pauses")
async def pause_and_resume_as_often_as_one_likes(harness: Harness) -> None:
    vm = await harness.launch()
    assert not await vm.paused()
    await vm.pause()
    await vm.pause()
    assert await vm.paused()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await vm.wait()
    await vm.resume()
    await vm.resume()
    assert not await vm.paused()
    assert (await vm.kill()).reason is ExitReason.HOST_KILL


@case("pauses", "linux")
async def a_paused_guest_does_nothing(harness: LinuxHarness) -> None:
    count = "n=0; while :; do n=$((n + 1)); echo n$n; usleep 10000; done"
    vm = await harness.launch(**harness.linux(count))
    await harness.printed(vm, "n3\r\n" if "\r" in await harness.printed(vm, "n3") else "n3\n")
    await vm.pause()
    await asyncio.sleep(0.2)  # what it had said by then has come
    said, used = vm.console_tail(), (await vm.stats()).cpu_ns
    await asyncio.sleep(0.5)
    assert vm.console_tail() == said
    assert (await vm.stats()).cpu_ns - used < 200_000_000
    await vm.resume()
    async with asyncio.timeout(harness.patient(20)):
        while vm.console_tail() == said:
            await asyncio.sleep(0.01)


@case("pauses")
async def a_paused_vm_is_killed(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.pause()
    assert (await vm.kill()).reason is ExitReason.HOST_KILL


@case("pauses")
async def a_paused_vm_is_destroyed_by_its_record(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.pause()
    await vm.close()
    await harness.another_driver().destroy(vm.record)
    assert not vm.record.run_dir.exists()


@case("pauses", "letters")
async def a_paused_vm_is_adopted_paused_and_goes_on_when_it_is_told(harness: Harness) -> None:
    vm = await harness.launch(POWER_OFF)
    await vm.connect_agent()
    await vm.pause()
    again = await harness.adopted(vm)
    assert await again.paused()
    _, writer = await again.connect_agent()  # a port is the hypervisor's, whatever its guest does
    writer.write(b"for later")
    await writer.drain()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await again.wait()
    await again.resume()
    assert (await again.wait()).reason is ExitReason.GUEST_SHUTDOWN


@case("pauses", "crash")
async def a_paused_vm_that_somebody_else_kills_has_crashed(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.pause()
    await harness.crash(vm)
    assert (await vm.wait()).reason is ExitReason.CRASH


@case("pauses")
async def who_let_go_of_a_vm_cannot_pause_it(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.close()
    with pytest.raises(HypervisorError):
        await vm.pause()
    assert not await (await harness.taken_up(vm.record)).paused()


@case("pauses", "linux")
async def a_paused_agent_answers_the_next_hyperd_once_it_is_resumed(harness: LinuxHarness) -> None:
    vm = await harness.launch(**harness.hyperstart())
    first = await harness.agent(vm)
    await first.welcome(harness.patient(30))
    await vm.pause()
    cut = first.stats()  # on its way when this hyperd ends
    first.close()
    again = await harness.adopted(vm)
    assert cut.exception() is not None
    second = await harness.agent(again, resumed=True)
    with pytest.raises(AgentTimeout):
        await second.welcome(0.5)
    assert await again.paused()
    await again.resume()
    await second.welcome(harness.patient(10))
    assert (await second.stats()).memory_bytes > 0


@case("no pauses")
async def a_driver_that_does_not_pause_says_so(harness: Harness) -> None:
    vm = await harness.launch()
    for call in (vm.pause, vm.resume):
        with pytest.raises(NotSupported):
            await call()
    assert not await vm.paused()
