"""Whether a client has gone for good.

One that has only ended what it sends may go on reading, and some do so from the beginning: an end of its bytes says
nothing.  The kernel knows the difference (POLLHUP beside POLLRDHUP of poll(2)), but asyncio does not ask for it.  Over
TCP it shows when something is written, or by keep-alive.
"""

from __future__ import annotations

import asyncio
import select


async def hung_up(writer: asyncio.StreamWriter) -> None:
    """Returns when both directions are closed."""
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[None] = loop.create_future()
    with select.epoll() as poll:
        poll.register(
            writer.get_extra_info("socket").fileno(), 0
        )  # of hang-ups and errors one is always told
        loop.add_reader(poll.fileno(), _settle, gone)
        try:
            await gone
        finally:
            loop.remove_reader(poll.fileno())


def _settle(gone: asyncio.Future[None]) -> None:
    if not gone.done():
        gone.set_result(None)
