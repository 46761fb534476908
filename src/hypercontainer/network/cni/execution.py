"""Runs one plugin: a program, its configuration on standard input, its answer on standard output.

All three are files in memory, and what is written to cannot grow: there is nothing to be read meanwhile, and nobody who
holds a pipe open holds up who waits for the program's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from hypercontainer.linux.process import Process
from hypercontainer.network.cni import results
from hypercontainer.network.cni.config import Tree
from hypercontainer.network.cni.results import PluginError

DEADLINE_S = 90.0  # one that asks a server of DHCP has its own, shorter ones
OUTPUT_BYTES = 1 << 20


def program(kind: str, directories: tuple[Path, ...], what: str) -> Path:
    """The first of this name that can be run.  PluginError."""
    for directory in directories:
        if os.access(path := directory / kind, os.X_OK) and path.is_file():
            return path
    raise PluginError(what, f"there is no program {kind} in {', '.join(map(str, directories))}")


async def run(path: Path, environment: Mapping[str, str], told: Tree, what: str) -> bytes:
    """What it said.  PluginError with its own words, or where it does not end in time, or says too much.  It has this
    process's own environment besides, as with other runtimes; who is cancelled leaves no program behind."""
    with _file(msgspec.json.encode(told)) as given, _room() as output, _room() as said:
        try:
            process = Process.spawn(
                [str(path)], env={**os.environ, **environment}, stdio=(given, output, said)
            )
        except OSError as error:
            raise PluginError(what, f"{path}: {error.strerror}") from error
        try:
            async with asyncio.timeout(DEADLINE_S):
                status = await process.wait()
        except TimeoutError:
            raise PluginError(what, f"it did not end within {DEADLINE_S:g} s") from None
        finally:
            if not process.ended():
                os.killpg(process.pid, signal.SIGKILL)  # and whom it has started itself
                process.wait_now()
            process.close()
        words = _written(output)
        if len(words) == OUTPUT_BYTES:
            raise PluginError(what, f"it says more than {OUTPUT_BYTES} bytes")
        if status != 0:
            raise results.refusal(what, words, _written(said))
        return words


@contextlib.contextmanager
def _file(data: bytes, flags: int = 0) -> Iterator[int]:
    fd = os.memfd_create("cni", os.MFD_CLOEXEC | flags)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _room() -> Iterator[int]:
    """For so many bytes and no more: whoever writes on is refused."""
    with _file(b"", os.MFD_ALLOW_SEALING) as fd:
        os.ftruncate(fd, OUTPUT_BYTES)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        yield fd


def _written(fd: int) -> bytes:
    return os.pread(fd, OUTPUT_BYTES, 0).rstrip(b"\0")
