"""What the installed QEMU is and can do, asked of it once and remembered until it changes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor.programs import LINKER_CACHE, ask, file_key, libraries
from hypercontainer.hypervisor.qemu.machines import MACHINES, Machine
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.linux.architectures import AMD64

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
PROGRAM_PLACES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
# Below where a program is installed.
MODULES = ("lib*/qemu/accel-[kt]*.so", "lib/*/qemu/accel-[kt]*.so")


@dataclass(frozen=True)
class Binary:
    """``key`` changes with the file; ``files`` is all that it reads of the host to run a guest."""

    path: Path
    key: str
    version: str
    accelerators: frozenset[Accelerator]
    sandbox: bool
    free_page_reporting: bool
    qboot: bool
    files: tuple[str, ...] = ()
    architecture: str = AMD64

    @property
    def machine(self) -> Machine:
        """What it makes."""
        return MACHINES[self.architecture]

    @property
    def datagrams(self) -> bool:
        """Whether it has ``-netdev dgram``; ``socket``, which is older, takes no pair of SOCK_SEQPACKET."""
        return tuple(map(int, self.version.split("."))) >= (7, 2)


def find(name: str, machine: Machine) -> Path:
    """Raises ``Unavailable`` where there is no such program; ``machine`` is what it is wanted for."""
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"no {name} in PATH", hint=install_hint(machine))
    return Path(found).resolve()


def install_hint(machine: Machine) -> str:
    return f"install QEMU: apt-get install {machine.package}"


async def inspect(path: Path, machine: Machine) -> Binary:
    """Raises ``Unavailable`` for a program that does not run or is not QEMU."""
    balloon_device = machine.bus.device("virtio-balloon")
    async with asyncio.TaskGroup() as group:
        version = group.create_task(ask(path, "-version"))
        accelerators = group.create_task(ask(path, "-accel", "help"))
        folders = group.create_task(ask(path, "-L", "help"))
        # One question, two answers: without a sandbox in the binary the list does not come.
        balloon = group.create_task(ask(path, "-sandbox", SANDBOX, "-device", f"{balloon_device},help"))
    places = [os.path.normpath(folder) for folder in folders.result()[1].splitlines()]
    found = re.search(r"QEMU emulator version (\d+\.\d+\.\d+)", version.result()[1])
    if found is None:
        raise Unavailable(f"{path} does not say which QEMU it is", hint=install_hint(machine))
    words = accelerators.result()[1].split()
    sandboxed, properties = balloon.result()
    if sandboxed != 0:
        _, properties = await ask(path, "-device", f"{balloon_device},help")
    return Binary(
        path,
        file_key(path),
        found[1],
        frozenset(one for one in Accelerator if one.value in words),
        sandbox=sandboxed == 0,
        free_page_reporting="free-page-reporting" in properties,
        qboot=bool(quick := machine.quick_firmware)
        and any((Path(place) / quick).exists() for place in places),
        files=await _files(path, places, machine.firmware),
        architecture=machine.architecture,
    )


async def _files(path: Path, places: list[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The program, its libraries, its accelerators' modules, and its firmware."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":  # a script, which may run anything
            return (str(path), *(place for place in PROGRAM_PLACES if Path(place).is_dir()))
    modules = [str(module) for pattern in MODULES for module in path.parent.parent.glob(pattern)]
    linked = await libraries(path, "-version", preloaded=tuple(modules))
    firmware = [f"{place}/{name}" for place in places for name in wanted]
    more = [name for name in (LINKER_CACHE, *firmware) if Path(name).exists()]
    return tuple(dict.fromkeys((str(path), *linked, *modules, *more)))
