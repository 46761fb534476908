"""Firecracker: is made, asked and watched.

It begins with its configuration, and answers at a socket that it makes itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.boot_files import in_memory, open_for_all
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.firecracker import config
from hypercontainer.hypervisor.spec import NAT, VMSpec
from hypercontainer.hypervisor.vmm.places import API, VmmRunDir
from hypercontainer.hypervisor.vmm.probe import ARGUMENTS, MEMORY_MIB
from hypercontainer.hypervisor.vmm.rest import Api
from hypercontainer.hypervisor.vmm.tapped import TUN
from hypercontainer.hypervisor.vmm.vmm import Command
from hypercontainer.linux import inotify, unix

BOOT_TIMEOUT_S = 30.0
LISTENING_S = 0.01
# The guest's last line, where it turns itself off (guest/init/vm.c).
OFF = "hyperstart: off"
_END_CHARACTERS = 300


class Firecracker:
    """See ``vmm.vmm.Vmm``."""

    name = "firecracker"
    title = "Firecracker"
    program = "firecracker"
    oldest = (1, 4)
    where = "its releases are static programs: put firecracker into PATH"
    nics = frozenset({NAT})
    devices: tuple[tuple[str, str], ...] = ((str(TUN), str(TUN)),)
    enters = True
    most_vcpus = 32

    def command(self, path: Path, spec: VMSpec, run: VmmRunDir, fds: contextlib.ExitStack) -> Command:
        told = in_memory("config", fds, msgspec.json.encode(config.vm_config(spec)))
        files = [open_for_all(file, fds) for file in (spec.kernel, spec.initrd) if file is not None]
        reopened = (config.CONFIG_FD, config.KERNEL_FD, config.INITRD_FD)[: 1 + len(files)]
        return Command(config.argv(path), (told, *files), reopened)

    def trial(self, path: Path, kernel: int, config_file: int) -> list[str]:
        os.write(config_file, msgspec.json.encode(config.trial_config(kernel, ARGUMENTS, MEMORY_MIB)))
        return config.trial(path, config_file)

    def api(self, run: VmmRunDir) -> Api:
        return Api(partial(unix.connect_to_theirs, run.sockets / API), self.title)

    async def begin(self, api: Api, spec: VMSpec, run: VmmRunDir, taps: Sequence[int]) -> None:
        """Its guest boots with it; it has begun once it says so."""
        await _made(run.sockets / API)
        await self.paused(api)

    async def pause(self, api: Api) -> None:
        await api.ask("PATCH", "/vm", {"state": "Paused"})

    async def resume(self, api: Api) -> None:
        await api.ask("PATCH", "/vm", {"state": "Resumed"})

    async def paused(self, api: Api) -> bool:
        answer = await api.ask("GET", "/", timeout_s=BOOT_TIMEOUT_S)
        state = answer.get("state") if isinstance(answer, dict) else None
        if not isinstance(state, str):
            raise HypervisorError(f"{self.title} does not say whether its VM runs")
        return state == "Paused"

    def watch(self, run: VmmRunDir, on_reset: Callable[[], None]) -> Watch:
        return Watch()


class Watch:
    """It says nothing of its guest, which ends it by a reset, whatever it has meant by that: so the guest says it."""

    def said(self, code: int | None, console: str) -> ExitReason | None:
        if code != 0:
            return None
        off = OFF in console[-_END_CHARACTERS:]
        return ExitReason.GUEST_SHUTDOWN if off else ExitReason.GUEST_RESET

    def close(self) -> None: ...


def _listens(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        unix.connect_to_theirs(path).close()
        return True
    return False


async def _made(path: Path) -> None:
    """Returns once somebody listens at the socket.  ``HypervisorError`` where it does not come."""
    loop = asyncio.get_running_loop()
    watched = inotify.watch([path.parent], made=True)
    try:
        async with asyncio.timeout(BOOT_TIMEOUT_S):
            while not _listens(path):
                happened = asyncio.Event()
                loop.add_reader(watched, happened.set)
                try:
                    # A socket is there a moment before anybody listens, of which there is no event.
                    await asyncio.wait_for(happened.wait(), LISTENING_S if path.exists() else None)
                except TimeoutError:
                    continue
                finally:
                    loop.remove_reader(watched)
                inotify.forget(watched)
    except TimeoutError:
        raise HypervisorError(f"Firecracker has no socket after {BOOT_TIMEOUT_S:g} s") from None
    finally:
        os.close(watched)
