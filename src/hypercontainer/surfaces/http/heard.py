"""When a client has read what it was sent.

Some look for the end of an answer's head through a buffer and go on below it: what came along is lost to them.  Of a
unix socket the kernel tells how much its peer has not read yet (SIOCOUTQ), and when it reads (an edge of EPOLLOUT, by
epoll(7)).  Over TCP it tells what has arrived, which may lie there unread.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import select
import socket
import termios

# What is waited for at the most: a client may do something else first; and over TCP, where nobody knows.
UNREAD_S, UNKNOWN_S = 1.0, 0.02


async def heard(writer: asyncio.StreamWriter) -> None:
    """Returns when the peer has read all that was written, has gone, or does not read."""
    connection = writer.get_extra_info("socket")
    if connection.fileno() < 0:
        return
    if connection.family != socket.AF_UNIX:
        await asyncio.sleep(UNKNOWN_S)
        return
    loop, reads = asyncio.get_running_loop(), asyncio.Event()
    with select.epoll() as poll:
        poll.register(connection.fileno(), select.EPOLLOUT | select.EPOLLET)
        loop.add_reader(poll.fileno(), _seen, poll, reads)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNREAD_S):
                    while _unread(connection.fileno()):
                        await reads.wait()
                        reads.clear()
        finally:
            loop.remove_reader(poll.fileno())


def _seen(poll: select.epoll, reads: asyncio.Event) -> None:
    poll.poll(0)  # until the next edge
    reads.set()


def _unread(fd: int) -> bool:
    """Of a unix socket."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.TIOCOUTQ, count)  # SIOCOUTQ by another name
    return count[0] > 0
