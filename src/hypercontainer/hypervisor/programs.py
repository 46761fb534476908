"""Programs of the host: whether a file is the one that it was, what a program says of itself, its libraries."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from hypercontainer.errors import HypervisorError, Unavailable

LINKER_CACHE = "/etc/ld.so.cache"
_QUESTION_TIMEOUT_S = 20.0
_MAX_OUTPUT_BYTES = 1 << 20


def file_key(path: Path) -> str:
    """Changes when the file does."""
    stat = path.stat()
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}"


def program_key(path: Path) -> str:
    """As ``file_key``, of a program that is linked with libraries: whoever installs one tells the linker."""
    linker = Path(LINKER_CACHE)
    return f"{file_key(path)} {linker.stat().st_mtime_ns if linker.exists() else 0}"


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
        raise Unavailable(f"cannot run {path}: {error.strerror}") from error
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


async def libraries(path: Path, *arguments: str, preloaded: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The files that the loader maps for the program, and for what is ``preloaded`` into it."""
    environment = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_PRELOAD": ":".join(preloaded)}
    _, listed = await ask(path, *arguments, environment=environment)
    return tuple(re.findall(r"(/\S+) \(0x", listed))
