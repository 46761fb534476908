"""Cloud Hypervisor: is made, asked and watched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.boot_files import open_for_all
from hypercontainer.hypervisor.cloudhypervisor import config
from hypercontainer.hypervisor.cloudhypervisor.events import Watch
from hypercontainer.hypervisor.spec import NAT, TAP, VMSpec
from hypercontainer.hypervisor.vmm.places import VmmRunDir
from hypercontainer.hypervisor.vmm.probe import ARGUMENTS, MEMORY_MIB
from hypercontainer.hypervisor.vmm.rest import Api
from hypercontainer.hypervisor.vmm.vmm import Command
from hypercontainer.linux import unix

BOOT_TIMEOUT_S = 30.0
_API = "/api/v1"


class CloudHypervisor:
    """See ``vmm.vmm.Vmm``."""

    name = "cloudhypervisor"
    title = "Cloud Hypervisor"
    program = "cloud-hypervisor"
    oldest = (38, 0)
    where = "its releases are static programs: put cloud-hypervisor into PATH"
    nics = frozenset({NAT, TAP})
    devices: tuple[tuple[str, str], ...] = ((config.RANDOM, config.RANDOM),)
    enters = False
    most_vcpus = 254

    def command(self, path: Path, spec: VMSpec, run: VmmRunDir, fds: contextlib.ExitStack) -> Command:
        listener = fds.enter_context(unix.listen(run.qmp)).fileno()
        events = run.make_pipe(run.events)
        fds.callback(os.close, events)
        files = [open_for_all(file, fds) for file in (spec.kernel, spec.initrd) if file is not None]
        reopened = (config.KERNEL_FD, config.INITRD_FD)[: len(files)]
        return Command(config.argv(path), (listener, events, *files), reopened)

    def trial(self, path: Path, kernel: int, config_file: int) -> list[str]:
        return config.trial(path, kernel, ARGUMENTS, MEMORY_MIB)

    def api(self, run: VmmRunDir) -> Api:
        return Api(partial(unix.connect, run.qmp), self.title)

    async def begin(self, api: Api, spec: VMSpec, run: VmmRunDir, taps: Sequence[int]) -> None:
        await api.ask("PUT", f"{_API}/vm.create", config.vm_config(spec), timeout_s=BOOT_TIMEOUT_S)
        for place, (nic, tap) in enumerate(zip(spec.nics, taps, strict=True)):
            await api.ask("PUT", f"{_API}/vm.add-net", config.net_config(nic, place), fds=(tap,))
        await api.ask("PUT", f"{_API}/vm.boot", timeout_s=BOOT_TIMEOUT_S)

    async def pause(self, api: Api) -> None:
        if not await self.paused(api):  # else it is an error
            await api.ask("PUT", f"{_API}/vm.pause")

    async def resume(self, api: Api) -> None:
        if await self.paused(api):
            await api.ask("PUT", f"{_API}/vm.resume")

    async def paused(self, api: Api) -> bool:
        answer = await api.ask("GET", f"{_API}/vm.info")
        state = answer.get("state") if isinstance(answer, dict) else None
        if not isinstance(state, str):
            raise HypervisorError(f"{self.title} does not say whether its VM runs")
        return state == "Paused"

    def watch(self, run: VmmRunDir, on_reset: Callable[[], None]) -> Watch:
        return Watch(run.events, on_reset)
