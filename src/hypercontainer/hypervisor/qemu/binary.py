"""What the installed QEMU is and can do, asked of it once and remembered until it changes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.hypervisor.driver import Accelerator

DEFAULT_NAME = "qemu-system-x86_64"
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
QBOOT = "qboot.rom"
INSTALL_HINT = "install QEMU: apt-get install qemu-system-x86"
LINKER_CACHE = "/etc/ld.so.cache"
PROGRAM_PLACES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
# Below where a program is installed.
MODULES = ("lib*/qemu/accel-[kt]*.so", "lib/*/qemu/accel-[kt]*.so")
FIRMWARE = (
    *(QBOOT, "bios-256k.bin", "kvmvapic.bin", "pvh.bin", "linuxboot.bin", "linuxboot_dma.bin"),
    *("multiboot.bin", "multiboot_dma.bin"),
)
_QUESTION_TIMEOUT_S = 20.0
_MAX_OUTPUT_BYTES = 1 << 20


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


def find(name: str = DEFAULT_NAME) -> Path:
    """Raises ``Unavailable`` where there is no such program."""
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"no {name} in PATH", hint=INSTALL_HINT)
    return Path(found).resolve()


def file_key(path: Path) -> str:
    """Changes when the file does."""
    stat = path.stat()
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}"


async def inspect(path: Path) -> Binary:
    """Raises ``Unavailable`` for a program that does not run or is not QEMU."""
    async with asyncio.TaskGroup() as group:
        version = group.create_task(ask(path, "-version"))
        accelerators = group.create_task(ask(path, "-accel", "help"))
        folders = group.create_task(ask(path, "-L", "help"))
        # One question, two answers: without a sandbox in the binary the list does not come.
        balloon = group.create_task(ask(path, "-sandbox", SANDBOX, "-device", "virtio-balloon-pci,help"))
    places = [os.path.normpath(folder) for folder in folders.result()[1].splitlines()]
    found = re.search(r"QEMU emulator version (\d+\.\d+\.\d+)", version.result()[1])
    if found is None:
        raise Unavailable(f"{path} does not say which QEMU it is", hint=INSTALL_HINT)
    words = accelerators.result()[1].split()
    sandboxed, properties = balloon.result()
    if sandboxed != 0:
        _, properties = await ask(path, "-device", "virtio-balloon-pci,help")
    return Binary(
        path,
        file_key(path),
        found[1],
        frozenset(one for one in Accelerator if one.value in words),
        sandbox=sandboxed == 0,
        free_page_reporting="free-page-reporting" in properties,
        qboot=any((Path(place) / QBOOT).exists() for place in places),
        files=await _files(path, places),
    )


def program_key(path: Path) -> str:
    """As ``file_key``, of a program that is linked with libraries: whoever installs one tells the linker."""
    linker = Path(LINKER_CACHE)
    return f"{file_key(path)} {linker.stat().st_mtime_ns if linker.exists() else 0}"


async def _files(path: Path, places: list[str]) -> tuple[str, ...]:
    """The program, its libraries, its accelerators' modules, and its firmware."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":  # a script, which may run anything
            return (str(path), *(place for place in PROGRAM_PLACES if Path(place).is_dir()))
    modules = [str(module) for pattern in MODULES for module in path.parent.parent.glob(pattern)]
    environment = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_PRELOAD": ":".join(modules)}
    _, listed = await ask(path, "-version", environment=environment)
    libraries = re.findall(r"(/\S+) \(0x", listed)
    firmware = [f"{place}/{name}" for place in places for name in FIRMWARE]
    more = [name for name in (LINKER_CACHE, *firmware) if Path(name).exists()]
    return tuple(dict.fromkeys((str(path), *libraries, *modules, *more)))


async def ask(path: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Runs the program with nothing but ``arguments``; its exit status and bounded output."""
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment or {},
        )
    except OSError as error:
        raise Unavailable(f"cannot run {path}: {error.strerror}", hint=INSTALL_HINT) from error
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_QUESTION_TIMEOUT_S):
            output = await process.stdout.read(_MAX_OUTPUT_BYTES)
            while chunk := await process.stdout.read(_MAX_OUTPUT_BYTES):
                output = (output + chunk)[:_MAX_OUTPUT_BYTES]
            return await process.wait(), output.decode(errors="replace")
    except TimeoutError:
        what = " ".join(arguments)
        raise HypervisorError(f"{path} {what} did not end within {_QUESTION_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
