"""A VM outlives who holds it, and is found again by its record."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import BANNER, POWER_OFF, Harness


@case()
async def who_waits_for_a_vm_that_is_let_go_of_is_told(harness: Harness) -> None:
    vm = await harness.launch()
    waiting = asyncio.create_task(vm.wait())
    await asyncio.sleep(0)
    await vm.close()
    await vm.close()
    with pytest.raises(HypervisorError):
        await waiting
    with pytest.raises(HypervisorError):
        await vm.wait()


@case("letters")
async def a_closed_vm_goes_on_and_is_adopted_with_its_console(harness: Harness) -> None:
    vm = await harness.launch()
    await harness.printed(vm)
    again = await harness.adopted(vm)
    assert again.record == vm.record
    assert again.pid == vm.pid
    assert BANNER in again.console_tail()
    assert (await again.kill()).reason is ExitReason.HOST_KILL


@case("letters")
async def what_a_guest_says_while_nobody_holds_it_is_not_lost(harness: Harness) -> None:
    again = await harness.adopted(await harness.launch())
    await harness.printed(again)


@case()
async def a_vm_is_adopted_as_often_as_it_was_let_go_of(harness: Harness) -> None:
    vm = await harness.launch()
    for _ in range(4):
        vm = await harness.adopted(vm)
        assert not await vm.paused()
    assert (await vm.kill()).reason is ExitReason.HOST_KILL


@case()
async def a_vm_is_its_drivers_by_the_record_that_it_left(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.close()
    record = read_record(vm.record.run_dir)
    assert record == vm.record
    its, other = harness.another_driver(), cast(Any, SimpleNamespace(name="other"))
    drivers = Drivers(other, its)
    assert drivers.default is other
    assert drivers.of(record) is its
    again = await harness.taken_up(record)
    await again.kill()
    with pytest.raises(Unavailable, match=rf"'{its.name}'.*other"):
        Drivers(other).of(record)


@case()
async def a_vm_that_is_gone_is_not_adopted_and_what_it_left_goes(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.kill()
    vm.record.run_dir.mkdir(parents=True)  # what a daemon killed at the wrong moment leaves
    assert await harness.another_driver().adopt(vm.record) is None
    assert not vm.record.run_dir.exists()


@case("letters")
async def a_guest_that_has_ended_is_not_adopted(harness: Harness) -> None:
    vm = await harness.launch(POWER_OFF)
    await (await harness.adopted(vm)).wait()
    assert await harness.another_driver().adopt(vm.record) is None
    assert not vm.record.run_dir.exists()


@case()
async def destroy_ends_a_vm_by_its_record_alone(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.close()
    for _ in range(2):
        await harness.another_driver().destroy(vm.record)
    assert not vm.record.run_dir.exists()
    assert await harness.another_driver().adopt(vm.record) is None


@case()
async def destroy_twice_at_once_is_destroy(harness: Harness) -> None:
    vm = await harness.launch()
    await vm.close()
    driver = harness.another_driver()
    await asyncio.gather(driver.destroy(vm.record), harness.another_driver().destroy(vm.record))
    assert await driver.adopt(vm.record) is None


@case()
async def destroying_one_leaves_the_others_alone(harness: Harness) -> None:
    first, second = await harness.launch(), await harness.launch()
    await first.close()
    await harness.another_driver().destroy(first.record)
    assert not await second.paused()
    assert (await second.kill()).reason is ExitReason.HOST_KILL


@case("process", "numbers")
async def a_process_that_has_the_number_of_a_vms_is_not_the_vm(harness: Harness) -> None:
    """Numbers come back, of a process or of a host that was started anew."""
    vm = await harness.launch()
    await vm.close()
    for other in (replace(vm.record, start_ticks=vm.record.start_ticks + 1), replace(vm.record, boot_id="x")):
        other = replace(other, run_dir=harness.folder / "elsewhere", cgroups=(), helpers=(), taps=())
        assert await harness.another_driver().adopt(other) is None
        await harness.another_driver().destroy(other)
    again = await harness.taken_up(vm.record)
    assert (await again.kill()).reason is ExitReason.HOST_KILL
