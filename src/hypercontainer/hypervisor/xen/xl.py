"""``xl``, Xen's own program: asked, told, and what it says read."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from hypercontainer.errors import Conflict, HyperError, HypervisorError, LaunchError, Unavailable
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.text import printable
from hypercontainer.linux.waiting import whole

PROGRAM = "xl"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE_S, CREATE_S = 30.0, 120.0
_MAX_OUTPUT_BYTES = 1 << 20
_ROW = re.compile(
    r"(?P<name>.*?)\s+(?P<id>\d+)\s+(?P<memory>\d+)\s+\d+\s+(?P<state>[-a-z]{6})\s+(?P<seconds>\d+(\.\d+)?)"
    r"\s+(?P<uuid>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\s+(?P<reason>\d+|-)(\s.*)?"
)
# SHUTDOWN_* of Xen's sched.h.
_ENDINGS = {
    0: ExitReason.GUEST_SHUTDOWN,
    1: ExitReason.GUEST_RESET,
    3: ExitReason.GUEST_RESET,
    4: ExitReason.GUEST_RESET,
}
_FEW_PAGES = re.compile(
    r"free[\w ]*memory|Cannot allocate memory|out of memory|xc_dom_mem_init|populate_physmap", re.IGNORECASE
)


@dataclass(frozen=True)
class Domain:
    """``ending``: why it has shut down; None while it runs."""

    id: int
    uuid: str
    memory_mib: int
    cpu_seconds: float
    paused: bool
    ending: ExitReason | None

    @property
    def gone(self) -> bool:
        """What is left of it waits for somebody to give its memory back."""
        return self.memory_mib == 0 and self.ending is not None


def read_list(text: str) -> list[Domain]:
    """What ``xl list -v`` says; rows that are none are passed over."""
    return [_domain(row) for line in text.splitlines() if (row := _ROW.fullmatch(line.strip()))]


def _domain(row: re.Match[str]) -> Domain:
    state, reason = row["state"], row["reason"]
    ending = None
    if "s" in state or "c" in state or "d" in state:
        ending = _ENDINGS.get(int(reason), ExitReason.CRASH) if reason != "-" else ExitReason.CRASH
    return Domain(
        int(row["id"]), row["uuid"], int(row["memory"]), float(row["seconds"]), "p" in state, ending
    )


def check_installed() -> None:
    if shutil.which(PROGRAM, path=PATH) is None:
        raise Unavailable(
            "xl, Xen's program, is not installed", hint="install xen-utils: apt install xen-utils-4.17"
        )


async def run(*arguments: str, timeout_s: float = DEADLINE_S, kept: Sequence[int] = ()) -> tuple[int, str]:
    """The exit status and bounded output.  ``kept``: descriptors that it has as long as it runs.  Raises
    ``HypervisorError`` when the deadline passes."""
    try:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": PATH, "LC_ALL": "C"},
            pass_fds=kept,
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"cannot run xl: {error.strerror}") from error
    assert process.stdout is not None
    said = b""
    try:
        async with asyncio.timeout(timeout_s):
            while chunk := await process.stdout.read(65536):
                said = (said + chunk)[:_MAX_OUTPUT_BYTES]
            return await process.wait(), printable(said)
    except TimeoutError:
        raise HypervisorError(f"xl {arguments[0]} did not end within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await whole(process.wait())


async def do(*arguments: str) -> str:
    """Raises ``HypervisorError`` with what it says."""
    code, said = await run(*arguments)
    if code:
        raise HypervisorError(f"xl {' '.join(arguments)}: {last_words(said) or f'status {code}'}")
    return said


def last_words(said: str) -> str:
    """The first error that it names, which the others follow from, without its place in the program."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
    chosen = (errors or lines or [""])[0]
    return re.sub(r"^libxl: error: \S+\.c:\d+:\w+: ", "", chosen)[:300]


def refused(name: str, memory_mib: int, code: int, said: str) -> HyperError:
    """Why a domain was not created."""
    if "already exists" in said:
        return Conflict(
            f"VM {name}: there is a domain of this name, which is not ours",
            hint="`xl list` shows it; rename or end it",
        )
    if _FEW_PAGES.search(said):
        return LaunchError(
            f"VM {name}: Xen has no {memory_mib} MiB of memory left for it",
            hint="`xl info` says free_memory; end a domain, or give dom0 less: xl mem-set 0 MIB, dom0_mem= of Xen",
            stderr=said,
        )
    return LaunchError(f"VM {name} did not start: xl: {last_words(said) or f'status {code}'}", stderr=said)


class Listing:
    """Of all domains; who asks while somebody else does has the next one together with all others who wait for it."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[list[Domain]] | None = None

    async def now(self) -> list[Domain]:
        """Begun after this was called.  Raises ``HypervisorError``."""
        if self._next is None:
            self._next = asyncio.create_task(self._list())
        return await asyncio.shield(self._next)

    async def _list(self) -> list[Domain]:
        async with self._turn:
            self._next = None  # who comes from now on is too late for this one
            return read_list(await do("list", "-v"))

    async def find(self, uuid: str) -> Domain | None:
        return next((domain for domain in await self.now() if domain.uuid == uuid), None)
