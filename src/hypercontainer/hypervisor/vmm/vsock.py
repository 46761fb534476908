"""A guest's vsock, which the VM's process has as a unix socket: ``CONNECT PORT`` and, once the guest has it, ``OK N``.

While no guest listens there the connection is closed: it is made anew until one does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.vmm.rest import Connect

PORT = 1024
ADDRESS = f"vsock:{PORT}"  # as the guest is told
CID = 3  # the first that is a guest's
# Of a guest that boots: there is no event for its listening.
FIRST_PAUSE_S, MOST_PAUSE_S = 0.005, 0.1
_LINE_BYTES = 32
_READ_BYTES = 65536


async def connect(make: Connect, ended: Callable[[], bool], timeout_s: float) -> Pair:
    """A connection that the guest has taken.  Raises ``OSError`` where the VM has ``ended``, and ``HypervisorError``
    where the guest has not listened in time."""
    pause = FIRST_PAUSE_S
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(BlockingIOError, ConnectionError, FileNotFoundError):
                    connection = make()
                    try:
                        await _greet(connection)
                        await _taken(connection)
                    except BaseException:
                        connection.close()
                        raise
                    return await asyncio.open_unix_connection(sock=connection)
                if ended():
                    raise ConnectionResetError("the VM has ended")
                await asyncio.sleep(pause)
                pause = min(pause * 2, MOST_PAUSE_S)
    except TimeoutError:
        raise HypervisorError(f"the guest does not listen at {ADDRESS} after {timeout_s:g} s") from None


class Later:
    """A connection to a guest that is paused: what is said on it waits, and so does its answer.

    Two sockets and a task between them, since nobody may read of the one whether the guest has taken it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, make: Connect) -> Pair:
        """Raises ``OSError``."""
        connection = make()
        try:
            await _greet(connection)
            ours, theirs = socket.socketpair()
        except BaseException:
            connection.close()
            raise
        ours.setblocking(False)
        task = asyncio.create_task(_carry(connection, ours))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.open_unix_connection(sock=theirs)

    async def close(self) -> None:
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _greet(connection: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, f"CONNECT {PORT}\n".encode())


async def _taken(connection: socket.socket) -> None:
    """Reads the line, and no byte of what follows, which is the guest's.  ``ConnectionResetError`` without one."""
    loop, line = asyncio.get_running_loop(), b""
    while not line.endswith(b"\n"):
        letter = await loop.sock_recv(connection, 1)
        if not letter or len(line) == _LINE_BYTES:
            raise ConnectionResetError("nobody listens")
        line += letter
    if not line.startswith(b"OK "):
        raise ConnectionResetError("nobody listens")


async def _carry(connection: socket.socket, ours: socket.socket) -> None:
    with contextlib.closing(connection), contextlib.closing(ours), contextlib.suppress(OSError):
        sending = asyncio.create_task(_pass_on(ours, connection))
        try:
            await _taken(connection)
            await _pass_on(connection, ours)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _pass_on(source: socket.socket, to: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _READ_BYTES):
        await loop.sock_sendall(to, data)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)
