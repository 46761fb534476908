"""A connection to a guest that stands still: what is said on it waits for the guest, and so does the answer.

Two sockets and a task between them, for hypervisors that let nobody in, or do not say whether, before it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from hypercontainer.hypervisor.agent_port import Pair

_READ_BYTES = 65536
Reach = Callable[[], Awaitable[socket.socket]]


class Later:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, reach: Reach) -> Pair:
        """``reach`` returns once the guest goes on; where it raises ``OSError``, the connection ends."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        task = asyncio.create_task(_carry(reach, ours))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.open_unix_connection(sock=theirs)

    async def close(self) -> None:
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(reach: Reach, ours: socket.socket) -> None:
    with contextlib.closing(ours), contextlib.suppress(OSError), contextlib.closing(await reach()) as guest:
        sending = asyncio.create_task(_pass_on(ours, guest))
        try:
            await _pass_on(guest, ours)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _pass_on(source: socket.socket, to: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _READ_BYTES):
        await loop.sock_sendall(to, data)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)
