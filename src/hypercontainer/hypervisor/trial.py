"""A hypervisor tried with a guest: run until it ends, says something, or takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor.text import printable

# What a kernel says once it has started all of itself and wants to start somebody else's program.
KERNEL_IS_UP = re.compile(rb"Unable to mount root fs|No working init found|Run /\S+ as init process")
_MAX_OUTPUT_BYTES = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """``exit_code`` is None where the deadline passed or what was looked for came first."""

    exit_code: int | None
    output: bytes

    def describe(self, program: str, guest: str, timeout_s: float) -> str:
        """Why that was no success."""
        lines = [line for line in printable(self.output).splitlines() if line.strip()]
        said = f": {lines[-1].strip()[:200]}" if lines else ""
        if self.exit_code is None:
            return f"{guest} did not get through its start within {timeout_s:g} s{said}"
        if self.exit_code < 0:
            return f"{program} was ended by signal {-self.exit_code} under {guest}{said}"
        if self.exit_code == 0:
            return f"{guest} was reset{said}"
        return f"{program} ended with status {self.exit_code} under {guest}{said}"


@contextlib.contextmanager
def of_kernel(kernel: Path | None) -> Iterator[None]:
    """Where it is looked at; one that cannot be read is ``Unavailable``."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"cannot read kernel {kernel}: {error.strerror}") from error


async def run(
    argv: Sequence[str], fds: Sequence[int], timeout_s: float, *, until: re.Pattern[bytes] | None
) -> Outcome:
    """Runs the command line until it ends, says ``until``, or the time is up; it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        pass_fds=fds,
        start_new_session=True,
        env={},
    )
    output = bytearray()
    assert process.stdout is not None
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while data := await process.stdout.read(65536):
                    output = (output + data)[-_MAX_OUTPUT_BYTES:]
                    if until is not None and until.search(output):
                        return Outcome(None, bytes(output))
                return Outcome(await process.wait(), bytes(output))
        return Outcome(None, bytes(output))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
