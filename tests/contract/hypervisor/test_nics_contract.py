"""Network interfaces plugged into a VM that runs; see ``VM.attach_nic``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import Conflict, InvalidArgument, NotFound, NotSupported, Unavailable
from hypercontainer.hypervisor.spec import Nic, Tap
from nics import MAC, nat_nic
from tap_space import TapSpace

Run = Callable[[Callable[[Any], Awaitable[None]]], None]
UNPLUG = "d"  # the guest that gives up what it is asked for
FIRST = Nic("52:54:00:12:34:60", Tap(Path("/run/keeper.sock"), "tap0"))
SECOND = Nic("52:54:00:12:34:61", Tap(Path("/run/keeper.sock"), "tap1"))
THIRD = Nic("52:54:00:12:34:62", Tap(Path("/run/keeper.sock"), "tap2"))


def test_interfaces_come_and_go(run: Run, space: TapSpace) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(UNPLUG, hotplug_slots=2)
        await vm.attach_nic(FIRST)
        await vm.attach_nic(SECOND)
        with pytest.raises(Unavailable):
            await vm.attach_nic(THIRD)
        await vm.detach_nic(FIRST.mac)
        with pytest.raises(NotFound):
            await vm.detach_nic(FIRST.mac)
        await vm.attach_nic(THIRD)
        assert space.links() in (set(), {"tap1", "tap2"})  # the fake opens none
        await vm.kill()
        assert space.links() == set()

    run(test)


def test_one_that_cannot_be(run: Run, space: TapSpace) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(UNPLUG)
        await vm.attach_nic(FIRST)
        for taken in (FIRST.mac, MAC):
            with pytest.raises(Conflict):
                await vm.attach_nic(replace(SECOND, mac=taken))
        with pytest.raises(NotSupported):
            await vm.attach_nic(nat_nic(mac=SECOND.mac))
        for name in ("", "a,b", "-a", "a" * 16):
            with pytest.raises(InvalidArgument):
                await vm.attach_nic(replace(SECOND, backend=Tap(Path("/run/keeper.sock"), name)))
        with pytest.raises(InvalidArgument):
            await vm.attach_nic(replace(SECOND, backend=Tap(Path("keeper.sock"), "tap1")))
        await vm.attach_nic(SECOND)  # none of them has taken a slot
        with pytest.raises(NotFound):
            await vm.detach_nic(THIRD.mac)

    run(test)


def test_a_vm_without_slots(run: Run, space: TapSpace) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(hotplug_slots=0)
        with pytest.raises(Unavailable):
            await vm.attach_nic(FIRST)
        assert space.links() == set()

    run(test)
