"""What a VM has said so far: the guest on its console, its process on its standard error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select

from hypercontainer.hypervisor.console import CAPACITY_BYTES, ConsoleRing
from hypercontainer.hypervisor.run_dir import RunDir, read_stderr
from hypercontainer.hypervisor.text import printable

# After the process has ended its descriptors are at their end too; this is for one that somebody else holds open.
DRAIN_TIMEOUT_S = 2.0
_READ_BYTES = 65536


class Output:
    """Made before the process runs, so that nothing is missed; owns the console's ring, its source and the error
    pipe's end."""

    def __init__(self, run: RunDir, console: int, *, new: bool) -> None:
        """``console``: a descriptor to read from that does not block, ours from now on, also where this raises
        ``OSError``; its end is the process's end."""
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, console)
            self._console = console
            self._stderr_fd = run.open_stderr()
            stack.callback(os.close, self._stderr_fd)
            self._ring = (ConsoleRing.create if new else ConsoleRing.open)(run.ring)
            stack.callback(self._ring.close)
            self._owned = stack.pop_all()
        self._stderr = b""
        self._loop = asyncio.get_running_loop()
        self._at_end = asyncio.Event()
        self._loop.add_reader(console, self._read)

    def _read(self) -> None:
        """Once, and then it is others' turn, which a guest that prints for ever would not give."""
        try:
            data = os.read(self._console, _READ_BYTES)
        except BlockingIOError:
            return  # another who holds the VM has taken it
        except OSError:
            data = b""
        self._ring.write(data)
        if not data:
            self._loop.remove_reader(self._console)
            self._at_end.set()

    def _waiting(self) -> bool:
        poll = select.poll()
        poll.register(self._console, select.POLLIN)
        return bool(poll.poll(0))

    async def finish(self) -> None:
        """Reads on to the end, once the process has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._at_end.wait()

    def console(self, max_bytes: int = CAPACITY_BYTES) -> str:
        return printable(self._ring.tail(max_bytes))

    def stderr(self) -> str:
        self._stderr = (self._stderr + read_stderr(self._stderr_fd))[-CAPACITY_BYTES:]
        return printable(self._stderr)

    def close(self) -> None:
        """What has come by now is in the ring for the next who looks."""
        for _ in range(CAPACITY_BYTES // _READ_BYTES + 1):
            if self._at_end.is_set() or not self._waiting():
                break
            self._read()
        if not self._at_end.is_set():
            self._loop.remove_reader(self._console)
            self._at_end.set()
        self._owned.close()
