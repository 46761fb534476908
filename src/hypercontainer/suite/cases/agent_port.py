"""The line to the guest's agent."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import Harness
from hypercontainer.suite.linux import LinuxHarness

WELCOME_S = 30
TAKE_OVERS = 8


@case()
async def the_agent_port_has_one_peer_and_the_newest_wins(harness: Harness) -> None:
    vm = await harness.launch()
    first, _ = await vm.connect_agent()
    second, writer = await vm.connect_agent()
    assert await first.read() == b""
    writer.write(b"hello")
    await writer.drain()
    assert not second.at_eof()
    await vm.kill()
    with suppress(ConnectionResetError):  # what was not read is lost, which a socket may say like this
        assert b"hello".startswith(await second.read())  # a guest may say back what it hears
    with pytest.raises(HypervisorError):
        await vm.connect_agent()
    writer.close()


@case()
async def a_connection_that_was_kept_is_the_next_callers(harness: Harness) -> None:
    vm = await harness.launch()
    pair = await vm.connect_agent()
    vm.keep_agent(pair)
    assert await vm.connect_agent() == pair
    other = await vm.connect_agent()
    assert other != pair
    assert await pair[0].read() == b""
    await vm.kill()


@case()
async def a_connection_ends_with_the_vm(harness: Harness) -> None:
    vm = await harness.launch()
    reader, writer = await vm.connect_agent()
    reading = asyncio.create_task(reader.read())
    await vm.kill()
    async with asyncio.timeout(harness.patient(5)):
        with suppress(ConnectionResetError):
            assert await reading == b""
    writer.close()


@case()
async def the_next_who_holds_the_vm_has_the_port(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.connect_agent()
    for _ in range(3):
        vm = await harness.adopted(vm)
        _, writer = await vm.connect_agent()
        writer.write(b"x")
        await writer.drain()


@case()
async def who_sends_more_than_the_guest_takes_waits(harness: Harness) -> None:
    """And is not the end of the VM, nor of who sends."""
    vm = await harness.launch()
    _, writer = await vm.connect_agent()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            for _ in range(64):
                writer.write(bytes(1 << 20))
                await writer.drain()
    again = await harness.adopted(vm)
    assert (await again.kill()).reason is ExitReason.HOST_KILL


@case("linux")
async def the_agent_answers_and_shuts_its_vm_down(harness: LinuxHarness) -> None:
    vm = await harness.launch(**harness.hyperstart())
    agent = await harness.agent(vm)
    await agent.welcome(harness.patient(WELCOME_S))
    await agent.ping()
    assert (await agent.stats()).memory_bytes > 0
    agent.shutdown()
    assert (await vm.wait()).reason is ExitReason.GUEST_SHUTDOWN


@case("linux")
async def what_is_said_before_the_guest_has_booted_is_heard(harness: LinuxHarness) -> None:
    vm = await harness.launch(**harness.hyperstart())
    agent = await harness.agent(vm)
    answers = [agent.stats() for _ in range(20)]
    assert all(answer.memory_bytes > 0 for answer in await asyncio.gather(*answers))


@case("linux")
async def one_session_follows_another(harness: LinuxHarness) -> None:
    vm = await harness.launch(**harness.hyperstart())
    for resumed in (False, True, True):
        agent = await harness.agent(vm, resumed=resumed)
        await agent.welcome(harness.patient(WELCOME_S))
        await agent.ping()
        agent.close()


@case("linux")
async def a_session_that_is_cut_in_the_middle_is_no_harm_to_the_next(harness: LinuxHarness) -> None:
    vm = await harness.launch(**harness.hyperstart())
    first = await harness.agent(vm)
    await first.welcome(harness.patient(WELCOME_S))
    for _ in range(200):
        first.stats().add_done_callback(lambda done: done.exception())
    again = await harness.adopted(vm)
    second = await harness.agent(again, resumed=True)
    await second.welcome(harness.patient(WELCOME_S))
    assert (await second.stats()).memory_bytes > 0


@case("linux")
async def a_newer_session_takes_the_guest_over(harness: LinuxHarness) -> None:
    """Each in the moment that it is there, and none hears what is said to another."""
    vm = await harness.launch(**harness.hyperstart())
    former = await harness.agent(vm)
    await former.welcome(harness.patient(WELCOME_S))
    for _ in range(TAKE_OVERS):
        agent = await harness.agent(vm, resumed=True)
        await agent.welcome(harness.patient(WELCOME_S))
        async with asyncio.timeout(harness.patient(5)):
            await former.closed()
        former = agent
    await former.ping()
