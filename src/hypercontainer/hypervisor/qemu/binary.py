"""What the installed QEMU is and can do, asked of it once and remembered until it changes."""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.hypervisor.driver import Accelerator

DEFAULT_NAME = "qemu-system-x86_64"
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
QBOOT = "qboot.rom"
INSTALL_HINT = "install QEMU: apt-get install qemu-system-x86"
_QUESTION_TIMEOUT_S = 20.0
_MAX_OUTPUT_BYTES = 1 << 20


@dataclass(frozen=True)
class Binary:
    """``key`` changes with the file."""

    path: Path
    key: str
    version: str
    accelerators: frozenset[Accelerator]
    sandbox: bool
    free_page_reporting: bool
    qboot: bool


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
        qboot=any((Path(folder) / QBOOT).exists() for folder in folders.result()[1].splitlines()),
    )


async def ask(path: Path, *arguments: str) -> tuple[int, str]:
    """Runs the program with nothing but ``arguments``; its exit status and bounded output."""
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={},
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
