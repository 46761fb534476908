"""A process that somebody is attached to."""

from __future__ import annotations

import asyncio
from typing import Any

from hypercontainer.contract import answers as a


class FakeAttachment:
    """What a test puts in ``outputs`` the process has written, what it read is in ``input``."""

    tty = False

    def __init__(self) -> None:
        self.outputs: dict[int, asyncio.Queue[bytes]] = {1: asyncio.Queue(), 2: asyncio.Queue()}
        self.input = bytearray()
        self.input_ended = asyncio.Event()
        self.may_read = asyncio.Event()  # the process reads its input
        self.may_read.set()
        self.write_error: Exception | None = None
        self.taken = {1: 0, 2: 0}
        self.ended: asyncio.Future[a.Exit] = asyncio.get_running_loop().create_future()
        self.controls: list[tuple[Any, ...]] = []
        self.controlled = asyncio.Event()
        self.closed = asyncio.Event()

    def finish(self, status: int = 0, error: str = "") -> None:
        for queue in self.outputs.values():
            queue.put_nowait(b"")
        self.ended.set_result(a.Exit(status, error))

    async def read(self, channel: int) -> bytes:
        data = await self.outputs[channel].get()
        self.taken[channel] += len(data)
        return data

    async def write(self, data: bytes) -> None:
        await self.may_read.wait()
        if self.write_error:
            raise self.write_error
        self.input += data

    async def end_input(self) -> None:
        self.input_ended.set()

    async def _control(self, *what: Any) -> None:
        self.controls.append(what)
        self.controlled.set()

    async def resize(self, rows: int, columns: int) -> None:
        await self._control("resize", rows, columns)

    async def signal(self, name: str) -> None:
        await self._control("signal", name)

    async def exit(self) -> a.Exit:
        return await asyncio.shield(self.ended)

    async def close(self) -> None:
        self.closed.set()
