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


async def connect(make: Connect, ended: Callable[[], bool], timeout_s: float) -> Pair:
    """A connection that the guest has taken.  Raises ``OSError`` where the VM has ``ended``, and ``HypervisorError``
    where the guest has not listened in time."""
    pause = FIRST_PAUSE_S
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(BlockingIOError, ConnectionError, FileNotFoundError):
                    return await asyncio.open_unix_connection(sock=await taken(make))
                if ended():
                    raise ConnectionResetError("the VM has ended")
                await asyncio.sleep(pause)
                pause = min(pause * 2, MOST_PAUSE_S)
    except TimeoutError:
        raise HypervisorError(f"the guest does not listen at {ADDRESS} after {timeout_s:g} s") from None


async def taken(make: Connect) -> socket.socket:
    """A connection of which a guest that is paused now has said that it has it.  Raises ``OSError``."""
    connection = make()
    try:
        await _greet(connection)
        await _taken(connection)
    except BaseException:
        connection.close()
        raise
    return connection


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
