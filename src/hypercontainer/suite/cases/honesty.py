"""What a driver says of itself and of its host."""

from __future__ import annotations

import asyncio

from hypercontainer.contract import devices
from hypercontainer.hypervisor.spec import NICS, P9, VIRTIOFS, Accelerator
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import UNPLUG, Harness
from hypercontainer.suite.linux import LinuxHarness


@case()
async def capabilities_are_words_that_the_engine_knows(harness: Harness) -> None:
    can = harness.capabilities
    assert can.name == harness.driver.name
    assert harness.accelerator in can.accelerators
    assert can.nics <= set(NICS)
    assert can.shares in ("", VIRTIOFS, P9)
    assert can.memory_step_mib >= 1
    families = {value for key, value in vars(devices).items() if key.isupper()}
    assert can.devices in families
    for word in (can.console, can.line):
        assert len(word.split()) <= 1, f"{word!r} is no word of a kernel's command line"


@case()
async def capabilities_are_the_same_when_they_are_asked_again(harness: Harness) -> None:
    driver = harness.another_driver()
    assert await driver.capabilities() == await driver.capabilities() == harness.capabilities
    assert driver.name == harness.driver.name
    driver.check_installed()


@case()
async def probe_finds_out_by_booting(harness: Harness) -> None:
    verdict = await harness.driver.probe(harness.accelerator, harness.probed)
    assert verdict.usable, verdict
    assert verdict.accelerator is harness.accelerator
    assert (await harness.another_driver().probe(harness.accelerator, harness.probed)).usable


@case()
async def probe_says_of_what_a_driver_has_not_that_it_is_not_usable(harness: Harness) -> None:
    for accelerator in set(Accelerator) - harness.capabilities.accelerators:
        verdict = await harness.driver.probe(accelerator, harness.probed)
        assert not verdict.usable
        assert verdict.reason


@case()
async def diagnose_finds_nothing_wrong_where_vms_run(harness: Harness) -> None:
    checks = await harness.driver.diagnose()
    assert checks
    assert all(check.name and check.detail for check in checks), checks
    assert all(check.ok is not False for check in checks), checks


@case()
async def limits_leave_the_guest_its_memory_and_its_time(harness: Harness) -> None:
    bare = harness.driver.limits(256, None, harness.accelerator)
    more = harness.driver.limits(256, 1.5, harness.accelerator, boot_files_bytes=1000, shares=1)
    if bare.memory_bytes is None:
        assert more.memory_bytes is None
        return
    assert (bare.cpus, more.cpus) == (None, 1.5)
    assert bare.memory_bytes >= 256 << 20
    assert more.memory_bytes is not None and more.memory_bytes >= bare.memory_bytes + 1000


@case()
async def a_vm_runs_within_the_limits_that_its_driver_gives(harness: Harness) -> None:
    spec = harness.spec()
    limits = harness.driver.limits(spec.memory_mib, 1.0, harness.accelerator, boot_files_bytes=32 << 20)
    vm = await harness.launch(limits=limits)
    assert not await vm.paused()
    await (await harness.adopted(vm)).kill()


@case()
async def a_fingerprint_is_of_what_the_guest_sees(harness: Harness) -> None:
    """Not of who it is, but of its memory."""
    of = harness.driver.fingerprint
    first, second = harness.spec(), harness.spec()
    assert await of(first) == await of(first)
    assert await of(harness.spec(memory_mib=256)) != await of(first)
    assert await of(harness.spec(vcpus=1, hotplug_slots=0)) != await of(second)


@case("linux")
async def what_a_guest_uses_goes_up(harness: LinuxHarness) -> None:
    vm = await harness.launch(**harness.linux("echo ready; while :; do :; done"))
    await harness.printed(vm, "ready")
    before = await vm.stats()
    assert before.rss_bytes > 0
    async with asyncio.timeout(harness.patient(20)):
        while (await vm.stats()).cpu_ns < before.cpu_ns + 100_000_000:
            await asyncio.sleep(0.05)
    again = await harness.adopted(vm)
    assert (await again.stats()).cpu_ns > before.cpu_ns


@case("letters")
async def several_calls_at_once_are_all_answered(harness: Harness) -> None:
    vm = await harness.launch(UNPLUG)
    await harness.printed(vm)
    calls = [vm.stats() for _ in range(8)]
    answers = await asyncio.gather(*calls, *(vm.paused() for _ in range(8)))
    assert answers[8:] == [False] * 8
