"""A guest that stands still while its host changes: the next session begins when it goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.agent.session import Agent
from hypercontainer.errors import AgentTimeout
from hypercontainer.hypervisor.driver import VM
from hypercontainer.kernel import KernelStore, build_initrd, cache_dir, command_line, hyperstart_path
from hypercontainer.linux import tsc

pytestmark = pytest.mark.vm

Run = Callable[[Callable[[Any], Awaitable[None]]], None]


async def session(vm: VM, *, resumed: bool) -> Agent:
    return Agent.open(*await vm.connect_agent(), resumed=resumed, on_event=lambda event: None)


def test_a_paused_guest_answers_the_next_hyperd_once_it_is_resumed(run_qemu: Run, tmp_path: Path) -> None:
    kernel = next(kernel for kernel in KernelStore(cache_dir()).list() if kernel.source == "own")
    arguments = command_line(kernel, emulated=True, console=True, extra=(), tsc_khz=tsc.rate_khz())
    guest = {
        "kernel": kernel.path,
        "initrd": build_initrd(hyperstart_path(), kernel, tmp_path),
        "kernel_args": arguments,
        "memory_mib": 96,
    }

    async def test(harness: Any) -> None:
        vm = await harness.launch(**guest)
        first = await session(vm, resumed=False)
        await first.welcome(30)
        await vm.pause()
        cut = first.stats()  # on its way when this hyperd ends
        first.close()
        await vm.close()
        assert cut.exception() is not None
        again = await harness.another_driver().adopt(vm.record)
        second = await session(again, resumed=True)
        with pytest.raises(AgentTimeout):
            await second.welcome(0.5)
        assert await again.paused()
        await again.resume()
        await second.welcome(10)
        assert (await second.stats()).memory_bytes > 0
        second.close()
        await again.kill()

    run_qemu(test)
